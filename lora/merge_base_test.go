package lora

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// oneLayer is the config.json of a Llama of one layer.
const oneLayer = `{"model_type":"llama","vocab_size":3,"hidden_size":4,"intermediate_size":6,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1%s}`

// llamaTensors are the tensors of that model, a tied head left out.
func llamaTensors(tied bool) []tensor {
	const layer = "model.layers.0."
	list := []tensor{
		f32("model.embed_tokens.weight", []int{3, 4}), f32("model.norm.weight", []int{4}),
		f32(layer+"input_layernorm.weight", []int{4}), f32(layer+"post_attention_layernorm.weight", []int{4}),
		f32(layer+"self_attn.q_proj.weight", []int{4, 4}), f32(layer+"self_attn.k_proj.weight", []int{2, 4}),
		f32(layer+"self_attn.v_proj.weight", []int{2, 4}), f32(layer+"self_attn.o_proj.weight", []int{4, 4}),
		f32(layer+"mlp.gate_proj.weight", []int{6, 4}), f32(layer+"mlp.up_proj.weight", []int{6, 4}), f32(layer+"mlp.down_proj.weight", []int{4, 6}),
	}
	if !tied {
		list = append(list, f32("lm_head.weight", []int{3, 4}))
	}
	return list
}

// Every tensor of the base is the one that config.json asks for.
func TestMergeChecksBase(t *testing.T) {
	adapter := writeAdapter(t, "", f32(qA, []int{2, 4}, 1, 1, 1, 1, 1, 1, 1, 1), f32(qB, []int{4, 2}, 1, 1, 1, 1, 1, 1, 1, 1))
	without := func(list []tensor, part string) (rest []tensor) {
		for _, x := range list {
			if !strings.Contains(x.name, part) {
				rest = append(rest, x)
			}
		}
		return rest
	}
	for _, row := range []struct {
		name, more string // more of config.json
		tensors    []tensor
		want       []string // parts of the faults, in order
	}{
		{name: "complete", tensors: llamaTensors(false)},
		{name: "tied", more: `,"tie_word_embeddings":true`, tensors: llamaTensors(true)},
		{name: "tied, head stored all the same", more: `,"tie_word_embeddings":true`, tensors: llamaTensors(false)},
		{name: "frequencies", tensors: append(llamaTensors(false), f32("model.layers.0.self_attn.rotary_emb.inv_freq", []int{1}))},
		{
			name: "biases", more: `,"mlp_bias":true`,
			tensors: append(llamaTensors(false), f32("model.layers.0.mlp.gate_proj.bias", []int{6}), f32("model.layers.0.mlp.up_proj.bias", []int{6}), f32("model.layers.0.mlp.down_proj.bias", []int{4})),
		},
		{
			name: "all at once", tensors: append(without(llamaTensors(true), "k_proj"), f32("lm_head.weight", []int{4, 4}), f32("extra", []int{1})),
			want: []string{
				"lm_head.weight: tensor has the wrong shape: [4 4], want [3 4] by config.json",
				"model.layers.0.self_attn.k_proj.weight: tensor is missing: config.json asks for it, [2 4]",
				"extra: tensor is left over: config.json has no place for it",
			},
		},
		{
			name: "once each", tensors: without(llamaTensors(false), "q_proj"),
			want: []string{"q_proj.weight: tensor is missing: config.json asks for it, [4 4]"},
		},
		{name: "another size", more: `,"head_dim":4`, tensors: llamaTensors(false), want: []string{"k_proj", "o_proj", "q_proj", "v_proj"}},
		{name: "no size", more: `,"vocab_size":0,"head_dim":-1`, tensors: llamaTensors(false), want: []string{"vocab_size: ", "head_dim: "}},
		{name: "far too many layers", more: `,"num_hidden_layers":1000000000000`, tensors: llamaTensors(false), want: []string{"num_hidden_layers: "}},
		{name: "no number", more: `,"num_hidden_layers":"x"`, tensors: llamaTensors(false), want: []string{"num_hidden_layers"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Merge(t.Context(), MergeOptions{Base: writeModel(t, fmt.Sprintf(oneLayer, row.more), row.tensors...), Adapter: adapter, Output: filepath.Join(dir, "merged")})
			if row.want == nil {
				require.NoError(t, err)
				return
			}
			faults := faultsOf(err)
			require.Len(t, faults, len(row.want), "%v", err)
			for i, want := range row.want {
				require.ErrorContains(t, faults[i], want)
			}
			require.Empty(t, names(t, dir))
		})
	}
}

// What is no directory of its kind is named as such.
func TestMergeNamesWhatIsMissing(t *testing.T) {
	base, empty := smallModel(t), t.TempDir()
	output := filepath.Join(t.TempDir(), "merged")
	_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: empty, Output: output})
	require.EqualError(t, err, "lora: no adapter_config.json in "+empty+": not an adapter directory")
	_, err = Merge(t.Context(), MergeOptions{Base: empty, Adapter: smallAdapter(t), Output: output})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "no config.json in "+empty+": not a model directory")
	require.NoError(t, os.Remove(filepath.Join(base, safetensors.ModelFile)))
	_, err = Merge(t.Context(), MergeOptions{Base: base, Adapter: smallAdapter(t), Output: output})
	require.ErrorContains(t, err, base)
	_, err = VerifyDir(t.Context(), empty)
	require.True(t, errors.Is(err, ErrCertificate))
	require.ErrorContains(t, err, "no directory that Merge wrote")
}
