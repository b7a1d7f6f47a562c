package lora

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckServing(t *testing.T) {
	golden := filepath.Join(referenceModels(t), "tiny-gqa", "golden")
	ranked := func(rank int, names ...string) string {
		a := Adapter{Config: Config{Rank: rank, Alpha: 8, TargetModules: names}}
		for _, name := range names {
			a.Modules = append(a.Modules, Module{Name: name, In: 1, Out: 1, Rank: rank, A: make([]float32, rank), B: make([]float32, rank)})
		}
		dir := t.TempDir()
		require.NoError(t, a.Write(dir))
		return dir
	}
	for _, row := range []struct {
		name, dir string
		vllm      []string // what each problem is about
		llamaCpp  []string
		reason    string
	}{
		{name: "plain", dir: filepath.Join(golden, "adapter-lora"), reason: "rank 8"},
		{name: "rsLoRA", dir: filepath.Join(golden, "adapter-rslora"), vllm: []string{"use_rslora"}, llamaCpp: []string{"use_rslora"}},
		{name: "DoRA", dir: filepath.Join(golden, "adapter-dora"), vllm: []string{"use_dora"}, llamaCpp: []string{"use_dora"}},
		{name: "patterns", dir: filepath.Join(golden, "adapter-patterns"), vllm: []string{"alpha_pattern", "rank_pattern"}, llamaCpp: []string{"alpha_pattern"}, reason: "llama.cpp takes the rank of each module"},
		{name: "rank 16", dir: ranked(16, q), reason: "the limit itself"},
		{name: "rank 17", dir: ranked(17, q), vllm: []string{"r: rank 17 is above 16, the default limit of vLLM; start vLLM with --max-lora-rank 32"}},
		{name: "rank 256", dir: ranked(256, q), vllm: []string{"r: rank 256 is above 16, the default limit of vLLM; start vLLM with --max-lora-rank 256"}},
		{name: "rank 513", dir: ranked(513, q), vllm: []string{"r: rank 513 is above 512, the highest"}, reason: "no setting helps"},
		{name: "head", dir: ranked(4, "lm_head"), vllm: []string{"lm_head"}, llamaCpp: []string{"lm_head"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for target, want := range map[string][]string{serverVLLM: row.vllm, serverLlamaCpp: row.llamaCpp} {
				problems, err := CheckServing(target, row.dir)
				require.NoError(t, err)
				require.Len(t, problems, len(want), "%s: %v", row.reason, problems)
				for i, p := range problems {
					require.True(t, strings.HasPrefix(p, want[i]), "%s: %s", p, row.reason)
					require.Regexp(t, "; .", p, "a remedy")
				}
			}
		})
	}
	_, err := CheckServing("ollama", golden)
	require.ErrorIs(t, err, errOption)
	_, err = CheckServing(serverVLLM, golden)
	require.Error(t, err, "no adapter there")
}

// Folded, an adapter has the same update, and no server has a problem with it.
func TestFoldScale(t *testing.T) {
	golden := filepath.Join(referenceModels(t), "tiny-gqa", "golden")
	for _, name := range []string{"adapter-lora", "adapter-rslora", "adapter-patterns"} {
		t.Run(name, func(t *testing.T) {
			a, err := ReadAdapter(filepath.Join(golden, name))
			require.NoError(t, err)
			folded := a.FoldScale()
			dir := t.TempDir()
			require.NoError(t, folded.Write(dir))
			for _, target := range []string{serverVLLM, serverLlamaCpp} {
				problems, err := CheckServing(target, dir)
				require.NoError(t, err)
				require.Empty(t, problems)
			}
			require.Len(t, folded.Modules, len(a.Modules))
			for i, m := range a.Modules {
				f := folded.Modules[i]
				require.Equal(t, folded.Config.Rank, f.Rank)
				scale := folded.Config.Alpha / float64(f.Rank)
				want := updateOf(m, a.Config.ScaleOf(m.Name))
				got := updateOf(f, scale)
				for j := range want {
					require.InDelta(t, want[j], got[j], 1e-6*math.Max(1, math.Abs(float64(want[j]))), m.Name)
				}
				if name != "adapter-patterns" {
					require.Equal(t, m, f, "only the settings change")
				}
			}
		})
	}
	require.Empty(t, (&Adapter{Config: DefaultConfig()}).FoldScale().Modules)
}
