package finetune_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// A model directory is all it takes to get valid JSON.
func ExampleOpen() {
	ctx := context.Background()
	m, err := finetune.Open(ctx, "examples/impulse/demo/tiny-salamandra", finetune.Options{
		Backend: "go", Schema: []byte(`{"type": "object", "additionalProperties": false, "required": ["ok"], "properties": {"ok": {"const": true}}}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	a, err := m.Ask(ctx, "projectes d'hidrogen verd a Catalunya")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.Text)
	// Output:
	// {
	//   "ok": true
	// }
}

// Many questions are computed together; where the contract says so, an answer
// repeats its question.
func ExampleModel_AskAll() {
	ctx := context.Background()
	m, err := finetune.Open(ctx, "examples/impulse/demo/tiny-salamandra", finetune.Options{
		Backend: "go", Schema: []byte(`{"type": "object", "additionalProperties": false, "required": ["meta"], "properties": {
			"meta": {"type": "object", "additionalProperties": false, "required": ["original_query"], "properties": {"original_query": {"type": "string"}}}}}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	_, err = m.AskAll(ctx, []string{"energia solar", "hidrogen verd"}, finetune.AskOptions{
		OnAnswer: func(i int, a finetune.Answer) {
			fmt.Printf("%d: %s, %d tokens chosen\n", i, strings.Join(strings.Fields(a.Text), " "), a.NewTokens-a.ForcedTokens)
		},
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// 0: { "meta": { "original_query": "energia solar" } }, 0 tokens chosen
	// 1: { "meta": { "original_query": "hidrogen verd" } }, 0 tokens chosen
}

// A conversation may have a schema of its own, and be shown as it is written.
func ExampleModel_Chat() {
	ctx := context.Background()
	m, err := finetune.Open(ctx, "examples/impulse/demo/tiny-salamandra", finetune.Options{Backend: "go"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	messages := []chatml.Message{
		{Role: chatml.System, Content: "Answer with the name of a city."},
		{Role: chatml.User, Content: "On és la Sagrada Família?"},
	}
	_, err = m.Chat(ctx, messages, finetune.ChatOptions{
		Schema: []byte(`{"enum": ["Barcelona"]}`),
		OnText: func(piece string) { fmt.Print(piece) },
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: "Barcelona"
}

// Another adapter takes the place of the present one while questions are answered.
func ExampleModel_Swap() {
	const base = "salamandra/testdata/reference/models/tiny-gqa"
	ctx := context.Background()
	m, err := finetune.Open(ctx, base+"/golden/adapter-lora", finetune.Options{Backend: "go", Base: base})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	if err := m.Swap(ctx, base+"/golden/adapter-rslora"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready:", m.Ready())
	// Output: ready: true
}

// A model is scored by the rules that its schema implies.
func ExampleModel_Score() {
	ctx := context.Background()
	text := []byte(`{"type": "object", "additionalProperties": false, "required": ["place"], "properties": {"place": {"enum": ["Girona"]}}}`)
	m, err := finetune.Open(ctx, "examples/impulse/demo/tiny-salamandra", finetune.Options{Backend: "go", Schema: text})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	schema, err := evalx.CompileSchema("places.json", text)
	if err != nil {
		fmt.Println(err)
		return
	}
	task, err := evalx.NewTask(evalx.TaskOptions{Schema: schema})
	if err != nil {
		fmt.Println(err)
		return
	}
	results, err := m.Score(ctx, task, []finetune.Case{{ID: "1", Question: "On és la catedral?", Want: `{"place": "Girona"}`}}, finetune.ScoreOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("fields right:", evalx.Summarize(results).Overall.Fields)
	// Output: fields right: 1/1 (100.0%)
}

// Two examples are learned by heart: the adapter's directory is all that a service
// needs.
func ExampleTrain() {
	dir, err := os.MkdirTemp("", "adapter-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	opts := finetune.DefaultTrainOptions()
	opts.Model, opts.Data, opts.OutputDir, opts.Backend = "examples/impulse/demo/tiny-salamandra", "two questions", dir, "go"
	for _, pair := range [][2]string{{"energia solar", "sun"}, {"energia eòlica", "wind"}} {
		opts.Records = append(opts.Records, dataset.Record{Messages: []chatml.Message{
			{Role: chatml.User, Content: pair[0]}, {Role: chatml.Assistant, Content: pair[1]},
		}})
	}
	opts.Split.Fraction, opts.Train.EarlyStoppingPatience = 0, 0 // nothing is held out
	opts.Train.Epochs, opts.Train.LearningRate = 6, 1e-2
	var losses []float64
	opts.Hooks.Step = func(s train.Step) error { losses = append(losses, s.Loss); return nil }
	result, err := finetune.Train(context.Background(), opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Step, "steps; the loss fell by half:", losses[5] < losses[0]/2)
	contract, err := chatml.ReadContract(filepath.Join(dir, chatml.ContractFile))
	fmt.Println("default system message:", contract.DefaultSystem, err)
	// Output:
	// 6 steps; the loss fell by half: true
	// default system message: true <nil>
}
