package train

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

func loadQuantized(t *testing.T, b compute.Backend, dir, quantized string) *salamandra.Model {
	t.Helper()
	m, err := salamandra.Load(context.Background(), b, dir, salamandra.Options{Dtype: "float32", Quantize: quantized})
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestQuantisedGradients compares loss and gradients with those of weights that were
// dequantised beforehand, with and without checkpointing, and with DoRA.
func TestQuantisedGradients(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	examples := goldenExamples(t, dir)
	for _, quantized := range []string{"4bit", "8bit"} {
		t.Run(quantized, func(t *testing.T) {
			values := salamandratest.Dequantized(t, dir, quantized)
			salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
				got, want := loadQuantized(t, b, dir, quantized), salamandratest.Load(t, b, values)
				for _, adapter := range []string{"adapter-lora", "adapter-dora"} {
					path := filepath.Join(dir, "golden", adapter)
					for _, checkpointing := range []bool{false, true} {
						config := DefaultConfig()
						config.GradientCheckpointing = checkpointing
						wantLoss, wantGradients, _ := sumsOf(t, want, path, examples, config, nil)
						loss, gradients, _ := sumsOf(t, got, path, examples, config, nil)
						require.InEpsilon(t, wantLoss, loss, 1e-6)
						for name := range wantGradients {
							salamandratest.Near(t, name, gradients[name], wantGradients[name], 0, 1e-4)
						}
					}
				}
			})
		})
	}
}

// TestDequantisedWeightsDoNotOutliveTheirLayer compiles models of two and of three
// blocks: what XLA sets aside for one more block is far less than its
// weights, dequantised.
func TestDequantisedWeightsDoNotOutliveTheirLayer(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil {
		t.Skip("no XLA plugin, which alone says what memory a program takes (set GOMLX_BACKEND=xla:/path/to/plugin.so)")
	}
	const hidden, inner, tokens = 256, 1024, 16
	dequantised := int64(4 * (4*hidden*hidden + 3*hidden*inner))
	for _, quantized := range []string{"4bit", "8bit"} {
		for _, checkpointing := range []bool{false, true} {
			temporaries := func(layers int) int64 {
				w := &compiledMemory{Backend: b}
				dir := salamandratest.Random(t, salamandratest.Shape{Vocabulary: 64, Hidden: hidden, Intermediate: inner, Layers: layers, Heads: 4, KVHeads: 4})
				m := loadQuantized(t, w, dir, quantized)
				adapter, config := lora.DefaultConfig(), DefaultConfig()
				adapter.Rank = 1 // the adapter's gradients are temporaries too
				l, err := lora.Inject(m, adapter, 1)
				require.NoError(t, err)
				config.GradientCheckpointing = checkpointing
				list := []dataset.Example{{ID: "A", IDs: make([]int32, tokens), Train: append(make([]bool, tokens-1), true)}}
				plan := newPlan(t, list, nil)
				tr, err := New(m, l, plan, nil, config)
				require.NoError(t, err)
				defer tr.Close()
				tr.byBlocks = false
				batch, err := plan.Batch(plan.Epoch(0, 0)[0])
				require.NoError(t, err)
				gradientsOf(t, tr, l, batch)
				return w.temporaries
			}
			two, three := temporaries(2), temporaries(3)
			perLayer := three - two
			t.Logf("%s, checkpointing %v: %d bytes with two blocks, %d more per block, of %d dequantised", quantized, checkpointing, two, perLayer, dequantised)
			require.Less(t, perLayer, dequantised/4, "%s, checkpointing %v", quantized, checkpointing)
		}
	}
}

// compiledMemory is XLA, and notes the temporaries of the largest program compiled.
type compiledMemory struct {
	compute.Backend
	temporaries int64
}

// Builder implements [compute.Backend].
func (c *compiledMemory) Builder(name string) compute.Builder {
	return watchedBuilder{c.Backend.Builder(name), c}
}

type watchedBuilder struct {
	compute.Builder
	owner *compiledMemory
}

// Compile implements [compute.Builder].
func (b watchedBuilder) Compile() (compute.Executable, error) {
	e, err := b.Builder.Compile()
	if err == nil {
		// go-xla reads the sizes, and has no method that gives them.
		usage := reflect.ValueOf(e).Elem().FieldByName("exec").Elem().FieldByName("OnDeviceMemoryUsageStats")
		b.owner.temporaries = max(b.owner.temporaries, usage.FieldByName("Temporary").Int())
	}
	return e, err
}

// TestBitsandbytesGolden loads what bitsandbytes quantised, and takes the ten steps
// that PEFT takes on it.
func TestBitsandbytesGolden(t *testing.T) {
	reference := salamandratest.Reference(t, "models", "tiny-gqa")
	dir, golden := salamandratest.Bitsandbytes(t), filepath.Join("testdata", "bitsandbytes")
	examples := goldenExamples(t, reference)
	want := salamandratest.Floats(t, filepath.Join(golden, "logits.safetensors"))["logits"]
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := loadQuantized(t, b, dir, "")
		logits, err := m.Logits(nil, [][]int32{examples[0].IDs})
		require.NoError(t, err)
		salamandratest.Near(t, "logits", logits[0][len(examples[0].IDs)-1], want, 2e-5, 0)
		compareTraining(t, m, examples, filepath.Join(reference, "golden", "train-start"), filepath.Join(golden, "train.json"), filepath.Join(golden, "end"))
	})
}
