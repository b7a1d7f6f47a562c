// Service is a program of another module that uses the library as a deployment
// does: it asks a base with an adapter, merges both, and asks the merged model.
//
//	service BASE_DIR ADAPTER_DIR OUTPUT_DIR
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"

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

func run(ctx context.Context, base, adapterDir, output string) error {
	backend, err := compute.NewWithConfig("go:ops_sequential")
	if err != nil {
		return err
	}
	defer backend.Finalize()
	adapter, err := lora.ReadAdapter(adapterDir)
	if err != nil {
		return err
	}
	attach := func(m *salamandra.Model) (salamandra.Adapter, error) { return lora.Attach(m, adapter) }
	before, err := answer(ctx, backend, base, attach)
	if err != nil {
		return err
	}
	fmt.Println("base and adapter:", len(before), "tokens")

	prompt, err := ask(base)
	if err != nil {
		return err
	}
	report, err := lora.Merge(ctx, lora.MergeOptions{
		Base: base, Adapter: adapterDir, Output: output,
		Verify: func(ctx context.Context, dir string) error {
			_, err := salamandra.CompareMerged(ctx, backend, dir, salamandra.MergedCheck{Base: base, Attach: attach, Prompts: [][]int32{prompt}})
			return err
		},
	})
	if err != nil {
		return err
	}
	fmt.Println("tensors merged:", len(report.Merged))

	if _, err := lora.VerifyDir(ctx, output); err != nil { // where it is deployed
		return err
	}
	after, err := answer(ctx, backend, output, nil)
	if err != nil {
		return err
	}
	fmt.Println("merged:", len(after), "tokens, the same:", slices.Equal(before, after))
	return nil
}

// ask returns the ids of a question.
func ask(dir string) ([]int32, error) {
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return nil, err
	}
	return chatml.Template{}.EncodePrompt(tok, []chatml.Message{{Role: chatml.User, Content: "projectes d'energia solar"}})
}

// answer asks the model in dir, with an adapter where attach is not nil.
func answer(ctx context.Context, backend compute.Backend, dir string, attach func(*salamandra.Model) (salamandra.Adapter, error)) ([]int32, error) {
	model, err := salamandra.Load(ctx, backend, dir, salamandra.DefaultOptions())
	if err != nil {
		return nil, err
	}
	defer model.Close()
	var adapter salamandra.Adapter // none for a merged model
	if attach != nil {
		if adapter, err = attach(model); err != nil {
			return nil, err
		}
	}
	prompt, err := ask(dir)
	if err != nil {
		return nil, err
	}
	generator := salamandra.NewGenerator(model, adapter)
	defer generator.Close()
	opts := salamandra.DefaultGenerateOptions()
	opts.MaxNewTokens = 8
	answers, err := generator.Generate(ctx, [][]int32{prompt}, opts)
	if err != nil {
		return nil, err
	}
	return answers[0].IDs, nil
}
