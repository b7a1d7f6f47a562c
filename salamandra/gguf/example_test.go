package gguf_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/salamandra/gguf"
)

// A model directory becomes one file for llama.cpp.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	report, err := gguf.ExportModel(context.Background(), gguf.ModelOptions{
		Model:  filepath.Join("..", "testdata", "reference", "models", "tiny-mha"),
		Output: filepath.Join(dir, "model.gguf"),
		Type:   "f16",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Tensors, "tensors")
	for _, w := range report.Warnings {
		fmt.Println("warning:", w)
	}
	// Output:
	// 21 tensors
	// warning: llama.cpp does not compose characters (NFC); do so before sending it a text
}
