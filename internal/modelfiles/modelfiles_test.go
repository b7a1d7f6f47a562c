package modelfiles_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// small is config.json of a model of three blocks, without its last brace.
const small = `{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-05,
 "max_position_embeddings": 64, "vocab_size": 3, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2`

// model writes a directory with this config.json and the tensors that it asks
// for, each number 1, as change leaves them.
func model(t *testing.T, keys string, change func(list []safetensors.Info) []safetensors.Info, values map[string][]float32) string {
	t.Helper()
	dir := t.TempDir()
	text := small + keys + "}"
	if err := os.WriteFile(filepath.Join(dir, llama.ConfigFile), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	config, err := llama.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []safetensors.Info
	for _, tensor := range config.Tensors() {
		list = append(list, safetensors.Info{Name: tensor.Name, Dtype: safetensors.F32, Shape: tensor.Shape})
	}
	if change != nil {
		list = change(list)
	}
	w, err := safetensors.Create(filepath.Join(dir, safetensors.ModelFile), list, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range list {
		v := values[info.Name]
		if v == nil {
			v = slices.Repeat([]float32{1}, info.NumElements())
		}
		data := make([]byte, len(v)*info.Dtype.Size())
		if info.Dtype != safetensors.I64 {
			err = safetensors.EncodeFloat32(data, v, info.Dtype)
		}
		if err == nil {
			err = w.Write(info.Name, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOpenSettlesTheHead: a head that differs from the embedding is one of its
// own, whatever config.json says, and one that equals it is none, in any dtype.
func TestOpenSettlesTheHead(t *testing.T) {
	const tied = `, "tie_word_embeddings": true`
	head := func(dtype safetensors.Dtype) func(list []safetensors.Info) []safetensors.Info {
		return func(list []safetensors.Info) []safetensors.Info {
			return append(list, safetensors.Info{Name: "lm_head.weight", Dtype: dtype, Shape: []int{3, 4}})
		}
	}
	other := map[string][]float32{"lm_head.weight": {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}}
	for _, row := range []struct {
		name, keys string
		change     func([]safetensors.Info) []safetensors.Info
		values     map[string][]float32
		want       bool
	}{
		{"none stored", tied, nil, nil, true},
		{"the same", tied, head(safetensors.F32), nil, true},
		{"the same in another dtype", tied, head(safetensors.BF16), nil, true},
		{"another", tied, head(safetensors.F32), other, false},
		{"another in another dtype", tied, head(safetensors.BF16), other, false},
		{"not tied", "", nil, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := modelfiles.Open(model(t, row.keys, row.change, row.values))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Config.TieWordEmbeddings != row.want {
				t.Errorf("tied %v, want %v", c.Config.TieWordEmbeddings, row.want)
			}
		})
	}
}

// TestOpenAccountsForEveryTensor: all faults in one error, those of one cause as one.
func TestOpenAccountsForEveryTensor(t *testing.T) {
	dir := model(t, "", func(list []safetensors.Info) []safetensors.Info {
		var kept []safetensors.Info
		for _, info := range list {
			switch {
			case strings.HasSuffix(info.Name, "k_proj.weight"), info.Name == "model.norm.weight":
				continue
			case strings.HasSuffix(info.Name, "up_proj.weight"):
				info.Shape = []int{4, 6}
			case info.Name == "model.layers.1.mlp.gate_proj.weight":
				info.Dtype = safetensors.I64
			}
			kept = append(kept, info)
		}
		return append(kept,
			safetensors.Info{Name: "model.layers.0.self_attn.q_proj.bias", Dtype: safetensors.F32, Shape: []int{4}},
			safetensors.Info{Name: "model.layers.0.self_attn.rotary_emb.inv_freq", Dtype: safetensors.F32, Shape: []int{1}},
			safetensors.Info{Name: "strange %s", Dtype: safetensors.F32, Shape: []int{1}})
	}, nil)
	_, err := modelfiles.Open(dir)
	want := dir + `: 10 faults:
  model.layers.0.self_attn.k_proj.weight: missing, want [2 4] by config.json; also model.layers.1.self_attn.k_proj.weight, model.layers.2.self_attn.k_proj.weight
  model.layers.0.mlp.up_proj.weight: is [4 6], want [6 4] by config.json; also model.layers.1.mlp.up_proj.weight, model.layers.2.mlp.up_proj.weight
  model.layers.1.mlp.gate_proj.weight: is I64, want F32, BF16 or F16
  model.norm.weight: missing, want [4] by config.json
  model.layers.0.self_attn.q_proj.bias: left over: config.json asks for no such tensor; also strange %s`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	deep := model(t, "", nil, nil)
	if err := os.WriteFile(filepath.Join(deep, llama.ConfigFile), []byte(strings.Replace(small, `"num_hidden_layers": 3`, `"num_hidden_layers": 9999`, 1)+"}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := modelfiles.Open(deep); err == nil || !strings.Contains(err.Error(), "num_hidden_layers is 9999, and there are 30 tensors") {
		t.Error(err)
	}
}

// TestOpenNamesWhatIsThere: weights that are not read are named, with the way out.
func TestOpenNamesWhatIsThere(t *testing.T) {
	for file, want := range map[string]string{
		"pytorch_model.bin":                "has its weights in pytorch_model.bin",
		"model-00001-of-00002.safetensors": "and no model.safetensors.index.json",
		"readme":                           "neither model.safetensors nor model.safetensors.index.json",
	} {
		dir := model(t, "", nil, nil)
		if err := os.Remove(filepath.Join(dir, safetensors.ModelFile)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := modelfiles.Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}
