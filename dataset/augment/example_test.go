package augment_test

import (
	"context"
	"fmt"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/augment"
)

// Variants of a question, which keep what its answer needs.
func ExampleMake() {
	records := []dataset.Record{{ID: "a", Lang: "ca", Messages: []chatml.Message{
		{Role: chatml.User, Content: "Cal reparar això: la connexió de la sala A1. Va costar 20 euros."},
		{Role: chatml.Assistant, Content: `{"device": "connexió", "room": "A1", "cost": 20}`},
	}}}
	opts := augment.DefaultOptions()
	opts.Templates = []string{augment.Accents, augment.Order}
	result, err := augment.Make(context.Background(), records, opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range result.Records {
		fmt.Printf("%s: %s\n", r.ID, r.Question())
	}
	// Output:
	// a: Cal reparar això: la connexió de la sala A1. Va costar 20 euros.
	// a~1: Va costar 20 euros. Cal reparar això: la connexió de la sala A1.
	// a~2: Cal reparar aixo: la connexió de la sala A1. Va costar 20 euros.
}
