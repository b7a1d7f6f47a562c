package main

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/dataset"
)

// lengthsFile has the lengths of IMPULSE's 700 examples, for the tests of packages
// that know no tokenizer.
const lengthsFile = "../../dataset/testdata/impulse_lengths.json"

var updateLengths = flag.Bool("update-lengths", false, "write "+lengthsFile)

// lengths counts tokens: those that all examples begin with, and of each example
// those after them and the trained ones.
type lengths struct {
	Prefix int      `json:"prefix"`
	Train  [][2]int `json:"train"`
	Eval   [][2]int `json:"eval"`
}

// TestPlanOfImpulse: with the defaults of the flags the 700 records are trained on
// and evaluated in 4 shapes with little padding, in batches of any usual size.
func TestPlanOfImpulse(t *testing.T) {
	var o trainOptions
	o.addFlags(&cobra.Command{})
	o.Data = filepath.Join(t.TempDir(), "all.jsonl")
	prepare := prepareOptions{InputDir: impulseData + "batches", OutputFile: o.Data, Pattern: "batch*.json", PromptFile: impulseData + "system_prompt.txt"}
	require.NoError(t, runPrepare(t.Context(), prepare, io.Discard))
	o.Model, o.DryRun, o.Backend = tinyModel, true, "go"
	require.NoError(t, o.settle())
	require.NoError(t, o.readData(io.Discard))
	result, err := finetune.Train(t.Context(), o.TrainOptions)
	require.NoError(t, err)
	data := result.Plan
	require.Equal(t, 700, data.Train.Len()+data.Eval.Len())

	for _, size := range []int{1, 4, 8, 16} {
		train, eval := data.Train.WithBatchSize(size)
		shapes := map[dataset.Shape]bool{}
		for _, s := range slices.Concat(train.Shapes, eval.Shapes) {
			s.Batches = 0
			shapes[s] = true
		}
		require.LessOrEqual(t, len(shapes), 4, "batches of %d", size)
		slots, tokens := train.Slots+eval.Slots, train.Tokens+eval.Tokens
		t.Logf("batches of %d: %.1f %% padding", size, 100*float64(slots-tokens)/float64(slots))
		require.LessOrEqual(t, float64(slots-tokens), .15*float64(slots), "padding in batches of %d", size)
	}
	checkLengths(t, data)
}

// checkLengths compares the examples with lengthsFile.
func checkLengths(t *testing.T, data *finetune.TrainPlan) {
	t.Helper()
	got := lengths{Prefix: len(data.Train.Prefix)}
	count := func(examples []dataset.Example) (list [][2]int) {
		for _, e := range examples {
			trained := 0
			for _, yes := range e.Train {
				if yes {
					trained++
				}
			}
			list = append(list, [2]int{len(e.IDs) - got.Prefix, trained})
		}
		return list
	}
	train, eval, err := dataset.Split(data.Set.Examples, dataset.DefaultSplitOptions())
	require.NoError(t, err)
	got.Train, got.Eval = count(train), count(eval)
	text, err := json.Marshal(got)
	require.NoError(t, err)
	text = append(text, '\n')
	if *updateLengths {
		require.NoError(t, os.WriteFile(lengthsFile, text, 0o644))
	}
	require.Equal(t, string(read(t, lengthsFile)), string(text), "add -update-lengths to write it anew")
}
