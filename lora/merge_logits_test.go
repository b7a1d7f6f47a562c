package lora

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// checkWith compares with an adapter of a reference model.
func checkWith(base, adapter string) mergedCheck {
	return mergedCheck{
		Base: base, Prompts: [][]int32{{4, 557, 398}, {7, 12, 900, 33, 800, 5, 81}},
		Attach: func(m *salamandra.Model) (salamandra.Adapter, error) {
			a, err := ReadAdapter(adapter)
			if err != nil {
				return nil, err
			}
			return Attach(m, a)
		},
	}
}

// A merged model is accepted, stored in any dtype; what is not the merge of
// this base and adapter is refused.
func TestCompareMerged(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	adapter := func(name string) string { return filepath.Join(base, "golden", "adapter-"+name) }
	dir := t.TempDir()
	merge := func(output string, opts MergeOptions) string {
		opts.Output = filepath.Join(dir, output)
		_, err := Merge(t.Context(), opts)
		require.NoError(t, err)
		return opts.Output
	}
	once := merge("once", MergeOptions{Base: base, Adapter: adapter("lora")})
	exact := merge("exact", MergeOptions{Base: base, Adapter: adapter("lora"), Dtype: "float32"})
	dora := merge("dora", MergeOptions{Base: base, Adapter: adapter("dora")})
	twice := merge("twice", MergeOptions{Base: once, Adapter: adapter("lora")})
	nearly := merge("nearly", MergeOptions{Base: base, Adapters: []WeightedAdapter{{Dir: adapter("lora"), Weight: 1.01}}, Dtype: "float32"})
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
				d, err := compareMerged(t.Context(), b, row.dir, checkWith(base, adapter(row.adapter)))
				t.Log(d)
				require.Equal(t, 2, d.Prompts)
				require.Positive(t, d.Effect)
				if row.ok {
					require.NoError(t, err)
					require.LessOrEqual(t, d.Error, d.Allowed)
					return
				}
				require.ErrorContains(t, err, "does not compute what base and adapter do")
			})
		}
	})
}

func TestCompareMergedRefuses(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	whole := checkWith(base, filepath.Join(base, "golden", "adapter-lora"))
	for name, spoil := range map[string]func(c *mergedCheck){
		"no base":     func(c *mergedCheck) { c.Base = "" },
		"no prompts":  func(c *mergedCheck) { c.Prompts = nil },
		"empty":       func(c *mergedCheck) { c.Prompts = [][]int32{{}} },
		"foreign ids": func(c *mergedCheck) { c.Prompts = [][]int32{{1 << 20}} },
		"dtype":       func(c *mergedCheck) { c.Dtype = "int8" },
		"attach": func(c *mergedCheck) {
			c.Attach = func(*salamandra.Model) (salamandra.Adapter, error) { return nil, errors.New("none") }
		},
	} {
		c := whole
		spoil(&c)
		_, err := compareMerged(t.Context(), salamandratest.Go(t), base, c)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "does not compute", name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := compareMerged(ctx, salamandratest.Go(t), base, whole)
	require.ErrorIs(t, err, context.Canceled)
}
