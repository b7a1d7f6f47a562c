package salamandratest

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// Bitsandbytes puts a model together that bitsandbytes quantised to NF4, the
// reference's tiny-gqa, and returns its directory: the linear layers that
// lora/train/testdata/bitsandbytes keeps, and the rest of the reference's.
func Bitsandbytes(tb testing.TB) string {
	tb.Helper()
	_, file, _, _ := runtime.Caller(0)
	kept := filepath.Join(filepath.Dir(file), "..", "..", "lora", "train", "testdata", "bitsandbytes")
	reference, dir := Reference(tb, "models", "tiny-gqa"), tb.TempDir()
	if err := joinModels(filepath.Join(kept, "linears.safetensors"), reference, filepath.Join(dir, safetensors.ModelFile)); err != nil {
		tb.Fatal(err)
	}
	copyFiles(tb, kept, dir, llama.ConfigFile)
	copyFiles(tb, reference, dir, "tokenizer.json", "tokenizer_config.json")
	return dir
}

// joinModels writes the tensors of a file and those of a model that are no linear
// layers.
func joinModels(linears, model, to string) error {
	first, err := safetensors.Open(linears)
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := safetensors.OpenModel(model)
	if err != nil {
		return err
	}
	defer second.Close()
	infos, readers := first.Tensors(), map[string]*safetensors.Reader{}
	for _, info := range second.Tensors() {
		if !strings.Contains(info.Name, "_proj.") {
			infos, readers[info.Name] = append(infos, info), second
		}
	}
	w, err := safetensors.Create(to, infos, nil)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, info := range infos {
		r := readers[info.Name]
		if r == nil {
			r = first
		}
		data, err := r.Bytes(info.Name)
		if err == nil {
			err = w.Write(info.Name, data)
		}
		if err != nil {
			return err
		}
	}
	return w.Commit()
}
