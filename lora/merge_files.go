package lora

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// mergeInfoFile holds the MergeReport, beside the weights of a merged model.
const mergeInfoFile = "merge_info.json"

// carriedFiles are patterns, in lower case, of the files of the base that a
// merged model needs beside weights and config.json.
var carriedFiles = []string{
	"generation_config.json",
	"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt",
	"chat_template.jinja", "chat_template.json",
	"license*", "licence*", "notice*",
}

// copyFiles puts everything but weights and report into dir.
func (m *merger) copyFiles(dir string) error {
	config, err := m.modelConfig()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, "config.json"), config); err != nil {
		return err
	}
	entries, err := os.ReadDir(m.base.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !carried(entry.Name()) {
			continue
		}
		if err := copyFile(m.base.Dir, dir, entry.Name()); err != nil {
			return err
		}
	}
	return m.tellOthers(dir)
}

// carried reports whether a file of the base belongs in the output.
func carried(name string) bool {
	return slices.ContainsFunc(carriedFiles, func(pattern string) bool {
		ok, _ := path.Match(pattern, strings.ToLower(name)) // the patterns are well-formed
		return ok
	})
}

// copyFile copies one small file.
func copyFile(from, to, name string) error {
	data, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(to, name), data)
}

// seal completes the report, whose inputs and weights have these sums, and adds
// it to dir.
func (m *merger) seal(ctx context.Context, dir string, inputs [][]FileSum, weights []FileSum) error {
	model, err := safetensors.OpenModel(dir)
	if err != nil {
		return fmt.Errorf("lora: %s: %w: %w", m.opts.Output, errVerify, err)
	}
	if err := model.Close(); err != nil {
		return err
	}
	m.report.BaseFiles = inputs[0]
	for i := range m.report.Adapters {
		m.report.Adapters[i].Files = inputs[1+i]
	}
	if err := m.checkBase(); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var others []string
	for _, entry := range entries {
		if !slices.ContainsFunc(weights, func(sum FileSum) bool { return sum.File == entry.Name() }) {
			others = append(others, filepath.Join(dir, entry.Name()))
		}
	}
	sums, err := hashFiles(ctx, others, runtime.GOMAXPROCS(0))
	if err != nil {
		return err
	}
	m.report.OutputFiles = slices.SortedFunc(slices.Values(append(sums, weights...)), func(a, b FileSum) int { return cmp.Compare(a.File, b.File) })
	text, err := m.report.seal()
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, mergeInfoFile), text)
}

// inputs lists the files that were read, those of the base and then those of
// each adapter.
func (m *merger) inputs() ([][]string, error) {
	entries, err := os.ReadDir(m.base.Dir)
	if err != nil {
		return nil, err
	}
	base := m.base.Paths()
	single := filepath.Base(base[0]) == safetensors.ModelFile
	for _, entry := range entries {
		if name := entry.Name(); name == "config.json" || carried(name) || name == safetensors.IndexFile && !single {
			base = append(base, filepath.Join(m.base.Dir, name))
		}
	}
	files := [][]string{base}
	for _, a := range m.adapters {
		var list []string
		for _, name := range []string{ConfigFile, WeightsFile, chatml.ContractFile, tokenizerFile, tokenizerConfigFile, templateFile} {
			file := filepath.Join(a.Dir, name)
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				continue // the first two were read
			}
			list = append(list, file)
		}
		files = append(files, list)
	}
	return files, nil
}

// hashLists returns the sums of lists of files, in their order. It leaves most
// cores to what goes on meanwhile.
func hashLists(ctx context.Context, lists [][]string) ([][]FileSum, error) {
	flat, err := hashFiles(ctx, slices.Concat(lists...), max(1, runtime.GOMAXPROCS(0)/4))
	sums := make([][]FileSum, len(lists))
	for i, list := range lists {
		sums[i], flat = flat[:len(list):len(list)], flat[len(list):]
	}
	return sums, err
}

// hashFiles returns the sums of files in the order given, reading some at a
// time.
func hashFiles(ctx context.Context, files []string, some int) ([]FileSum, error) {
	sums, errs := make([]FileSum, len(files)), make([]error, len(files))
	slots := make(chan struct{}, some)
	var group sync.WaitGroup
	for i, file := range files {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			sums[i], errs[i] = hashFile(ctx, file)
		})
	}
	group.Wait()
	return sums, faults.Join(errs...)
}

// hashFile returns the sum of one file.
func hashFile(ctx context.Context, file string) (FileSum, error) {
	return copyAndHash(ctx, io.Discard, file)
}

// copyAndHash writes a file to w and returns its sum. The file is read and written
// while what came before is hashed, which takes the longest.
func copyAndHash(ctx context.Context, w io.Writer, file string) (FileSum, error) {
	sum := FileSum{File: filepath.Base(file)}
	f, err := os.Open(file)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	free, full := make(chan []byte, 3), make(chan []byte, 3)
	for range cap(free) {
		free <- make([]byte, 1<<20)
	}
	var hashing sync.WaitGroup
	hashing.Go(func() {
		for block := range full {
			h.Write(block)
			free <- block[:cap(block)]
		}
	})
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		block := <-free
		var n int
		if n, err = f.Read(block); n > 0 {
			sum.Size += int64(n)
			if _, failed := w.Write(block[:n]); failed != nil {
				err = failed
			}
			full <- block[:n]
		}
	}
	close(full)
	hashing.Wait()
	if err != io.EOF {
		return sum, err
	}
	sum.SHA256 = hex.EncodeToString(h.Sum(nil))
	return sum, nil
}
