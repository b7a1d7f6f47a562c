package salamandra_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// rewrite copies a model of one file, changed: each tensor goes through change,
// which returns false to leave it out.
func rewrite(t *testing.T, dir string, edit func(config string) string, change func(*safetensors.Info, *[]float32) bool) string {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	out := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(out, "config.json"), []byte(edit(string(config))), 0o644))
	model, err := safetensors.OpenModel(dir)
	require.NoError(t, err)
	defer model.Close()
	var infos []safetensors.Info
	data := map[string][]byte{}
	for _, info := range model.Tensors() {
		raw, err := model.Bytes(info.Name)
		require.NoError(t, err)
		values := make([]float32, info.NumElements())
		require.NoError(t, safetensors.DecodeFloat32(values, raw, info.Dtype))
		if !change(&info, &values) {
			continue
		}
		infos = append(infos, info)
		data[info.Name] = make([]byte, len(values)*info.Dtype.Size())
		require.NoError(t, safetensors.EncodeFloat32(data[info.Name], values, info.Dtype))
	}
	w, err := safetensors.Create(filepath.Join(out, "model.safetensors"), infos, nil)
	require.NoError(t, err)
	for _, info := range infos {
		require.NoError(t, w.Write(info.Name, data[info.Name]))
	}
	require.NoError(t, w.Commit())
	return out
}

func same(config string) string { return config }

func TestLoadAccountsForEveryTensor(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	bad := rewrite(t, dir, same, func(info *safetensors.Info, values *[]float32) bool {
		switch info.Name {
		case "model.norm.weight":
			return false
		case "model.layers.0.mlp.up_proj.weight":
			info.Shape = []int{info.Shape[1], info.Shape[0]}
		case "model.layers.1.mlp.up_proj.weight":
			info.Name = "model.layers.1.mlp.up_proj.weights"
		}
		return true
	})
	_, err := salamandra.Load(context.Background(), salamandratest.Go(t), bad, salamandra.DefaultOptions())
	require.Error(t, err)
	for _, part := range []string{
		"model.norm.weight: missing, want [48]", "model.layers.0.mlp.up_proj.weight: is [48 136], want [136 48]",
		"model.layers.1.mlp.up_proj.weight: missing, want [136 48]", "model.layers.1.mlp.up_proj.weights: left over",
	} {
		require.ErrorContains(t, err, part)
	}
}

// TestLoadNamesWeightsThatAreNotFinite: an infinity or a NaN is refused by file,
// tensor and element.
func TestLoadNamesWeightsThatAreNotFinite(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	for _, value := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		bad := rewrite(t, dir, same, func(info *safetensors.Info, values *[]float32) bool {
			if info.Name == "model.layers.1.mlp.up_proj.weight" {
				(*values)[77] = value
			}
			return true
		})
		_, err := salamandra.Load(context.Background(), salamandratest.Go(t), bad, salamandra.DefaultOptions())
		require.ErrorContains(t, err, filepath.Join(bad, "model.safetensors")+": model.layers.1.mlp.up_proj.weight: element 77 of [136 48] is ")
	}
}

// TestTiedHead loads a model without a head and one whose head equals the
// embedding: the same numbers.
func TestTiedHead(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	var embedding []float32
	untied := rewrite(t, dir, same, func(info *safetensors.Info, values *[]float32) bool {
		if info.Name == "model.embed_tokens.weight" {
			embedding = *values
		}
		return true
	})
	untied = rewrite(t, untied, same, func(info *safetensors.Info, values *[]float32) bool {
		if info.Name == "lm_head.weight" {
			*values = embedding
		}
		return true
	})
	tie := func(config string) string {
		return strings.Replace(config, `"tie_word_embeddings": false`, `"tie_word_embeddings": true`, 1)
	}
	tied := rewrite(t, untied, tie, func(info *safetensors.Info, _ *[]float32) bool { return info.Name != "lm_head.weight" })
	both := rewrite(t, untied, tie, func(*safetensors.Info, *[]float32) bool { return true })

	b := salamandratest.Go(t)
	ids := [][]int32{{5, 6, 7}}
	want, err := salamandratest.Load(t, b, untied).Logits(nil, ids)
	require.NoError(t, err)
	for _, dir := range []string{tied, both} {
		got, err := salamandratest.Load(t, b, dir).Logits(nil, ids)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// TestLoadDtypes loads weights stored in each dtype: bfloat16 values are exact
// in float32, so the numbers are the same.
func TestLoadDtypes(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa") // bfloat16
	b := salamandratest.Go(t)
	ids := [][]int32{{5, 6, 7}}
	want, err := salamandratest.Load(t, b, dir).Logits(nil, ids)
	require.NoError(t, err)
	f32 := rewrite(t, dir, same, func(info *safetensors.Info, _ *[]float32) bool {
		info.Dtype = safetensors.F32
		return true
	})
	got, err := salamandratest.Load(t, b, f32).Logits(nil, ids)
	require.NoError(t, err)
	require.Equal(t, want, got)

	f16 := rewrite(t, dir, same, func(info *safetensors.Info, _ *[]float32) bool {
		info.Dtype = safetensors.F16
		return true
	})
	got, err = salamandratest.Load(t, b, f16).Logits(nil, ids)
	require.NoError(t, err)
	salamandratest.Near(t, "float16 weights", got[0][2], want[0][2], 0, 0.01)

	m, err := salamandra.Load(context.Background(), b, dir, salamandra.Options{Dtype: "bfloat16"})
	require.NoError(t, err)
	defer m.Close()
	require.Equal(t, dtypes.BFloat16, m.DType())
	got, err = m.Logits(nil, ids)
	require.NoError(t, err)
	salamandratest.Near(t, "bfloat16 compute", got[0][2], want[0][2], 0, 0.05)
	require.NotEqual(t, want, got)
}

func TestLoadStops(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	ctx, cancel := context.WithCancel(context.Background())
	opts := salamandra.DefaultOptions()
	var seen []int64
	opts.Progress = func(_ string, done, total int64) {
		seen = append(seen, done)
		cancel()
	}
	_, err := salamandra.Load(ctx, salamandratest.Go(t), dir, opts)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, seen, 1)
	_, err = salamandra.Load(context.Background(), salamandratest.Go(t), dir, salamandra.Options{Dtype: "int4"})
	require.ErrorContains(t, err, `dtype "int4"`)
}

// elsewhere is a backend whose memory is not the host's.
type elsewhere struct{ compute.Backend }

func (elsewhere) HasSharedBuffers() bool { return false }

// TestDTypeOn: the stored dtype on an accelerator, float16 for bfloat16 where it has
// none, and what is asked for anywhere.
func TestDTypeOn(t *testing.T) {
	host := salamandratest.Go(t)
	for _, row := range []struct {
		backend compute.Backend
		opts    salamandra.Options
		stored  string
		want    dtypes.DType
	}{
		{host, salamandra.Options{Dtype: "auto"}, "bfloat16", dtypes.Float32},
		{elsewhere{host}, salamandra.Options{Dtype: "auto"}, "bfloat16", dtypes.BFloat16},
		{elsewhere{host}, salamandra.Options{Dtype: "auto", NoBFloat16: true}, "bfloat16", dtypes.Float16},
		{elsewhere{host}, salamandra.Options{Dtype: "auto", NoBFloat16: true}, "float32", dtypes.Float32},
		{elsewhere{host}, salamandra.Options{Dtype: "bfloat16", NoBFloat16: true}, "bfloat16", dtypes.BFloat16},
	} {
		got, err := row.opts.DTypeOn(row.backend, llama.Config{TorchDtype: row.stored})
		if err != nil || got != row.want {
			t.Errorf("%+v of %s: %v %v, want %v", row.opts, row.stored, got, err, row.want)
		}
	}
}
