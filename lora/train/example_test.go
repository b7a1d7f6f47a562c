package train_test

import (
	"context"
	"fmt"
	"log"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// A tiny model learns two answers by heart.
func Example() {
	ctx, dir := context.Background(), "../../examples/impulse/demo/tiny-salamandra"
	backend, err := compute.NewWithConfig("go:ops_sequential")
	check(err)
	model, err := salamandra.Load(ctx, backend, dir, salamandra.DefaultOptions())
	check(err)
	tok, err := tokenizer.Load(dir)
	check(err)

	var records []dataset.Record
	for q, a := range map[string]string{"energia solar": "sun", "energia eòlica": "wind"} {
		records = append(records, dataset.Record{ID: a, Messages: []chatml.Message{{Role: chatml.User, Content: q}, {Role: chatml.Assistant, Content: a}}})
	}
	set, err := dataset.Builder{Tokenizer: tok, MaxLength: 64}.Build(records)
	check(err)
	plan, err := dataset.NewPlan(set.Examples, dataset.DefaultPlanOptions())
	check(err)

	config := lora.DefaultConfig()
	config.Rank, config.Dropout = 4, 0
	layers, err := lora.Inject(model, config, 42)
	check(err)
	settings := train.DefaultConfig()
	settings.Epochs, settings.LearningRate = 12, 1e-2
	trainer, err := train.New(model, layers, plan, nil, settings)
	check(err)
	defer trainer.Close()

	var first, last float64
	check(trainer.Run(ctx, train.Hooks{Step: func(s train.Step) error {
		if s.Step == 1 {
			first = s.Loss
		}
		last = s.Loss
		return nil
	}}))
	fmt.Println(trainer.TotalSteps(), "steps; the loss fell tenfold:", last < first/10)
	// Output: 12 steps; the loss fell tenfold: true
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
