// Service is a program of another module that uses the library as a deployment
// does: it merges an adapter into its base and asks the merged model.
//
//	service BASE_DIR ADAPTER_DIR OUTPUT_DIR
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: service BASE_DIR ADAPTER_DIR OUTPUT_DIR")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, base, adapter, output string) error {
	report, err := lora.Merge(ctx, lora.MergeOptions{Base: base, Adapter: adapter, Output: output})
	if err != nil {
		return err
	}
	fmt.Println("tensors merged:", len(report.Merged))

	backend, err := compute.NewWithConfig("go:ops_sequential")
	if err != nil {
		return err
	}
	defer backend.Finalize()
	model, err := salamandra.Load(ctx, backend, output, salamandra.DefaultOptions())
	if err != nil {
		return err
	}
	defer model.Close()
	tok, err := tokenizer.Load(output)
	if err != nil {
		return err
	}
	prompt, err := chatml.Template{}.EncodePrompt(tok, []chatml.Message{{Role: chatml.User, Content: "projectes d'energia solar"}})
	if err != nil {
		return err
	}
	generator := salamandra.NewGenerator(model, nil)
	defer generator.Close()
	opts := salamandra.DefaultGenerateOptions()
	opts.MaxNewTokens = 8
	answers, err := generator.Generate(ctx, [][]int32{prompt}, opts)
	if err != nil {
		return err
	}
	fmt.Println("tokens answered:", len(answers[0].IDs))
	return nil
}
