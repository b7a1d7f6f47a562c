// Finetune teaches a model to sort support tickets, scores it on tickets it has
// not seen, merges what it has learned and asks the result:
// finetune MODEL_DIR TICKETS.jsonl OUTPUT_DIR
package main

import (
	"context"
	_ "embed"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/lora"
)

//go:embed schema.json
var schema []byte

func main() {
	ctx, adapter, merged := context.Background(), filepath.Join(os.Args[3], "adapter"), filepath.Join(os.Args[3], "merged")
	tickets, _, err := dataset.ReadFile(os.Args[2])
	check(err)

	opts := finetune.DefaultTrainOptions()
	opts.Model, opts.OutputDir = os.Args[1], adapter
	opts.Records, opts.Test = tickets[:32], tickets[32:]
	opts.AllowTestOverlap = true // the tickets are much alike
	opts.Contract.Schema, opts.Contract.SystemPrompt = schema, "Sort the ticket."
	opts.Train.Epochs, opts.Train.LearningRate, opts.MaxLength = 4, 1e-2, 256
	result, err := finetune.Train(ctx, opts)
	check(err)
	fmt.Printf("%d steps, the best after %d\n", result.Step, result.Best.Step)

	model, err := finetune.Open(ctx, adapter, finetune.Options{})
	check(err)
	rules, err := evalx.CompileSchema("schema.json", schema)
	check(err)
	task, err := evalx.NewTask(evalx.TaskOptions{Schema: rules})
	check(err)
	var cases []finetune.Case
	for _, t := range tickets[32:] {
		cases = append(cases, finetune.Case{Question: t.Question(), Want: t.Answer()})
	}
	results, err := model.Score(ctx, task, cases, finetune.ScoreOptions{})
	check(err)
	check(model.Close())
	fmt.Println("fields right in held-out tickets:", evalx.Summarize(results).Overall.Fields)

	_, err = lora.Merge(ctx, lora.MergeOptions{Base: os.Args[1], Adapter: adapter, Output: merged, Verify: 2})
	check(err)
	model, err = finetune.Open(ctx, merged, finetune.Options{})
	check(err)
	answer, err := model.Ask(ctx, "El portal no funciona, es urgente")
	check(err)
	fmt.Println(answer.Text)
	check(model.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
