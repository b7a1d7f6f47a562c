package runlog_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/internal/runlog"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// The hooks of a log go to the trainer; here a step is reported by hand.
func Example() {
	dir, err := os.MkdirTemp("", "run-")
	check(err)
	defer os.RemoveAll(dir)
	ctx, status := context.Background(), train.Status{TotalSteps: 1, StepsPerEpoch: 1}
	log, err := runlog.Open(dir, "", runlog.Run{Title: "tickets", Status: func() train.Status { return status }})
	check(err)
	check(log.Hooks(ctx).Step(train.Step{Step: 1, Loss: 0.5, LearningRate: 2e-4}))
	status.Step = 1
	check(log.Close())
	for _, name := range []string{"metrics.jsonl", "report.html", "runs"} {
		_, err := os.Stat(filepath.Join(dir, name))
		fmt.Println(name, err == nil)
	}
	// Output:
	// metrics.jsonl true
	// report.html true
	// runs true
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
