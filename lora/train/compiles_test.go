package train

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// impulse returns examples of the lengths of IMPULSE's 700 divided by a number, to
// train and to evaluate on by the default split.
func impulse(t *testing.T, vocabulary, by int) (trained, held []dataset.Example) {
	t.Helper()
	text, err := os.ReadFile("../../dataset/testdata/impulse_lengths.json")
	require.NoError(t, err)
	var lengths struct {
		Prefix      int
		Train, Eval [][2]int
	}
	require.NoError(t, json.Unmarshal(text, &lengths))
	prefix := lengths.Prefix / by
	examples := func(lengths [][2]int) (list []dataset.Example) {
		for i, l := range lengths {
			own, answer := l[0]/by, l[1]/by
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
	for name, byBlocks := range map[string]bool{"whole": false, "by blocks": true} {
		t.Run(name, func(t *testing.T) { testCompiles(t, byBlocks) })
	}
}

func testCompiles(t *testing.T, byBlocks bool) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Random(t, salamandratest.Shape{
		Vocabulary: 64, Hidden: 8, Intermediate: 8, Layers: 3, Heads: 1, KVHeads: 1,
	}))
	trained, held := impulse(t, 64, 4)
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize = 16
	train, eval, err := dataset.NewPlan(trained, held, opts)
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
	tr.byBlocks = byBlocks
	steps, evaluations := 0, 0
	var phases []string
	require.NoError(t, tr.Run(t.Context(), Hooks{
		Step: func(s Step) error {
			steps++
			compiled := len(phases) > 0 && strings.HasPrefix(phases[len(phases)-1], "compiling shape ")
			require.Equal(t, compiled, s.Compiling > 0)
			require.Less(t, s.Compiling, s.Duration)
			phases = append(phases, "step")
			return nil
		},
		Evaluation: func(Evaluation) error { evaluations++; return nil },
		Epoch: func(e Epoch) error {
			require.Positive(t, e.Compiling)
			return nil
		},
		Progress: func(phase string, done, total int64) {
			phases = append(phases, fmt.Sprintf("%s %d/%d", phase, done, total))
		},
	}))
	checkPhases(t, phases, train, eval)
	require.Equal(t, []int{train.Batches, 1}, []int{steps, evaluations})

	shapes := map[dataset.Shape]bool{}
	for _, s := range slices.Concat(train.Shapes, eval.Shapes) {
		s.Batches = 0
		shapes[s] = true
	}
	require.Len(t, shapes, opts.MaxShapes)
	for _, all := range []map[batchShape]*passes{tr.gradients, tr.losses} {
		for shape, p := range all {
			compiledOnce(t, shape, p)
		}
	}
	require.Len(t, tr.gradients, len(train.Shapes))
	require.Len(t, tr.losses, len(eval.Shapes))
}

// checkPhases: each compilation is announced before it begins, and each batch of
// the evaluation once it is done.
func checkPhases(t *testing.T, phases []string, train, eval *dataset.Plan) {
	t.Helper()
	phases = slices.DeleteFunc(phases, func(p string) bool { return p == "step" })
	var want []string
	for i := range train.Shapes {
		want = append(want, fmt.Sprintf("compiling shape %d/%d", i+1, len(train.Shapes)))
	}
	n := len(want)
	require.Equal(t, want, phases[:n])
	want = nil
	for i := range eval.Batches + 1 {
		want = append(want, fmt.Sprintf("evaluating %d/%d", i, eval.Batches))
	}
	compiled := func(p string) bool { return strings.HasPrefix(p, "compiling shape to evaluate ") }
	require.Len(t, phases[n:], len(want)+len(eval.Shapes))
	require.Equal(t, want, slices.DeleteFunc(slices.Clone(phases[n:]), compiled))
	require.Equal(t, fmt.Sprintf("compiling shape to evaluate 1/%d", len(eval.Shapes)), phases[n+1], "it comes before the first batch")
}

// compiledOnce: each program of a shape that is used is compiled once, however many
// blocks and devices it serves.
func compiledOnce(t *testing.T, shape batchShape, p *passes) {
	t.Helper()
	for _, q := range p.all() {
		if p.blocks == 0 && (q == p.forward || q == p.backward) {
			continue
		}
		if q.Compiled() != 1 {
			t.Errorf("%+v: a program is compiled %d times", shape, q.Compiled())
		}
	}
}

// compilations counts those of shapes.
func compilations(programs map[batchShape]*passes) int {
	n := 0
	for _, p := range programs {
		n += p.last.Compiled()
	}
	return n
}
