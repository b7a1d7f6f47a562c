package generate_test

import (
	"context"
	"fmt"
	"log"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// A generator continues prompts of ids, together.
func Example() {
	ctx := context.Background()
	dev, err := device.Open("go")
	if err != nil {
		log.Fatal(err)
	}
	defer dev.Close()
	model, err := salamandra.Load(ctx, dev.Backend, "../testdata/reference/models/tiny-gqa", dev.Options)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()

	g := generate.New(model, nil)
	defer g.Close()
	opts := generate.DefaultOptions()
	opts.MaxNewTokens = 4
	answers, err := g.Generate(ctx, [][]int32{{4, 557, 398}, {77}}, opts)
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range answers {
		fmt.Println(len(a.IDs), "new tokens, stopped by itself:", a.Stopped)
	}
	// Output:
	// 4 new tokens, stopped by itself: false
	// 4 new tokens, stopped by itself: false
}
