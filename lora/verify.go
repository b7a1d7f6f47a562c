package lora

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// Ways in which a merged directory can differ from its certificate, each
// named with its file.
var (
	// errCertificate reports a merge_info.json that is not as Merge wrote it.
	errCertificate = errors.New("no valid certificate")
	// errAltered reports a file whose content is not the certified one.
	errAltered = errors.New("file differs from its certificate")
	// errFileMissing reports a certified file that is not there.
	errFileMissing = errors.New("certified file is missing")
	// errExtraFile reports something that the certificate does not know.
	errExtraFile = errors.New("not in the certificate")
)

// A VerifyReport says what was found in a merged directory.
type VerifyReport struct {
	// Certificate is the report of the merge.
	Certificate MergeReport
	// Files are those found as certified.
	Files []FileSum
}

// VerifyDir reads every file of a directory that [Merge] wrote and compares it
// with merge_info.json: one changed bit in any file, the certificate included,
// a missing file and one too many are errors, all in one.
// The certificate finds accidents; see [MergeReport] on forgery.
func VerifyDir(ctx context.Context, dir string) (VerifyReport, error) {
	certificate, err := readCertificate(dir)
	if err != nil {
		return VerifyReport{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return VerifyReport{}, err
	}
	want := map[string]FileSum{}
	for _, sum := range certificate.OutputFiles {
		want[sum.File] = sum
	}
	list := faults.List{Subject: dir}
	var files []string
	for _, entry := range entries {
		switch name := entry.Name(); {
		case name == mergeInfoFile:
		case want[name].File == "":
			list.Add(name, errExtraFile)
		default:
			files = append(files, filepath.Join(dir, name))
		}
	}
	found, err := hashFiles(ctx, files, runtime.GOMAXPROCS(0))
	if err != nil {
		return VerifyReport{}, err
	}
	report := VerifyReport{Certificate: certificate}
	for _, sum := range found {
		if w := want[sum.File]; sum != w {
			list.Addf(sum.File, "%w: %d bytes with SHA-256 %s, want %d with %s", errAltered, sum.Size, sum.SHA256, w.Size, w.SHA256)
		} else {
			report.Files = append(report.Files, sum)
		}
		delete(want, sum.File)
	}
	for _, name := range sortedKeys(want) {
		list.Add(name, errFileMissing)
	}
	return report, list.Err()
}

// maxCertificateSize bounds merge_info.json, in bytes: a hundred times what a
// large model's takes.
const maxCertificateSize = 64 << 20

// readCertificate reads merge_info.json and checks its seal.
func readCertificate(dir string) (MergeReport, error) {
	path := filepath.Join(dir, mergeInfoFile)
	fail := func(format string, args ...any) (MergeReport, error) {
		return MergeReport{}, fmt.Errorf("%s: %w: %w", path, errCertificate, fmt.Errorf(format, args...))
	}
	text, err := readLimited(path, maxCertificateSize)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("it is not there, so %s is no directory that Merge wrote", dir)
	}
	if err != nil {
		return fail("%w", err)
	}
	var report MergeReport
	if err := json.Unmarshal(text, &report); err != nil {
		return fail("%w", err)
	}
	if report.Seal == "" {
		return fail("it has no seal")
	}
	sum := sha256.Sum256(replaceSeal(text, report.Seal, ""))
	if hex.EncodeToString(sum[:]) != report.Seal {
		return fail("its content does not fit its seal")
	}
	return report, nil
}

// seal sets the seal of the report and returns the text of merge_info.json.
func (r *MergeReport) seal() ([]byte, error) {
	r.Seal = ""
	text, err := formatJSON(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	r.Seal = hex.EncodeToString(sum[:])
	return replaceSeal(text, "", r.Seal), nil
}

// replaceSeal returns the text with another seal, or as it is where it does not
// have the old one. No other JSON text holds the line: quotes inside strings
// are escaped.
func replaceSeal(text []byte, old, seal string) []byte {
	const line = `"seal": %q`
	before := fmt.Appendf(nil, line, old)
	i := bytes.LastIndex(text, before)
	if i < 0 {
		return text
	}
	return slices.Concat(text[:i], fmt.Appendf(nil, line, seal), text[i+len(before):])
}
