package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// sizeOf7B makes a directory with the shapes of Salamandra 7B and the small
// model's tokenizer: what a forecast reads.
func sizeOf7B(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), read(t, filepath.Join(tinyModel, name)), 0o644))
	}
	var config map[string]any
	require.NoError(t, json.Unmarshal(read(t, filepath.Join(tinyModel, "config.json")), &config))
	for key, value := range map[string]int{
		"vocab_size": 256000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
		"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 8192,
	} {
		config[key] = value
	}
	text, err := json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644))
	return dir
}

// TestForecast: for a 7B of short examples, a card of 24 GB has room, one of 12 GB
// has none, and what is advised are flags that train takes.
func TestForecast(t *testing.T) {
	args := []string{"inspect", "--limit", "0", "--tflops", "1", "--model", sizeOf7B(t), "--data", prepared(t, 40), "--gradient-accumulation-steps", "4"}
	ask := func(more ...string) (table []string, advice string) {
		t.Helper()
		status, out, errs := impulseMain(t, append(args, more...)...)
		require.Zero(t, status, errs)
		_, out, found := strings.Cut(out, "\non ")
		require.True(t, found, out)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		require.Len(t, lines, 1+1+2*5+1)
		return lines, lines[len(lines)-1]
	}
	table, advice := ask("--gpu", "RTX-3090")
	require.Equal(t, "RTX-3090: 25.8 GB, of which a run gets 23.7", table[0])
	require.Regexp(t, `^ +batch +checkpointing +memory +fits +an epoch +the run$`, table[1])
	require.Regexp(t, `^ +16 +on .* yes .* (s|min)$`, table[11])
	before, flags, found := strings.Cut(advice, ": ")
	require.True(t, found)
	require.Equal(t, "the fastest that fits, with 16 examples in a step", before)
	train := newTrainCommand()
	require.NoError(t, train.ParseFlags(strings.Fields(flags)))
	require.True(t, train.Flags().Changed("batch-size"))

	table, advice = ask("--device-memory", "12GB")
	require.Contains(t, advice, "nothing fits as it is; with a quantised base, 16 examples in a step: --quantize 8bit --batch-size")
	require.NotContains(t, strings.Join(table, "\n"), "yes")

	_, advice = ask("--device-memory", "8GB", "--quantize", "8bit")
	require.Contains(t, advice, "nothing fits as it is; with a quantised base, 16 examples in a step: --quantize 4bit --batch-size")
	_, advice = ask("--device-memory", "4GB", "--quantize", "4bit")
	require.Equal(t, "nothing fits: take a smaller model or a larger card", advice)

	table, advice = ask("--device-memory", "48 GB")
	require.Contains(t, table[0], "a card with 48 GiB: 51.5 GB")
	require.NotContains(t, table[1], "epoch")
	require.Equal(t, "the largest batch that fits, with 16 examples in a step: --batch-size 16 --gradient-accumulation-steps 1 --gradient-checkpointing=off", advice)
}

func TestForecastRefuses(t *testing.T) {
	for _, row := range [][2]string{{"--gpu", "rtx9"}, {"--device-memory", "much"}, {"--device-memory", "-1GB"}} {
		status, _, errs := impulseMain(t, "inspect", "--model", tinyModel, "--data", "absent", row[0], row[1])
		require.Equal(t, 1, status)
		require.Contains(t, errs, row[0]+` "`+row[1]+`"`)
	}
	status, _, errs := impulseMain(t, "train", "--model", tinyModel, "--data", prepared(t, 3), "--output-dir", t.TempDir(), "--gpu", "h100")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "add --dry-run")
	status, out, errs := impulseMain(t, "train", "--dry-run", "--model", tinyModel, "--data", prepared(t, 30), "--gpu", "h100")
	require.Zero(t, status, errs)
	require.Contains(t, out, "\non h100: ")
}

// TestForecastByHand: a batch takes its products or the reading of the weights,
// whichever is longer.
func TestForecastByHand(t *testing.T) {
	var o trainOptions
	o.addFlags(&cobra.Command{})
	config, err := llama.ReadConfig(tinyModel)
	require.NoError(t, err)
	plan := &dataset.Plan{Batches: 10, Shapes: []dataset.Shape{{B: 2, S: 8, N: 16, Batches: 10}}}
	f := &forecast{o: &o, config: config}
	f.job.Model, f.job.Dtype = config, dtypes.BFloat16
	require.Zero(t, f.seconds(plan, nil, false), "the speed is not known")

	f.card = gpuModel{tflops: 1e-6, bandwidth: 1e9}
	require.InEpsilon(t, passOperations(config, plan, true, true)/(1e6*reached), f.seconds(plan, nil, true), 1e-12)
	f.card = gpuModel{tflops: 1e9, bandwidth: 1e-3}
	require.False(t, config.TieWordEmbeddings)
	weights := 2 * float64(config.NumParameters()-int64(config.VocabSize*config.HiddenSize)) // rows of the embedding alone
	require.InEpsilon(t, 10*2*weights/(1e6*readShare), f.seconds(plan, nil, false), 1e-12)
	require.InEpsilon(t, 10*4*weights/(1e6*readShare), f.seconds(plan, plan, true), 1e-12)
	f.job.Quantize = "4bit"
	linears := 0.0
	for _, name := range config.Linears() {
		out, in := config.LinearShape(name)
		linears += float64(out * in)
	}
	// 4.5 bits a weight are read, and three quarters written and read in 16.
	require.InEpsilon(t, 10*2*(weights-2*linears+linears*4.5/8+0.75*2*2*linears)/(1e6*readShare), f.seconds(plan, nil, false), 1e-3)
	f.job.Quantize = ""

	f.card.bfloat16, f.o.Dtype = true, "auto"
	require.Equal(t, dtypes.BFloat16, f.dtype())
	f.card.bfloat16 = false
	require.Equal(t, dtypes.Float16, f.dtype())
	f.o.Dtype = "float32"
	require.Equal(t, dtypes.Float32, f.dtype())

	f.o.Plan.BatchSize, f.o.Train.GradientAccumulationSteps = 6, 1
	f.job.Dtype = dtypes.Float16
	require.Equal(t, "--batch-size 4 --gradient-accumulation-steps 2 --gradient-checkpointing=on --dtype float16",
		strings.Join(f.flags(outlook{setting: setting{4, true}, fits: true}), " "))
}

func TestBestOutlook(t *testing.T) {
	list := []outlook{
		{setting: setting{1, false}, fits: true, seconds: 9}, {setting: setting{1, true}, fits: true, seconds: 12},
		{setting: setting{2, false}, seconds: 5}, {setting: setting{2, true}, fits: true, seconds: 7},
		{setting: setting{16, true}, fits: true, seconds: 2},
	}
	require.Equal(t, list[3], *best(list, 4))
	require.Equal(t, list[4], *best(list, 16))
	require.Nil(t, best(list[2:3], 4))
	for name, card := range gpus {
		require.True(t, card.gib >= 10 && card.bandwidth >= 300 && card.tflops > 50, name)
	}
}

// TestForecastShards: train forecasts a base in shards for cards that are not here; a
// number that does not divide it is refused.
func TestForecastShards(t *testing.T) {
	args := []string{"train", "--dry-run", "--model", tinyModel, "--data", prepared(t, 30), "--backend", "go", "--gpu", "t4"}
	status, out, errs := impulseMain(t, append(args, "--shard", "2")...)
	require.Zero(t, status, errs)
	require.Contains(t, out, "\non each of 2 cards, t4: ")
	require.Contains(t, out, " --shard 2")
	status, _, errs = impulseMain(t, append(args, "--shard", "7")...)
	require.NotZero(t, status)
	require.Contains(t, errs, "--shard 7: the model's")
}
