package wrongfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// says fails unless err is one line with the path and these words.
func says(t *testing.T, err error, path, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%v, want nothing", err)
		}
		return
	}
	if err == nil || !strings.HasPrefix(err.Error(), path+" ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want a line with %q", err, want)
	}
}

func TestFile(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1019952\n", "is a Git LFS pointer of the file of 1019952 bytes, not the file itself: fetch it with git lfs pull"},
		{"pointer with Windows' line ends", "version https://git-lfs.github.com/spec/v1\r\noid sha256:00\r\nsize 7\r\n", "of 7 bytes"},
		{"pointer cut off", "version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the file"},
		{"page", "<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is a web page"},
		{"page in capitals", "\n  <HTML>", "is a web page"},
		{"storage's error", `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`, "is a web page"},
		{"hub's error", "Entry not found", "no such file"},
		{"hub's refusal", "Access to model x is restricted", "accept the model's terms"},
		{"torch.save", "PK\x03\x04\x00\x00", "is a ZIP archive, as PyTorch saves weights"},
		{"old torch.save", "\x80\x02\x8a\nl\xfc", "is a pickle"},
		{"gguf", "GGUF\x03\x00\x00\x00", "llama.cpp"},
		{"gzip", "\x1f\x8b\x08", "gzip"},
		{"empty", "", "is empty"},
		{"JSON", `{"model_type": "llama"}`, ""},
		{"safetensors", "\x02\x00\x00\x00\x00\x00\x00\x00{}", ""},
		{"text", "version 1", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(path, []byte(row.text), 0o644); err != nil {
				t.Fatal(err)
			}
			says(t, File(path), path, row.want)
		})
	}
	says(t, File(filepath.Join(t.TempDir(), "none")), "", "")
	says(t, File(t.TempDir()), "", "")
}

func TestDirectories(t *testing.T) {
	for _, row := range []struct {
		files                   []string
		model, weights, adapter string
	}{
		{nil, "", "", ""},
		{[]string{"adapter_config.json", "adapter_model.safetensors"}, "is an adapter, not a model", "has adapter_model.safetensors and not model.safetensors", ""},
		{[]string{"config.json", "tokenizer.json"}, "", "", "is a model, not an adapter"},
		{[]string{"config.json", "pytorch_model.bin"}, "", "in pytorch_model.bin, which can run code", "is a model"},
		{[]string{"config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"}, "", "in pytorch_model-00001-of-00002.bin, which can run code", "is a model"},
		{[]string{"config.json", "model.pt"}, "", "in model.pt", "is a model"},
		{[]string{"config.json", "tf_model.h5"}, "", "in tf_model.h5, which is not read", "is a model"},
		{[]string{"config.json", "model-00001-of-00002.safetensors"}, "", "no model.safetensors.index.json", "is a model"},
		{[]string{"config.json", "weights.safetensors"}, "", "rename it", "is a model"},
		{[]string{"m-q4.gguf"}, "holds m-q4.gguf", "in m-q4.gguf", ""},
		{[]string{"params.json", "consolidated.00.pth", "tokenizer.model"}, "Meta's own format", "in consolidated.00.pth", ""},
		{[]string{"adapter_config.json", "adapter_model.bin"}, "is an adapter", "", "in adapter_model.bin, which can run code"},
		{[]string{"checkpoint-10", "checkpoint-20"}, "", "", "checkpoint-20"},
	} {
		t.Run(strings.Join(row.files, " "), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "[a]*") // a name that is a pattern
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, dir, row.files...)
			says(t, model(dir), dir, row.model)
			says(t, weights(dir), dir, row.weights)
			says(t, adapter(dir), dir, row.adapter)
		})
	}
}

func TestFilesForDirectories(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "model.safetensors")
	path := filepath.Join(dir, "model.safetensors")
	says(t, model(path), path, "is a file: give the model directory")
	says(t, adapter(path), path, "is a file: give the adapter directory")
	gguf := filepath.Join(dir, "m.gguf")
	if err := os.WriteFile(gguf, []byte("GGUF\x03"), 0o644); err != nil {
		t.Fatal(err)
	}
	says(t, model(gguf), gguf, "is a GGUF file")
	says(t, model(filepath.Join(dir, "none")), "", "")
}

// TestExplain: the causes of an error stay.
func TestExplain(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "adapter_config.json", "adapter_model.bin")
	for _, explain := range []func(string, error) error{ExplainModel, ExplainAdapter} {
		err := explain(dir, fs.ErrNotExist)
		says(t, err, dir, "adapter")
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: its cause is lost", err)
		}
	}
	if err := Explain(filepath.Join(dir, "adapter_config.json"), fs.ErrInvalid); err != fs.ErrInvalid {
		t.Errorf("%v, want the error itself", err)
	}
	if err := Explain(dir, nil); err != nil {
		t.Error(err)
	}
}
