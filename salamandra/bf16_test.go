package salamandra

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// referenceModels lists the reference models' directories.
func referenceModels(t *testing.T) []string {
	t.Helper()
	root := os.Getenv("SALAMANDRA_REFERENCE")
	if root == "" {
		root = filepath.Join("testdata", "reference")
	}
	configs, err := filepath.Glob(filepath.Join(root, "models", "*", "config.json"))
	require.NoError(t, err)
	require.NotEmpty(t, configs)
	for i := range configs {
		configs[i] = filepath.Dir(configs[i])
	}
	return configs
}

// goldenTensor reads a tensor of forward.safetensors as float32, integers too.
func goldenTensor(t *testing.T, dir, name string) []float32 {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(dir, "golden", "forward.safetensors"))
	require.NoError(t, err)
	defer f.Close()
	info, ok := f.Info(name)
	require.True(t, ok, name)
	data, err := f.Bytes(name)
	require.NoError(t, err)
	values := make([]float32, info.NumElements())
	if info.Dtype == safetensors.I64 {
		for i := range values {
			values[i] = float32(uint32(data[8*i]) | uint32(data[8*i+1])<<8 | uint32(data[8*i+2])<<16)
		}
		return values
	}
	require.NoError(t, safetensors.DecodeFloat32(values, data, info.Dtype))
	return values
}

// TestBFloat16 computes in bfloat16: logits are about as far from the float32
// reference as those of Transformers in bfloat16, neither much further nor so
// near that float32 would be at work, and every product but those of float32
// scores takes bfloat16 operands.
func TestBFloat16(t *testing.T) {
	config := "go:ops_sequential"
	if env := os.Getenv("GOMLX_BACKEND"); strings.HasPrefix(env, "xla") {
		config = env
	}
	backend, err := compute.NewWithConfig(config)
	require.NoError(t, err)
	for _, dir := range referenceModels(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m, err := Load(context.Background(), backend, dir, Options{Dtype: "bfloat16"})
			require.NoError(t, err)
			defer m.Close()
			ids, mask := goldenTensor(t, dir, "input_ids"), goldenTensor(t, dir, "attention_mask")
			flat := make([]int32, len(ids))
			for i := range ids {
				flat[i] = int32(ids[i])
			}
			layout := SharedPrefix{B: 3, S: len(ids) / 3}
			var g *Graph
			p, err := m.NewProgram("bf16", nil, func(tr Transformer, args []*Node) []*Node {
				g = args[0].Graph()
				return []*Node{tr.Logits(tr.Blocks(tr.Embed(args[0]), layout.Positions(g), layout))}
			})
			require.NoError(t, err)
			defer p.Close()
			out, err := p.Call(flat)
			require.NoError(t, err)
			got := tensors.MustCopyFlatData[float32](out[0])

			want, theirs := goldenTensor(t, dir, "logits"), goldenTensor(t, dir, "logits_bf16_compute")
			v := m.Config.VocabSize
			var ours, reference float64
			for place, seen := range mask {
				for i := place * v; seen == 1 && i < (place+1)*v; i++ {
					ours += math.Abs(float64(got[i] - want[i]))
					reference += math.Abs(float64(theirs[i] - want[i]))
				}
			}
			ratio := ours / reference
			t.Logf("mean error %.3f of Transformers' in bfloat16, on %s", ratio, backend.Name())
			require.LessOrEqual(t, ratio, 1.1)
			require.GreaterOrEqual(t, ratio, 0.1)

			products := 0
			for _, n := range g.Nodes() {
				if n.Type() != NodeTypeDotGeneral {
					continue
				}
				products++
				for _, x := range n.Inputs() {
					require.Equal(t, dtypes.BFloat16, x.DType(), "operand of %s", n)
				}
			}
			require.Equal(t, 9*m.Config.NumHiddenLayers+1, products, "seven layers and two of attention a block, and the head")
		})
	}
}
