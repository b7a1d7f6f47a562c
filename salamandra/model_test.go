package salamandra_test

import (
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestForwardGolden compares logits and the hidden state after every layer with
// Transformers.
func TestForwardGolden(t *testing.T) {
	salamandratest.EachModel(t, func(t *testing.T, dir string) {
		salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
			m := salamandratest.Load(t, b, dir)
			path := filepath.Join(dir, "golden", "forward.safetensors")
			want := salamandratest.Floats(t, path)
			ids := salamandratest.Rows(t, path, "input_ids")
			mask := salamandratest.Rows(t, path, "attention_mask")

			logits, err := m.Logits(nil, ids)
			if err != nil {
				t.Fatal(err)
			}
			v := m.Config.VocabSize
			for i, row := range mask {
				n := count(row)
				for s := range n {
					at := (i*len(row) + s) * v
					salamandratest.Near(t, "logits", logits[i][s], want["logits"][at:at+v], 2e-5, 0)
				}
			}
			for layer, got := range hiddenStates(t, m, ids) {
				name := "hidden_states." + string(rune('0'+layer))
				c := m.Config.HiddenSize
				for i, row := range mask {
					from, to := i*len(row)*c, (i*len(row)+count(row))*c
					salamandratest.Near(t, name, got[from:to], want[name][from:to], 2e-5, 0)
				}
			}
		})
	})
}

func count(row []int32) int {
	n := 0
	for _, x := range row {
		n += int(x)
	}
	return n
}

// tokensOf are ids as an argument.
func tokensOf(t testing.TB, m *salamandra.Model, ids []int32) *tensors.Tensor {
	t.Helper()
	tokens, err := m.Tokens(ids)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// hiddenStates returns the embedding, the state after each block but the last,
// and the last one normed, as Transformers lists them.
func hiddenStates(t *testing.T, m *salamandra.Model, ids [][]int32) [][]float32 {
	t.Helper()
	layout := salamandra.SharedPrefix{B: len(ids), S: len(ids[0])}
	p, err := m.NewProgram("hidden", nil, func(t salamandra.Transformer, args []*Node) []*Node {
		x := t.Embed(args[0])
		states := []*Node{x}
		positions := layout.Positions(x.Graph())
		for i := range m.Config.NumHiddenLayers {
			x = salamandra.Block(t, i, x, positions, layout)
			states = append(states, x)
		}
		states[len(states)-1] = t.Norm("model.norm", x)
		return states
	})
	if err != nil {
		t.Fatal(err)
	}
	var flat []int32
	for _, row := range ids {
		flat = append(flat, row...)
	}
	out, err := p.Call(tokensOf(t, m, flat))
	if err != nil {
		t.Fatal(err)
	}
	var states [][]float32
	for _, s := range out {
		x, err := tensors.CopyFlatData[float32](s)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, x)
	}
	return states
}

// TestCompiled: the hook is called for each program that is compiled, and of
// none twice.
func TestCompiled(t *testing.T) {
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		told := 0
		m, err := salamandra.Load(t.Context(), b, salamandratest.Reference(t, "models", "tiny-gqa"),
			salamandra.Options{Dtype: "float32", Compiled: func() { told++ }})
		require.NoError(t, err)
		defer m.Close()
		p, err := m.NewProgram("sum", nil, func(_ salamandra.Transformer, in []*Node) []*Node {
			return []*Node{Add(ReduceAllSum(in[0]), Add(in[1], in[2]))}
		})
		require.NoError(t, err)
		defer p.Close()
		for i, values := range [][]float32{{1, 2}, {3, 4}, {5, 6, 7}} {
			require.Equal(t, []int{0, 1, 1}[i], told)
			out, err := p.Call(tensors.FromValue(values), float32(10), salamandra.Donate(tensors.FromValue(float32(100))))
			require.NoError(t, err)
			require.Equal(t, []float32{113, 117, 128}[i], tensors.ToScalar[float32](out[0]))
		}
		require.Equal(t, 2, told)
		require.Equal(t, 2, p.Compiled())
	})
}
