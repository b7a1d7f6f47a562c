package train

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// impulse returns examples a quarter as long as IMPULSE's 700, to train and to
// evaluate on by the default split.
func impulse(t *testing.T, vocabulary int) (trained, held []dataset.Example) {
	t.Helper()
	text, err := os.ReadFile("../../dataset/testdata/impulse_lengths.json")
	require.NoError(t, err)
	var lengths struct {
		Prefix      int
		Train, Eval [][2]int
	}
	require.NoError(t, json.Unmarshal(text, &lengths))
	prefix := lengths.Prefix / 4
	examples := func(lengths [][2]int) (list []dataset.Example) {
		for i, l := range lengths {
			own, answer := l[0]/4, l[1]/4
			e := dataset.Example{ID: fmt.Sprint(i), IDs: make([]int32, prefix+own), Train: make([]bool, prefix+own)}
			for j := range e.IDs {
				e.IDs[j] = int32(j % 7)
				if j >= prefix {
					e.IDs[j] = int32((i + 3*j) % vocabulary)
				}
				e.Train[j] = j < len(e.IDs)-1 && j >= len(e.IDs)-1-answer
			}
			list = append(list, e)
		}
		return list
	}
	return examples(lengths.Train), examples(lengths.Eval)
}

// TestCompiles trains on as many records as IMPULSE has, of a quarter of their
// lengths, with evaluation: each shape of the plans, 4 at most, is compiled once
// for each of both, and nothing else is.
func TestCompiles(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Random(t, salamandratest.Shape{
		Vocabulary: 64, Hidden: 8, Intermediate: 8, Layers: 1, Heads: 1, KVHeads: 1,
	}))
	trained, held := impulse(t, 64)
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize = 16
	train, eval, err := dataset.NewPlans(trained, held, opts)
	require.NoError(t, err)
	config := lora.DefaultConfig()
	config.Rank, config.Dropout = 1, 0
	layers, err := lora.Inject(m, config, 1)
	require.NoError(t, err)
	c := DefaultConfig()
	c.Epochs = 1
	tr, err := New(m, layers, train, eval, c)
	require.NoError(t, err)
	defer tr.Close()
	steps, evaluations := 0, 0
	require.NoError(t, tr.Run(t.Context(), Hooks{
		Step:       func(Step) error { steps++; return nil },
		Evaluation: func(Evaluation) error { evaluations++; return nil },
	}))
	require.Equal(t, []int{train.Batches, 1}, []int{steps, evaluations})

	shapes := map[dataset.Shape]bool{}
	for _, s := range slices.Concat(train.Shapes, eval.Shapes) {
		s.Batches = 0
		shapes[s] = true
	}
	require.Len(t, shapes, opts.MaxShapes)
	require.Equal(t, len(train.Shapes), compilations(tr.gradients))
	require.Equal(t, len(eval.Shapes), compilations(tr.losses))
}

// compilations adds up those of programs.
func compilations(programs map[batchShape]*salamandra.Program) int {
	n := 0
	for _, p := range programs {
		n += p.Compiled()
	}
	return n
}
