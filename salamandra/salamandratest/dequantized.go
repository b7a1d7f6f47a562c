package salamandratest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// Dequantized writes the model in dir with the values, in float32, that its linear
// layers have when they are quantised as in salamandra.Options.Quantize, and returns
// its directory.
func Dequantized(tb testing.TB, dir, quantized string) string {
	tb.Helper()
	to := tb.TempDir()
	if err := dequantize(dir, to, quantized); err != nil {
		tb.Fatal(err)
	}
	copyFiles(tb, dir, to, "tokenizer.json", "tokenizer_config.json", llama.ConfigFile)
	return to
}

// copyFiles copies files from one directory to another.
func copyFiles(tb testing.TB, from, to string, names ...string) {
	tb.Helper()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func dequantize(dir, to, quantized string) error {
	files, err := modelfiles.Open(dir)
	if err != nil {
		return err
	}
	defer files.Close()
	infos, linears := files.Tensors(), files.Config.Linears()
	for i := range infos {
		infos[i].Dtype = safetensors.F32
	}
	w, err := safetensors.Create(filepath.Join(to, safetensors.ModelFile), infos, nil)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, info := range infos {
		stored, _ := files.Info(info.Name)
		data, err := files.Bytes(info.Name)
		if err != nil {
			return err
		}
		values := make([]float32, info.NumElements())
		if err := safetensors.DecodeFloat32(values, data, stored.Dtype); err != nil {
			return err
		}
		if slices.Contains(linears, strings.TrimSuffix(info.Name, ".weight")) {
			values = quantize.Quantize(quantized, values, info.Shape[1]).Values()
		}
		if err := w.WriteFloats(info.Name, values); err != nil {
			return err
		}
	}
	return w.Commit()
}
