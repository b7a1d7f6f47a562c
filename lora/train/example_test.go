package train_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// A tiny model learns two answers by heart; hooks follow the run as it
// goes on.
func Example() {
	ctx, dir := context.Background(), "../../examples/impulse/demo/tiny-salamandra"
	dev, err := device.Open("go")
	check(err)
	defer dev.Close()
	model, err := salamandra.Load(ctx, dev.Backend, dir, dev.Options)
	check(err)
	tok, err := tokenizer.Load(dir)
	check(err)

	var records []dataset.Record
	for q, a := range map[string]string{"energia solar": "sun", "energia eòlica": "wind"} {
		records = append(records, dataset.Record{ID: a, Messages: []chatml.Message{{Role: chatml.User, Content: q}, {Role: chatml.Assistant, Content: a}}})
	}
	set, err := dataset.Builder{Tokenizer: tok, MaxLength: 64}.Build(records)
	check(err)
	plan, _, err := dataset.NewPlan(set.Examples, nil, dataset.DefaultPlanOptions())
	check(err)

	config := lora.DefaultConfig()
	config.Rank, config.Dropout = 4, 0
	layers, err := lora.Inject(model, config, 42)
	check(err)
	settings := train.DefaultConfig()
	settings.Epochs, settings.LearningRate = 12, 1e-2
	settings.Checkpoints.Dir, err = os.MkdirTemp("", "checkpoints-")
	check(err)
	defer os.RemoveAll(settings.Checkpoints.Dir)
	trainer, err := train.New(model, layers, plan, plan, settings)
	check(err)
	defer trainer.Close()

	var losses, evaluations []float64
	check(trainer.Run(ctx, train.Hooks{
		Step:       func(s train.Step) error { losses = append(losses, s.Loss); return nil },
		Evaluation: func(e train.Evaluation) error { evaluations = append(evaluations, e.Loss); return nil },
		Checkpoint: func(c train.Checkpoint) error {
			if c.Step%6 == 0 {
				fmt.Println("kept", filepath.Base(c.Dir)) // it can be resumed, served and merged
			}
			return nil
		},
	}))
	fmt.Println(len(losses), "steps,", len(evaluations), "evaluations; the loss fell tenfold:", evaluations[11] < losses[0]/10)
	// Output:
	// kept checkpoint-6
	// kept checkpoint-12
	// 12 steps, 12 evaluations; the loss fell tenfold: true
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
