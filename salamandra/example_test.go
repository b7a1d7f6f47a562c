package salamandra_test

import (
	"context"
	"fmt"
	"log"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/device"
)

// A model directory is loaded onto a backend and computes the logits of a
// sequence of ids.
func Example() {
	dev, err := device.Open("go")
	if err != nil {
		log.Fatal(err)
	}
	defer dev.Close()
	model, err := salamandra.Load(context.Background(), dev.Backend, "testdata/reference/models/tiny-gqa", dev.Options)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println(model.Config.NumHiddenLayers, "layers,", model.Config.NumParameters(), "parameters")

	logits, err := model.Logits(nil, [][]int32{{4, 557, 398}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(logits[0]), "places,", len(logits[0][2]), "logits each")
	// Output:
	// 4 layers, 435776 parameters
	// 3 places, 2048 logits each
}
