package salamandra_test

import (
	"context"
	"fmt"
	"log"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// A model directory is loaded onto a backend and continues a prompt of ids.
func Example() {
	ctx := context.Background()
	backend, err := compute.NewWithConfig("go:ops_sequential")
	if err != nil {
		log.Fatal(err)
	}
	model, err := salamandra.Load(ctx, backend, "testdata/reference/models/tiny-gqa", salamandra.DefaultOptions())
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println(model.Config.NumHiddenLayers, "layers,", model.Config.NumParameters(), "parameters")

	generator := salamandra.NewGenerator(model, nil)
	defer generator.Close()
	opts := salamandra.DefaultGenerateOptions()
	opts.MaxNewTokens = 4
	answers, err := generator.Generate(ctx, [][]int32{{4, 557, 398}}, opts)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(answers[0].IDs), "new tokens, stopped by itself:", answers[0].Stopped)
	// Output:
	// 4 layers, 435776 parameters
	// 4 new tokens, stopped by itself: false
}
