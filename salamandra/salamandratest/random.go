package salamandratest

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// Shape is the size of a random model.
type Shape struct {
	Vocabulary, Hidden, Intermediate, Layers, Heads, KVHeads int
	// OwnHead stores the embedding a second time, as a head that is not tied to it.
	OwnHead bool
}

// Random writes a model of random float32 weights, the same for the same shape,
// with a tied head unless it has its own, and returns its directory.
func Random(tb testing.TB, s Shape) string {
	tb.Helper()
	dir := tb.TempDir()
	text, err := json.Marshal(map[string]any{
		"model_type": "llama", "vocab_size": s.Vocabulary, "hidden_size": s.Hidden, "intermediate_size": s.Intermediate,
		"num_hidden_layers": s.Layers, "num_attention_heads": s.Heads, "num_key_value_heads": s.KVHeads,
		"max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "hidden_act": "silu",
		"tie_word_embeddings": !s.OwnHead, "torch_dtype": "float32",
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
	}
	if err != nil {
		tb.Fatal(err)
	}
	config, err := llama.ReadConfig(dir)
	if err == nil {
		err = writeRandom(filepath.Join(dir, safetensors.ModelFile), config.Tensors())
	}
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// writeRandom writes tensors as they are after initialisation: norms 1, the others
// normal with deviation 0.02.
func writeRandom(path string, tensors []llama.Tensor) error {
	var infos []safetensors.Info
	for _, t := range tensors {
		infos = append(infos, safetensors.Info{Name: t.Name, Dtype: safetensors.F32, Shape: t.Shape})
	}
	w, err := safetensors.Create(path, infos, nil)
	if err != nil {
		return err
	}
	defer w.Abort()
	draw := rand.New(rand.NewPCG(1, 2))
	var embedding []float32
	for i, info := range infos {
		values := make([]float32, info.NumElements())
		for j := range values {
			values[j] = 1
			if len(info.Shape) > 1 && info.Name != "lm_head.weight" {
				values[j] = float32(draw.NormFloat64() * 0.02)
			}
		}
		if i == 0 {
			embedding = values
		}
		if info.Name == "lm_head.weight" {
			copy(values, embedding)
		}
		if err := w.WriteFloats(info.Name, values); err != nil {
			return err
		}
	}
	return w.Commit()
}
