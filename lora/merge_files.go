package lora

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// Names of files beside the weights of a merged model.
const (
	// PromptFile is the prompt contract, which goes with an adapter and with
	// what it is merged into.
	PromptFile = "prompt.json"
	// MergeInfoFile holds the MergeReport.
	MergeInfoFile = "merge_info.json"
)

// carriedFiles are patterns, in lower case, of the files of the base that a
// merged model needs beside weights and config.json.
var carriedFiles = []string{
	"generation_config.json",
	"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt",
	"chat_template.jinja", "chat_template.json",
	"license*", "licence*", "notice*",
}

// comparedFiles decide what a model is asked, and may also lie beside an
// adapter.
var comparedFiles = []string{"tokenizer.json", "chat_template.jinja"}

// copyFiles puts everything but weights and report into dir.
func (m *merger) copyFiles(dir string) error {
	config, err := m.modelConfig()
	if err != nil {
		return err
	}
	if err := safetensors.WriteFile(filepath.Join(dir, "config.json"), config); err != nil {
		return err
	}
	entries, err := os.ReadDir(m.base.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !carried(entry.Name()) {
			continue
		}
		if err := copyFile(m.base.dir, dir, entry.Name()); err != nil {
			return err
		}
	}
	for _, name := range comparedFiles {
		ours, err := os.ReadFile(filepath.Join(m.opts.Adapter, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if theirs, err := os.ReadFile(filepath.Join(m.base.dir, name)); err != nil || !bytes.Equal(ours, theirs) {
			m.warn("%s beside the adapter is not that of the base, which the output has", name)
		}
	}
	if err := copyFile(m.opts.Adapter, dir, PromptFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// carried tells whether a file of the base belongs into the output.
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
	return safetensors.WriteFile(filepath.Join(to, name), data)
}

// modelConfig returns the config.json of the output: that of the base, byte for
// byte, unless the dtype was converted.
func (m *merger) modelConfig() ([]byte, error) {
	if m.to == "" {
		return m.base.config, nil
	}
	dtype, err := json.Marshal(m.opts.Dtype)
	if err != nil {
		return nil, err
	}
	_, now := m.base.keys["dtype"]
	if _, before := m.base.keys["torch_dtype"]; before || !now {
		m.base.keys["torch_dtype"] = dtype // the spelling that every version reads
	}
	if now {
		m.base.keys["dtype"] = dtype
	}
	return formatJSON(m.base.keys)
}

// seal reads everything back, compares the weights with what was written, and
// adds the report to dir.
func (m *merger) seal(ctx context.Context, dir string, written map[string][32]byte) error {
	model, err := safetensors.OpenModel(dir)
	if err != nil {
		return fmt.Errorf("lora: %s: %w: %w", m.opts.Output, ErrVerify, err)
	}
	if err := model.Close(); err != nil {
		return err
	}
	var files []string
	baseFiles := []string{"config.json"}
	for _, f := range m.base.Shards() {
		baseFiles = append(baseFiles, filepath.Base(f.Path()))
	}
	for _, name := range baseFiles {
		files = append(files, filepath.Join(m.base.dir, name))
	}
	adapterFiles := []string{ConfigFile, WeightsFile}
	for _, name := range adapterFiles {
		files = append(files, filepath.Join(m.opts.Adapter, name))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		files = append(files, filepath.Join(dir, entry.Name()))
	}
	sums, err := m.hash(ctx, files)
	if err != nil {
		return err
	}
	a, b := len(baseFiles), len(baseFiles)+len(adapterFiles)
	m.report.BaseFiles, m.report.AdapterFiles, m.report.OutputFiles = sums[:a], sums[a:b], sums[b:]
	for _, sum := range m.report.OutputFiles {
		if want, ok := written[sum.File]; ok && hex.EncodeToString(want[:]) != sum.SHA256 {
			return fmt.Errorf("lora: %s: %w: SHA-256 %s, want %x", filepath.Join(m.opts.Output, sum.File), ErrVerify, sum.SHA256, want)
		}
	}
	info, err := formatJSON(m.report)
	if err != nil {
		return err
	}
	return safetensors.WriteFile(filepath.Join(dir, MergeInfoFile), info)
}

// hash returns the sums of files in the order given, reading several at a time.
func (m *merger) hash(ctx context.Context, files []string) ([]FileSum, error) {
	var total int64
	for _, file := range files {
		stat, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		total += stat.Size()
	}
	sums, errs := make([]FileSum, len(files)), make([]error, len(files))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	var reporting sync.Mutex
	for i, file := range files {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			sums[i], errs[i] = hashFile(ctx, file)
			reporting.Lock()
			defer reporting.Unlock()
			m.progress("verify", sums[i].File, sums[i].Size, total)
		})
	}
	group.Wait()
	return sums, errors.Join(errs...)
}

// hashFile returns the sum of one file.
func hashFile(ctx context.Context, file string) (FileSum, error) {
	sum := FileSum{File: filepath.Base(file)}
	f, err := os.Open(file)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	buffer := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		n, err := f.Read(buffer)
		h.Write(buffer[:n])
		sum.Size += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return sum, err
		}
	}
	sum.SHA256 = hex.EncodeToString(h.Sum(nil))
	return sum, nil
}
