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
)

// Ways in which a merged directory can differ from its certificate, each
// wrapped in a FileError.
var (
	// ErrCertificate reports a merge_info.json that is not as Merge wrote it.
	ErrCertificate = errors.New("no valid certificate")
	// ErrAltered reports a file whose content is not the certified one.
	ErrAltered = errors.New("file differs from its certificate")
	// ErrFileMissing reports a certified file that is not there.
	ErrFileMissing = errors.New("certified file is missing")
	// ErrExtraFile reports something that the certificate does not know.
	ErrExtraFile = errors.New("not in the certificate")
)

// A FileError is one fault of a file with its place.
type FileError struct {
	Path string
	Err  error // wraps one of ErrCertificate, ErrAltered, ErrFileMissing, ErrExtraFile
}

// Error returns the place and the fault.
func (e *FileError) Error() string { return fmt.Sprintf("lora: %s: %v", e.Path, e.Err) }

// Unwrap returns e.Err.
func (e *FileError) Unwrap() error { return e.Err }

// A VerifyReport says what was found in a merged directory.
type VerifyReport struct {
	// Certificate is the report of the merge.
	Certificate MergeReport
	// Files are those found as certified.
	Files []FileSum
}

// VerifyDir reads every file of a directory that [Merge] wrote and compares it
// with merge_info.json: one changed bit in any file, the certificate included,
// a missing file and one too many are errors, all in one, each a [FileError].
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
	var faults []error
	fault := func(name string, cause error) {
		faults = append(faults, &FileError{Path: filepath.Join(dir, name), Err: cause})
	}
	var files []string
	for _, entry := range entries {
		switch name := entry.Name(); {
		case name == MergeInfoFile:
		case want[name].File == "":
			fault(name, ErrExtraFile)
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
			fault(sum.File, fmt.Errorf("%w: %d bytes with SHA-256 %s, want %d with %s", ErrAltered, sum.Size, sum.SHA256, w.Size, w.SHA256))
		} else {
			report.Files = append(report.Files, sum)
		}
		delete(want, sum.File)
	}
	for _, name := range sortedKeys(want) {
		fault(name, ErrFileMissing)
	}
	return report, errors.Join(faults...)
}

// maxCertificateSize bounds merge_info.json, in bytes: a hundred times that of
// a large model.
const maxCertificateSize = 64 << 20

// readCertificate reads merge_info.json and checks its seal.
func readCertificate(dir string) (MergeReport, error) {
	path := filepath.Join(dir, MergeInfoFile)
	fail := func(format string, args ...any) (MergeReport, error) {
		return MergeReport{}, &FileError{Path: path, Err: fmt.Errorf("%w: %w", ErrCertificate, fmt.Errorf(format, args...))}
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
