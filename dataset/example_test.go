package dataset_test

import (
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
)

// letters is a tokenizer with one token per byte, for the example's sake.
type letters struct{}

func (letters) TokenID(token string) (int32, bool) {
	id, ok := map[string]int32{"<|im_start|>": 1, chatml.EndToken: 2}[token]
	return id, ok
}

func (letters) EncodeText(text string, _ bool) []int32 {
	var ids []int32
	for _, b := range []byte(text) {
		ids = append(ids, 10+int32(b))
	}
	return ids
}

// From lines of JSON to the batches of an epoch.
func Example() {
	const system = `{"role": "system", "content": "Answer with one JSON object."}`
	jsonl := `{"id": "a", "messages": [` + system + `, {"role": "user", "content": "sol"}, {"role": "assistant", "content": "{\"topic\": \"sol\"}"}]}
{"id": "b", "messages": [` + system + `, {"role": "user", "content": "wind"}, {"role": "assistant", "content": "{\"topic\": \"wind\"}"}]}
{"id": "c", "messages": [` + system + `, {"role": "user", "content": "aigua"}, {"role": "assistant", "content": "{\"topic\": \"aigua\"}"}]}
`
	records, err := dataset.NewReader(strings.NewReader(jsonl), "train.jsonl").ReadAll()
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := dataset.Builder{Tokenizer: letters{}, MaxLength: 512}.Build(records)
	if err != nil {
		fmt.Println(err)
		return
	}
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize, opts.Shuffle = 2, false
	plan, _, err := dataset.NewPlan(set.Examples, nil, opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(plan)
	for _, indices := range plan.Epoch(0, 42) {
		batch, err := plan.Batch(indices)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(batch.IDs, "prefix", batch.P, "rows", batch.B, "x", batch.S, "lengths", batch.Lengths, "trained", batch.TrainedTokens)
	}
	// Output:
	// 3 examples in 2 batches per epoch, shared prefix of 44 tokens
	//     2 batches of 2 x 40 tokens, up to 48 targets
	// 248 tokens computed, 21.0 % of them padding; one by one the examples have 240
	// [a b] prefix 44 rows 2 x 40 lengths [34 36] trained 35
	// [c] prefix 44 rows 2 x 40 lengths [38 0] trained 19
}
