package safetensors_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// A file is written tensor by tensor, and read by name.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.safetensors")
	if err := write(path, []float32{1, 2, 3, 4, 5, 6.02}); err != nil {
		fmt.Println(err)
		return
	}

	f, err := safetensors.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	for _, info := range f.Tensors() {
		data, err := f.Bytes(info.Name)
		if err != nil {
			fmt.Println(err)
			return
		}
		values := make([]float32, info.NumElements())
		if err := safetensors.DecodeFloat32(values, data, info.Dtype); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(info.Name, info.Dtype, info.Shape, values)
	}
	// Output: norm.weight BF16 [2 3] [1 2 3 4 5 6.03125]
}

// write stores values as a [2, 3] tensor in bfloat16.
func write(path string, values []float32) error {
	info := safetensors.Info{Name: "norm.weight", Dtype: safetensors.BF16, Shape: []int{2, 3}}
	w, err := safetensors.Create(path, []safetensors.Info{info}, map[string]string{"format": "pt"})
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := w.WriteFloats(info.Name, values); err != nil {
		return err
	}
	return w.Commit()
}
