//go:build ignore

// Command programs records the programs of training and of generation for a
// Salamandra of random shape and no weights: its weights file is a hole, its
// device is recorder.c's. Run it by .ci/cuda-compile.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
	"github.com/impulse-salamandra/finetune/salamandra/xlaplugin"
)

// shape is the part of config.json in which the models differ.
type shape struct {
	Hidden       int `json:"hidden_size"`
	Intermediate int `json:"intermediate_size"`
	Layers       int `json:"num_hidden_layers"`
	Heads        int `json:"num_attention_heads"`
	KVHeads      int `json:"num_key_value_heads"`
}

var models = map[string]shape{
	"2b":  {2048, 5440, 24, 16, 16},
	"7b":  {4096, 11008, 32, 32, 8},
	"40b": {8192, 24576, 48, 64, 8},
}

// options are the flags.
type options struct {
	model, what, dtype, quantize, lengths, recorder string
	layers, batch, shards                           int
	checkpointing, plain, noPrefix                  bool
	dropout                                         float64
}

func flags() (o options) {
	flag.StringVar(&o.model, "model", "7b", "2b, 7b or 40b")
	flag.StringVar(&o.what, "what", "train", "train or generate")
	flag.StringVar(&o.dtype, "dtype", "auto", "dtype of the weights")
	flag.StringVar(&o.quantize, "quantize", "", "4bit or 8bit: quantised linear layers")
	flag.StringVar(&o.lengths, "lengths", "dataset/testdata/impulse_lengths.json", "lengths of the examples")
	flag.StringVar(&o.recorder, "recorder", "", "the recording plugin")
	flag.IntVar(&o.layers, "layers", 0, "blocks, 0 for the model's")
	flag.IntVar(&o.batch, "batch", 4, "examples of a batch")
	flag.IntVar(&o.shards, "shards", 1, "devices among which the weights are divided")
	flag.BoolVar(&o.checkpointing, "checkpointing", true, "gradient checkpointing")
	flag.BoolVar(&o.plain, "plain", false, "attention from matrix products")
	flag.BoolVar(&o.noPrefix, "no-prefix", false, "no shared prefix")
	flag.Float64Var(&o.dropout, "dropout", 0.05, "of the adapter")
	flag.Parse()
	return o
}

func main() {
	o := flags()
	if err := run(context.Background(), o); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "shapes")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := models[o.model]
	if o.layers > 0 {
		s.Layers = o.layers
	}
	if err := writeModel(dir, s); err != nil {
		return err
	}
	b, err := recorder(o.recorder)
	if err != nil {
		return err
	}
	m, err := salamandra.Load(ctx, b, dir, salamandra.Options{Dtype: o.dtype, Quantize: o.quantize, PlainAttention: o.plain, Shards: o.shards})
	if err != nil {
		return err
	}
	defer m.Close()
	config := lora.DefaultConfig()
	config.Dropout = o.dropout
	layers, err := lora.Inject(m, config, 1)
	if err != nil {
		return err
	}
	examples, held, err := readExamples(o.lengths, m.Config.VocabSize)
	if err != nil {
		return err
	}
	plans := dataset.DefaultPlanOptions()
	plans.BatchSize, plans.SharedPrefix = o.batch, !o.noPrefix
	plan, eval, err := dataset.NewPlan(examples, held, plans)
	if err != nil {
		return err
	}
	if o.what == "generate" {
		return generation(ctx, m, layers, plan, examples)
	}
	return training(ctx, o, m, layers, plan, eval)
}

// recorder opens the recording plugin, wrapped as a plugin for CUDA is.
func recorder(path string) (compute.Backend, error) {
	available := func() map[string]string { return map[string]string{"cuda": path} }
	xlaplugin.Wrap(available, pjrt.RegisterPreloadedPlugin, xlaplugin.Options{})
	if ok, err := xlaplugin.Load("cuda"); !ok || err != nil {
		return nil, fmt.Errorf("%s is not wrapped: %v", path, err)
	}
	return compute.NewWithConfig("xla:cuda")
}

// training runs an epoch with an evaluation and prints the plan of its memory.
func training(ctx context.Context, o options, m *salamandra.Model, layers *lora.Layers, plan, eval *dataset.Plan) error {
	config := train.DefaultConfig()
	config.GradientCheckpointing, config.Epochs = o.checkpointing, 1
	job := train.Job{Model: m.Config, Dtype: m.DType(), Quantize: o.quantize, AdapterSize: layers.NumParameters(), HeadChunk: config.HeadChunk, Shards: o.shards, Plans: []*dataset.Plan{plan, eval}}
	memory, err := train.ChooseMemory(job, 0, o.checkpointing)
	if err != nil {
		return err
	}
	fmt.Println(plan)
	fmt.Println(memory)
	t, err := train.New(m, layers, plan, eval, config)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Run(ctx, train.Hooks{})
}

// generation computes the prefix of the plan, then prompts that begin with it and
// have 200, 40, 12 and 3 tokens more: a long prompt, a short one, speculative and
// plain decoding; and a prompt of its own. All have a cache of one row; eight
// prompts together follow.
func generation(ctx context.Context, m *salamandra.Model, layers *lora.Layers, plan *dataset.Plan, examples []dataset.Example) error {
	g := generate.New(m, layers)
	defer g.Close()
	if err := g.Warm(ctx, plan.Prefix); err != nil {
		return err
	}
	for _, more := range []int{200, 40, 12, 3} {
		prompt := make([]int32, len(plan.Prefix)+more)
		for i := range prompt {
			prompt[i] = int32(i % 1000)
		}
		copy(prompt, plan.Prefix)
		if _, err := g.Do(ctx, generate.Request{Prompt: prompt, Sampling: generate.Greedy(), MaxNewTokens: 24}); err != nil {
			return err
		}
	}
	var prompts [][]int32
	for _, e := range examples[:8] {
		prompts = append(prompts, e.IDs[:len(plan.Prefix)+40])
	}
	opts := generate.DefaultOptions()
	opts.MaxNewTokens = 24
	_, err := g.Generate(ctx, prompts, opts)
	return err
}

// writeModel writes a model whose weights are a hole in the file.
func writeModel(dir string, s shape) error {
	own, err := json.Marshal(s)
	if err != nil {
		return err
	}
	config := map[string]any{
		"model_type": "llama", "architectures": []string{"LlamaForCausalLM"}, "hidden_act": "silu", "torch_dtype": "bfloat16",
		"vocab_size": 256000, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
		"tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
	}
	if err := json.Unmarshal(own, &config); err != nil {
		return err
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		return err
	}
	parsed, err := llama.ReadConfig(dir)
	if err != nil {
		return err
	}
	return writeHole(filepath.Join(dir, "model.safetensors"), parsed.Tensors())
}

// writeHole writes a header of tensors in bfloat16, and nothing after it.
func writeHole(path string, tensors []llama.Tensor) error {
	type entry struct {
		Dtype   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header, at := map[string]entry{}, int64(0)
	for _, t := range tensors {
		bytes := int64(2)
		for _, d := range t.Shape {
			bytes *= int64(d)
		}
		header[t.Name] = entry{"BF16", t.Shape, [2]int64{at, at + bytes}}
		at += bytes
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	text = append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, int64(len(text))+at)
}

// readExamples makes examples of the lengths in a file: a prefix, then each
// example's own tokens, of which the last but one ones are trained.
func readExamples(path string, vocabulary int) (examples, held []dataset.Example, err error) {
	var lengths struct {
		Prefix int      `json:"prefix"`
		Train  [][2]int `json:"train"`
		Eval   [][2]int `json:"eval"`
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(text, &lengths); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	list := func(own [][2]int) (out []dataset.Example) {
		for i, n := range own {
			total := lengths.Prefix + n[0]
			e := dataset.Example{ID: fmt.Sprint(i), IDs: make([]int32, total), Train: make([]bool, total)}
			for j := range e.IDs {
				e.IDs[j] = int32(100 + j%7)
				if j >= lengths.Prefix {
					e.IDs[j] = int32((i + 3*j) % vocabulary)
				}
				e.Train[j] = j >= total-1-n[1] && j < total-1
			}
			out = append(out, e)
		}
		return out
	}
	return list(lengths.Train), list(lengths.Eval), nil
}
