package lora

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// TestMergeChecksBase: a base that cannot be loaded is not merged into, and the
// words are those of loading.
func TestMergeChecksBase(t *testing.T) {
	adapter := smallAdapter(t)
	for name, base := range map[string]string{
		"left over":  writeModel(t, `{}`, f32("extra", []int{1})),
		"misshapen":  writeModel(t, `{}`, f32("model.norm.weight", []int{5})),
		"missing":    writeDir(t, `{"model_type":"llama","vocab_size":3,"hidden_size":4,"intermediate_size":3,"num_hidden_layers":1,"num_attention_heads":1}`, f32(q+".weight", []int{3, 4})),
		"biases":     writeDir(t, `{"model_type":"llama","mlp_bias":true}`, f32(q+".weight", []int{3, 4})),
		"other kind": writeDir(t, `{"model_type":"gemma"}`, f32(q+".weight", []int{3, 4})),
		"no size":    writeDir(t, `{"model_type":"llama","vocab_size":0,"head_dim":-1}`, f32(q+".weight", []int{3, 4})),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, want := modelfiles.Open(base)
			require.Error(t, want)
			_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(dir, "merged")})
			require.ErrorContains(t, err, want.Error())
			require.Empty(t, names(t, dir))
		})
	}
}

// What is no directory of its kind is named as such.
func TestMergeNamesWhatIsMissing(t *testing.T) {
	base, empty := smallModel(t), t.TempDir()
	output := filepath.Join(t.TempDir(), "merged")
	_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: empty, Output: output})
	require.EqualError(t, err, "no adapter_config.json in "+empty+": not an adapter directory")
	_, err = Merge(t.Context(), MergeOptions{Base: empty, Adapter: smallAdapter(t), Output: output})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, empty+" is not a model directory")
	require.NoError(t, os.Remove(filepath.Join(base, safetensors.ModelFile)))
	_, err = Merge(t.Context(), MergeOptions{Base: base, Adapter: smallAdapter(t), Output: output})
	require.ErrorContains(t, err, base)
	_, err = VerifyDir(t.Context(), empty)
	require.True(t, errors.Is(err, errCertificate))
	require.ErrorContains(t, err, "no directory that Merge wrote")
}

// TestMergeNamesWhatIsThere: files and directories that are something well known
// and not what they should be are named in one line with the way out, and nothing
// is written.
func TestMergeNamesWhatIsThere(t *testing.T) {
	const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1019952\n"
	put := func(dir, name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
	}
	remove := func(dir, name string) { require.NoError(t, os.Remove(filepath.Join(dir, name))) }
	for _, row := range []struct {
		name  string
		spoil func(o *MergeOptions)
		want  string
	}{
		{"weights, pointer", func(o *MergeOptions) { put(o.Base, "model.safetensors", pointer) }, "model.safetensors is a Git LFS pointer of the file of 1019952 bytes"},
		{"weights, page", func(o *MergeOptions) { put(o.Base, "model.safetensors", "<!DOCTYPE html><html>") }, "model.safetensors is a web page"},
		{"weights, cut off", func(o *MergeOptions) {
			require.NoError(t, os.Truncate(filepath.Join(o.Base, "model.safetensors"), 1600))
		}, "download or copy it again"},
		{"weights, pickle", func(o *MergeOptions) { remove(o.Base, "model.safetensors"); put(o.Base, "pytorch_model.bin", "") }, "in pytorch_model.bin, which can run code"},
		{"shards without an index", func(o *MergeOptions) {
			remove(o.Base, "model.safetensors")
			put(o.Base, "model-00001-of-00002.safetensors", "")
		}, "no model.safetensors.index.json"},
		{"an index without shards", func(o *MergeOptions) {
			remove(o.Base, "model.safetensors")
			put(o.Base, "model.safetensors.index.json", `{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}`)
		}, "shard 1.safetensors: not there: download it too; also shard 2.safetensors"},
		{"config.json, pointer", func(o *MergeOptions) { put(o.Base, "config.json", pointer) }, "config.json is a Git LFS pointer"},
		{"tokenizer.json, pointer", func(o *MergeOptions) { put(o.Base, "tokenizer.json", pointer) }, "tokenizer.json is a Git LFS pointer"},
		{"tokenizer_config.json, page", func(o *MergeOptions) { put(o.Base, "tokenizer_config.json", "<html>") }, "tokenizer_config.json is a web page"},
		{"adapter, pointer", func(o *MergeOptions) { put(o.Adapter, WeightsFile, pointer) }, "adapter_model.safetensors is a Git LFS pointer"},
		{"adapter's settings, pointer", func(o *MergeOptions) { put(o.Adapter, ConfigFile, pointer) }, "adapter_config.json is a Git LFS pointer"},
		{"adapter, pickle", func(o *MergeOptions) { remove(o.Adapter, WeightsFile); put(o.Adapter, "adapter_model.bin", "") }, "in adapter_model.bin, which can run code"},
		{"a model for the adapter", func(o *MergeOptions) { o.Adapter = o.Base }, "is a model, not an adapter"},
		{"a file for the adapter", func(o *MergeOptions) { o.Adapter = filepath.Join(o.Adapter, WeightsFile) }, "is a file: give the adapter directory"},
		{"an adapter for the base", func(o *MergeOptions) { o.Base = o.Adapter }, "is an adapter, not a model"},
		{"a GGUF file for the base", func(o *MergeOptions) {
			put(o.Base, "m.gguf", "GGUF\x03")
			o.Base = filepath.Join(o.Base, "m.gguf")
		}, "is a GGUF file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := MergeOptions{Base: smallModel(t), Adapter: smallAdapter(t), Output: filepath.Join(t.TempDir(), "merged")}
			row.spoil(&o)
			_, err := Merge(t.Context(), o)
			require.ErrorContains(t, err, row.want)
			require.NotContains(t, err.Error(), "\n")
			require.Empty(t, names(t, filepath.Dir(o.Output)))
		})
	}
}

// TestMergeNamesWeightsThatAreNotFinite: a base with infinities or NaN is refused by
// file, tensor and element, in tensors that the adapter changes and in others.
func TestMergeNamesWeightsThatAreNotFinite(t *testing.T) {
	nan := float32(math.NaN())
	for name, bad := range map[string]tensor{
		"changed":   f32(q+".weight", []int{3, 4}, 1, 2, 3, 4, 5, 6, nan, 8, 9, 10, 11, 12),
		"unchanged": f32("model.norm.weight", []int{4}, 0, 0, float32(math.Inf(-1)), 0),
	} {
		for _, dtype := range []string{"", "bfloat16"} {
			base, dir := writeModel(t, `{}`, bad), t.TempDir()
			_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: smallAdapter(t), Output: filepath.Join(dir, "merged"), Dtype: dtype})
			require.ErrorContains(t, err, filepath.Join(base, safetensors.ModelFile)+": "+bad.name+": element ", "%s %s", name, dtype)
			require.ErrorContains(t, err, "want finite weights")
			require.Empty(t, names(t, dir))
		}
	}
}
