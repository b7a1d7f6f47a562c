package lora_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// An adapter is written, and merged into a model of one layer.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	base, adapter, merged := filepath.Join(dir, "base"), filepath.Join(dir, "adapter"), filepath.Join(dir, "merged")
	if err := writeBase(base); err != nil {
		fmt.Println(err)
		return
	}

	config := lora.DefaultConfig()
	config.Rank, config.Alpha, config.TargetModules = 1, 2, []string{"q_proj"}
	a := lora.Adapter{Config: config, Modules: []lora.Module{{
		Name: "model.layers.0.self_attn.q_proj", In: 2, Out: 2, Rank: 1,
		A: []float32{0, 1},   // reads the second input
		B: []float32{0.5, 0}, // adds half of it to the first output
	}}}
	if err := a.Write(adapter); err != nil {
		fmt.Println(err)
		return
	}
	report, err := lora.Merge(context.Background(), lora.MergeOptions{Base: base, Adapter: adapter, Output: merged})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range report.Merged {
		fmt.Printf("%s: scale %v, update of norm %v\n", t.Name, t.Scale, t.DeltaNorm)
	}
	// Output: model.layers.0.self_attn.q_proj.weight: scale 2, update of norm 1
}

// writeBase writes a model of one layer of width 2, all of zeros.
func writeBase(dir string) error {
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	text := []byte(`{"model_type": "llama", "dtype": "float32", "vocab_size": 3, "hidden_size": 2, "intermediate_size": 2,
 "num_hidden_layers": 1, "num_attention_heads": 1, "tie_word_embeddings": true}`)
	config, err := llama.ParseConfig(text)
	if err != nil {
		return err
	}
	var infos []safetensors.Info
	for _, t := range config.Tensors() {
		infos = append(infos, safetensors.Info{Name: t.Name, Dtype: safetensors.F32, Shape: t.Shape})
	}
	w, err := safetensors.Create(filepath.Join(dir, safetensors.ModelFile), infos, map[string]string{"format": "pt"})
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, info := range infos {
		if err := w.WriteFloats(info.Name, make([]float32, info.NumElements())); err != nil {
			return err
		}
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "config.json"), text, 0o666), w.Commit())
}

// The default adapts the linear layers of the blocks, and nothing else.
func ExampleConfig_Matches() {
	config := lora.DefaultConfig()
	config.RankPattern = map[string]int{"layers.0.self_attn.q_proj": 4}
	for _, module := range []string{
		"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "lm_head",
	} {
		if config.Matches(module) {
			fmt.Println(module, "scale", config.ScaleOf(module))
		} else {
			fmt.Println(module, "is left alone")
		}
	}
	// Output:
	// model.layers.0.self_attn.q_proj scale 8
	// model.layers.1.self_attn.q_proj scale 2
	// lm_head is left alone
}
