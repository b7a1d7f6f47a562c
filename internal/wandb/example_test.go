package wandb_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/impulse-salamandra/finetune/internal/wandb"
)

// An offline run with one curve: `wandb sync` uploads its directory.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	check(err)
	defer os.RemoveAll(dir)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	run, err := wandb.Create(wandb.Options{Dir: dir, Project: "impulse", ID: "first", Start: start})
	check(err)
	for step := range int64(3) {
		check(run.Log(step, start, map[string]any{"train/loss": 1 / float64(step+1)}))
	}
	check(run.Close(0))
	fmt.Println(filepath.Base(run.Dir()))
	// Output: offline-run-20260102_030405-first
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
