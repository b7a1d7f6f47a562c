package lora

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// benchmarkDir names a directory in which BenchmarkMergeModel makes, and
// leaves, a model of 1.0e9 parameters (2 GB) and its adapter, and merges them.
const benchmarkDir = "LORA_BENCHMARK_DIR"

// A randomModel is the size of a random model.
type randomModel struct {
	name                              string
	layers, hidden, width, vocabulary int
}

// BenchmarkMergeModel merges into a random bfloat16 model in another process
// and reports the peak of its memory, mapped pages included.
func BenchmarkMergeModel(b *testing.B) {
	b.Run("20M", func(b *testing.B) { randomModel{"20M", 2, 512, 2048, 8192}.benchmark(b, b.TempDir()) })
	if dir := os.Getenv(benchmarkDir); dir != "" {
		b.Run("1B", func(b *testing.B) { randomModel{"1B", 16, 2048, 5440, 48000}.benchmark(b, dir) })
	}
}

// benchmark merges the model, which it makes in dir unless it is there.
func (l randomModel) benchmark(b *testing.B, dir string) {
	base, adapter := filepath.Join(dir, "base"), filepath.Join(dir, "adapter")
	if _, err := os.Stat(base); err != nil {
		require.NoError(b, os.Mkdir(base, 0o777))
		require.NoError(b, os.Mkdir(adapter, 0o777))
		l.write(b, base, adapter)
	}
	stat, err := os.ReadDir(base)
	require.NoError(b, err)
	var bytes, peak int64
	for _, entry := range stat {
		info, err := entry.Info()
		require.NoError(b, err)
		bytes += info.Size()
	}
	b.SetBytes(bytes)
	output := filepath.Join(dir, "merged")
	for b.Loop() {
		out, err := child(b, base, adapter, output).Output()
		require.NoError(b, err)
		var one int64
		_, err = fmt.Sscanf(string(out), "begin\n%d", &one)
		require.NoError(b, err)
		peak = max(peak, one)
		require.NoError(b, os.RemoveAll(output))
	}
	b.ReportMetric(float64(peak)/(1<<20), "peak-MB")
}

// write stores the model in the layout of Llama, in shards of 500 MB, and an
// adapter of rank 16 for seven modules of each layer.
func (l randomModel) write(b *testing.B, base, adapter string) {
	config := fmt.Sprintf(`{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "vocab_size": %d, "hidden_size": %d,
 "intermediate_size": %d, "num_hidden_layers": %d, "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 8192,
 "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu"}`, l.vocabulary, l.hidden, l.width, l.layers)
	require.NoError(b, os.WriteFile(filepath.Join(base, "config.json"), []byte(config), 0o666))
	info := func(name string, shape ...int) safetensors.Info {
		return safetensors.Info{Name: name, Dtype: safetensors.BF16, Shape: shape}
	}
	infos := []safetensors.Info{
		info("lm_head.weight", l.vocabulary, l.hidden), info("model.embed_tokens.weight", l.vocabulary, l.hidden), info("model.norm.weight", l.hidden),
	}
	a := &Adapter{Config: DefaultConfig()}
	rng := rand.New(rand.NewPCG(1, 0))
	for layer := range l.layers {
		name := fmt.Sprintf("model.layers.%d.", layer)
		infos = append(infos, info(name+"input_layernorm.weight", l.hidden), info(name+"post_attention_layernorm.weight", l.hidden))
		for _, kind := range []struct {
			name    string
			out, in int
		}{
			{"mlp.down_proj", l.hidden, l.width}, {"mlp.gate_proj", l.width, l.hidden}, {"mlp.up_proj", l.width, l.hidden},
			{"self_attn.k_proj", l.hidden, l.hidden}, {"self_attn.o_proj", l.hidden, l.hidden}, {"self_attn.q_proj", l.hidden, l.hidden}, {"self_attn.v_proj", l.hidden, l.hidden},
		} {
			infos = append(infos, info(name+kind.name+".weight", kind.out, kind.in))
			m := Module{Name: name + kind.name, In: kind.in, Out: kind.out, Rank: 16, A: make([]float32, 16*kind.in), B: make([]float32, kind.out*16)}
			fillNormal(rng, m.A)
			fillNormal(rng, m.B)
			a.Modules = append(a.Modules, m)
		}
	}
	slices.SortFunc(a.Modules, func(x, y Module) int { return cmp.Compare(x.Name, y.Name) })
	require.NoError(b, a.Write(adapter))
	shards := safetensors.PlanShards(infos, 500_000_000)
	for _, shard := range shards {
		writeRandom(b, rng, filepath.Join(base, shard.Name), shard.Tensors)
	}
	if len(shards) > 1 {
		require.NoError(b, safetensors.WriteIndex(base, shards))
	}
}

// fillNormal fills values as weights are.
func fillNormal(rng *rand.Rand, values []float32) {
	for i := range values {
		values[i] = float32(rng.NormFloat64() * 0.02)
	}
}

// writeRandom stores bfloat16 tensors.
func writeRandom(b *testing.B, rng *rand.Rand, path string, tensors []safetensors.Info) {
	values := make([]float32, 1<<16)
	chunk := make([]byte, 2*len(values))
	w, err := safetensors.Create(path, tensors, map[string]string{"format": "pt"})
	require.NoError(b, err)
	defer w.Abort()
	for _, info := range tensors {
		for left := info.NumElements(); left > 0; left -= len(values) {
			fillNormal(rng, values)
			require.NoError(b, safetensors.EncodeFloat32(chunk, values, safetensors.BF16))
			require.NoError(b, w.Write(info.Name, chunk[:2*min(left, len(values))]))
		}
	}
	require.NoError(b, w.Commit())
}
