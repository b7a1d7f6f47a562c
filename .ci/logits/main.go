// Logits prints, as one JSON array per line, the logits after each prompt of a
// file of prompts, {"ids": [...]} per line, and with -generate the greedy
// continuations instead: what interop.py compares with Transformers and PEFT.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend"
	_ "github.com/gomlx/go-xla/compute/xla"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

func main() {
	model := flag.String("model", "", "model directory")
	adapter := flag.String("adapter", "", "adapter directory")
	prompts := flag.String("prompts", "", "JSONL of {\"ids\": [...]}")
	quantize := flag.String("quantize", "", "4bit or 8bit: quantise the base")
	tokens := flag.Int("generate", 0, "print this many greedy tokens instead of logits")
	backend := flag.String("backend", "xla:cpu", "backend")
	flag.Parse()
	if err := run(*model, *adapter, *quantize, *prompts, *tokens, *backend); err != nil {
		log.Fatal(err)
	}
}

func run(modelDir, adapterDir, quantize, prompts string, tokens int, backend string) error {
	ctx := context.Background()
	b, err := compute.NewWithConfig(backend)
	if err != nil {
		return err
	}
	m, err := salamandra.Load(ctx, b, modelDir, salamandra.Options{Dtype: "float32", Quantize: quantize})
	if err != nil {
		return err
	}
	var layers salamandra.Adapter
	if adapterDir != "" {
		a, err := lora.ReadAdapter(adapterDir)
		if err != nil {
			return err
		}
		if layers, err = lora.Attach(m, a); err != nil {
			return err
		}
	}
	f, err := os.Open(prompts)
	if err != nil {
		return err
	}
	defer f.Close()
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var p struct{ IDs []int32 }
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return err
		}
		if tokens > 0 {
			opts := generate.DefaultOptions()
			opts.MaxNewTokens = tokens
			g := generate.New(m, layers)
			answers, err := g.Generate(ctx, [][]int32{p.IDs}, opts)
			if err != nil {
				return err
			}
			g.Close()
			if err := out.Encode(answers[0].IDs); err != nil {
				return err
			}
			continue
		}
		logits, err := m.Logits(layers, [][]int32{p.IDs})
		if err != nil {
			return err
		}
		if err := out.Encode(logits[0][len(p.IDs)-1]); err != nil {
			return err
		}
	}
	return lines.Err()
}
