package tensorboard_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/impulse-salamandra/finetune/internal/tensorboard"
)

// A run with one curve: tensorboard --logdir DIR shows it.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	check(err)
	defer os.RemoveAll(dir)
	file, err := os.Create(filepath.Join(dir, tensorboard.FileName))
	check(err)
	defer file.Close()
	w, err := tensorboard.NewWriter(file, time.Now())
	check(err)
	for step := range int64(3) {
		check(w.Scalars(step, time.Now(), tensorboard.Scalar{Tag: "train/loss", Value: 1 / float64(step+1)}))
	}
	info, err := file.Stat()
	check(err)
	fmt.Println(info.Size(), "bytes")
	// Output: 182 bytes
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
