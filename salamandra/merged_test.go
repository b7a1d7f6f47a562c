package salamandra_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// mergedCheck compares with an adapter of a reference model.
func mergedCheck(base, adapter string) salamandra.MergedCheck {
	return salamandra.MergedCheck{
		Base: base, Prompts: [][]int32{{4, 557, 398}, {7, 12, 900, 33, 800, 5, 81}},
		Attach: func(m *salamandra.Model) (salamandra.Adapter, error) {
			a, err := lora.ReadAdapter(adapter)
			if err != nil {
				return nil, err
			}
			return lora.Attach(m, a)
		},
	}
}

// A merged model is accepted, stored in any dtype; what is not the merge of
// this base and adapter is refused.
func TestCompareMerged(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	adapter := func(name string) string { return filepath.Join(base, "golden", "adapter-"+name) }
	dir := t.TempDir()
	merge := func(output string, opts lora.MergeOptions) string {
		opts.Output = filepath.Join(dir, output)
		_, err := lora.Merge(t.Context(), opts)
		require.NoError(t, err)
		return opts.Output
	}
	once := merge("once", lora.MergeOptions{Base: base, Adapter: adapter("lora")})
	exact := merge("exact", lora.MergeOptions{Base: base, Adapter: adapter("lora"), Dtype: "float32"})
	dora := merge("dora", lora.MergeOptions{Base: base, Adapter: adapter("dora")})
	twice := merge("twice", lora.MergeOptions{Base: once, Adapter: adapter("lora")})
	nearly := merge("nearly", lora.MergeOptions{Base: base, Adapters: []lora.WeightedAdapter{{Dir: adapter("lora"), Weight: 1.01}}, Dtype: "float32"})
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		for _, row := range []struct {
			name, dir, adapter string
			ok                 bool
		}{
			{"bfloat16", once, "lora", true},
			{"float32", exact, "lora", true},
			{"DoRA", dora, "dora", true},
			{"another adapter", dora, "lora", false},
			{"merged twice", twice, "lora", false},
			{"not merged", base, "lora", false},
			{"one percent too much, in float32", nearly, "lora", false},
		} {
			t.Run(row.name, func(t *testing.T) {
				d, err := salamandra.CompareMerged(t.Context(), b, row.dir, mergedCheck(base, adapter(row.adapter)))
				t.Log(d)
				require.Equal(t, 2, d.Prompts)
				require.Positive(t, d.Effect)
				if row.ok {
					require.NoError(t, err)
					require.LessOrEqual(t, d.Error, d.Allowed)
					return
				}
				require.ErrorIs(t, err, salamandra.ErrMerged)
			})
		}
	})
}

func TestCompareMergedRefuses(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	whole := mergedCheck(base, filepath.Join(base, "golden", "adapter-lora"))
	for name, spoil := range map[string]func(c *salamandra.MergedCheck){
		"no base":     func(c *salamandra.MergedCheck) { c.Base = "" },
		"no prompts":  func(c *salamandra.MergedCheck) { c.Prompts = nil },
		"empty":       func(c *salamandra.MergedCheck) { c.Prompts = [][]int32{{}} },
		"foreign ids": func(c *salamandra.MergedCheck) { c.Prompts = [][]int32{{1 << 20}} },
		"dtype":       func(c *salamandra.MergedCheck) { c.Dtype = "int8" },
		"attach": func(c *salamandra.MergedCheck) {
			c.Attach = func(*salamandra.Model) (salamandra.Adapter, error) { return nil, errors.New("none") }
		},
	} {
		c := whole
		spoil(&c)
		_, err := salamandra.CompareMerged(t.Context(), salamandratest.Go(t), base, c)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, salamandra.ErrMerged, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := salamandra.CompareMerged(ctx, salamandratest.Go(t), base, whole)
	require.ErrorIs(t, err, context.Canceled)
}
