package lora

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// referenceModels returns the folder of the models that Transformers and PEFT
// made.
func referenceModels(t testing.TB) string {
	t.Helper()
	root := os.Getenv("SALAMANDRA_REFERENCE")
	if root == "" {
		root = filepath.Join("..", "salamandra", "testdata", "reference")
	}
	return filepath.Join(root, "models")
}

var modelNames = []string{"tiny-gqa", "tiny-mha"}

// Written again, an adapter of PEFT is the same bytes.
func TestAdapterEqualsReference(t *testing.T) {
	for _, model := range modelNames {
		for _, name := range []string{"adapter-lora", "adapter-rslora", "adapter-dora", "adapter-patterns", "train-start", "train-end"} {
			t.Run(model+"/"+name, func(t *testing.T) {
				dir := filepath.Join(referenceModels(t), model, "golden", name)
				a, err := ReadAdapter(dir)
				require.NoError(t, err)
				require.Equal(t, name == "adapter-dora", a.Config.UseDoRA)
				require.Equal(t, name == "adapter-rslora", a.Config.UseRSLoRA)
				require.Equal(t, model, a.Config.BaseModelNameOrPath)

				out := filepath.Join(t.TempDir(), "new", "adapter")
				require.NoError(t, a.Write(out))
				want, err := os.ReadFile(filepath.Join(dir, WeightsFile))
				require.NoError(t, err)
				got, err := os.ReadFile(filepath.Join(out, WeightsFile))
				require.NoError(t, err)
				require.Equal(t, want, got)

				again, err := ReadAdapter(out)
				require.NoError(t, err)
				require.Equal(t, a, again)
			})
		}
	}
}

// tensor is one tensor of a test file.
type tensor struct {
	name   string
	dtype  safetensors.Dtype
	shape  []int
	values []float32
}

// f32 returns a tensor of float32 values; without values it is zero.
func f32(name string, shape []int, values ...float32) tensor {
	if values == nil {
		values = make([]float32, safetensors.Info{Dtype: "U8", Shape: shape}.NumElements())
	}
	return tensor{name, safetensors.F32, shape, values}
}

// as returns the tensor in another float format.
func (t tensor) as(dtype safetensors.Dtype) tensor {
	t.dtype = dtype
	return t
}

// writeTensors stores tensors in a file.
func writeTensors(t testing.TB, path string, tensors ...tensor) {
	t.Helper()
	var infos []safetensors.Info
	data := map[string][]byte{}
	for _, x := range tensors {
		info := safetensors.Info{Name: x.name, Dtype: x.dtype, Shape: x.shape}
		infos = append(infos, info)
		data[x.name] = make([]byte, info.NumBytes())
		if isFloat(x.dtype) || x.dtype == safetensors.F64 {
			require.NoError(t, safetensors.EncodeFloat32(data[x.name], x.values, x.dtype))
		}
	}
	infos = safetensors.InFileOrder(infos)
	w, err := safetensors.Create(path, infos, map[string]string{"format": "pt"})
	require.NoError(t, err)
	defer w.Abort()
	for _, info := range infos {
		require.NoError(t, w.Write(info.Name, data[info.Name]))
	}
	require.NoError(t, w.Commit())
}

// The one module of most tests, a layer [3, 4] with rank 2.
const (
	q  = "model.layers.0.mlp.gate_proj"
	qA = prefix + q + suffixA
	qB = prefix + q + suffixB
	qM = prefix + q + suffixMagnitude
)

// writeAdapter stores an adapter_config.json with r 2, lora_alpha 4 on q_proj
// and more, and tensors, and returns the directory.
func writeAdapter(t testing.TB, more string, tensors ...tensor) string {
	t.Helper()
	dir := t.TempDir()
	config := `{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["gate_proj"]` + more + `}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, ConfigFile), []byte(config), 0o666))
	writeTensors(t, filepath.Join(dir, WeightsFile), tensors...)
	return dir
}

func TestReadAdapterRefuses(t *testing.T) {
	a, b := f32(qA, []int{2, 4}), f32(qB, []int{3, 2})
	nan := float32(math.NaN())
	tests := []struct {
		name    string
		config  string
		tensors []tensor
		want    map[string]error // by tensor
		reason  string
	}{
		{name: "A missing", tensors: []tensor{b}, want: map[string]error{qA: errMissing}},
		{name: "B missing", tensors: []tensor{a}, want: map[string]error{qB: errMissing}},
		{name: "nothing", want: map[string]error{"": errMissing}, reason: "an adapter that does nothing was not meant"},
		{name: "another rank", tensors: []tensor{f32(qA, []int{3, 4}), f32(qB, []int{3, 3})},
			want: map[string]error{qA: errShape, qB: errShape}, reason: "the configuration says 2"},
		{name: "rank pattern", config: `,"rank_pattern":{"gate_proj":3}`, tensors: []tensor{a, b}, want: map[string]error{qA: errShape, qB: errShape}},
		{name: "not a matrix", tensors: []tensor{f32(qA, []int{8}), b}, want: map[string]error{qA: errShape}, reason: "unsharded wrongly by the trainer"},
		{name: "empty", tensors: []tensor{f32(qA, []int{2, 0}), b}, want: map[string]error{qA: errShape}, reason: "unsharded wrongly by the trainer"},
		{name: "integers", tensors: []tensor{a.as("I32"), b}, want: map[string]error{qA: errUnsupported}},
		{name: "a bias of the base", config: `,"bias":"all"`, tensors: []tensor{a, b, f32(prefix+q+".base_layer.bias", []int{3})}, want: map[string]error{prefix + q + ".base_layer.bias": errUnsupported}},
		{name: "NaN", tensors: []tensor{f32(qA, []int{2, 4}, 0, 0, nan, 0, 0, 0, 0, 0), b}, want: map[string]error{qA: errNotFinite}},
		{name: "infinity", tensors: []tensor{a, f32(qB, []int{3, 2}, 0, 0, float32(math.Inf(1)), 0, 0, 0)}, want: map[string]error{qB: errNotFinite}},
		{name: "another module", tensors: []tensor{a, b, f32(prefix+"model.layers.0.self_attn.k_proj"+suffixA, []int{2, 4}), f32(prefix+"model.layers.0.self_attn.k_proj"+suffixB, []int{3, 2})},
			want: map[string]error{prefix + "model.layers.0.self_attn.k_proj": errLeftOver}, reason: "target_modules do not select it"},
		{name: "no magnitude", config: `,"use_dora":true`, tensors: []tensor{a, b}, want: map[string]error{qM: errMissing}},
		{name: "short magnitude", config: `,"use_dora":true`, tensors: []tensor{a, b, f32(qM, []int{2})}, want: map[string]error{qM: errShape}},
		{name: "magnitude without DoRA", tensors: []tensor{a, b, f32(qM, []int{3})}, want: map[string]error{qM: errLeftOver}, reason: "use_dora is off"},
		{name: "magnitude twice", config: `,"use_dora":true`, tensors: []tensor{a, b, f32(qM, []int{3}), f32(qM+".weight", []int{3})}, want: map[string]error{qM + ".weight": errLeftOver}},
		{name: "another kind", tensors: []tensor{a, b,
			f32(prefix+"model.embed_tokens.lora_embedding_A", []int{2, 4}), f32(prefix+q+".lora_B.bias", []int{3}),
			f32(prefix+"lm_head.modules_to_save.weight", []int{3}), f32(prefix+"model.embed_tokens.trainable_tokens_delta", []int{3})},
			want: map[string]error{prefix + "model.embed_tokens.lora_embedding_A": errUnsupported, prefix + q + ".lora_B.bias": errUnsupported,
				prefix + "lm_head.modules_to_save.weight": errUnsupported, prefix + "model.embed_tokens.trainable_tokens_delta": errUnsupported}},
		{name: "without PEFT's prefix", tensors: []tensor{a, b, f32(q+suffixA, []int{2, 4})}, want: map[string]error{q + suffixA: errLeftOver}},
		{name: "a whole weight of a layer", tensors: []tensor{a, b, f32(prefix+q+".weight", []int{3, 4})}, want: map[string]error{prefix + q + ".weight": errLeftOver}},
		{name: "two adapters", tensors: []tensor{f32(prefix+q+".lora_A.x.weight", []int{2, 4}), f32(prefix+q+".lora_A.y.weight", []int{2, 4}), b},
			want: map[string]error{prefix + q + ".lora_A.y.weight": errLeftOver}, reason: "nothing says which is meant"},
		{name: "order of patterns", config: `,"rank_pattern":{"layers.0.mlp.gate_proj":2,"gate_proj":2},"alpha_pattern":{"layers.0.mlp.gate_proj":3,"gate_proj":2}`, tensors: []tensor{a, b},
			want: map[string]error{prefix + q: errUnsupported}, reason: "PEFT takes the first of the file"},
		{name: "order of rank patterns", config: `,"rank_pattern":{"layers.0.mlp.gate_proj":3,"gate_proj":2}`, tensors: []tensor{a, b},
			want: map[string]error{prefix + q: errUnsupported}, reason: "PEFT would make rank 3 of it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := writeAdapter(t, test.config, test.tensors...)
			_, err := ReadAdapter(dir)
			got := faultsAt(err, filepath.Join(dir, WeightsFile))
			require.Len(t, got, len(test.want), "%v", err)
			for tensor, want := range test.want {
				require.ErrorIs(t, got[tensor], want, "%s: %s", tensor, test.reason)
			}
		})
	}
}

func TestReadAdapterFiles(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadAdapter(dir)
	require.ErrorIs(t, err, errNoAdapter)
	require.NoError(t, os.WriteFile(filepath.Join(dir, ConfigFile), []byte(`{`+minimal+`}`), 0o666))
	_, err = ReadAdapter(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "adapter_model.bin"), nil, 0o666))
	_, err = ReadAdapter(dir)
	require.ErrorContains(t, err, "adapter_model.bin, which can run code")
	require.NoError(t, os.WriteFile(filepath.Join(dir, WeightsFile), []byte("x"), 0o666))
	_, err = ReadAdapter(dir)
	require.ErrorContains(t, err, "file is truncated")
}

// Any float format becomes float32, and older names of the magnitude are known.
func TestReadAdapterFormats(t *testing.T) {
	for _, d := range []safetensors.Dtype{safetensors.F64, safetensors.F32, safetensors.F16, safetensors.BF16} {
		dir := writeAdapter(t, `,"use_dora":true`,
			f32(qA, []int{2, 4}, 1, 2, 3, 4, 5, 6, 7, 8).as(d), f32(qB, []int{3, 2}, 1, 0, -1, 0, 0.5, 2).as(d),
			f32(qM+".weight", []int{3}, 1, 2, 3).as(d))
		a, err := ReadAdapter(dir)
		require.NoError(t, err, d)
		require.Equal(t, []Module{{Name: q, In: 4, Out: 3, Rank: 2,
			A: []float32{1, 2, 3, 4, 5, 6, 7, 8}, B: []float32{1, 0, -1, 0, 0.5, 2}, Magnitude: []float32{1, 2, 3}}}, a.Modules)
	}
}

// TestReadAdapterOfLiveModel: a state dict of PEFT's live model has the adapter's
// name inside those of its tensors.
func TestReadAdapterOfLiveModel(t *testing.T) {
	want, err := ReadAdapter(writeAdapter(t, `,"use_dora":true`, f32(qA, []int{2, 4}, 1, 2, 3, 4, 5, 6, 7, 8), f32(qB, []int{3, 2}, 1, 2, 3, 4, 5, 6), f32(qM, []int{3}, 1, 2, 3)))
	require.NoError(t, err)
	inside := func(name string) string { return strings.Replace(name+".weight", ".weight.weight", ".weight", 1) }
	for _, magnitude := range []string{qM + ".default", qM + ".default.weight"} {
		got, err := ReadAdapter(writeAdapter(t, `,"use_dora":true`,
			f32(strings.Replace(inside(qA), "lora_A", "lora_A.default", 1), []int{2, 4}, 1, 2, 3, 4, 5, 6, 7, 8),
			f32(strings.Replace(inside(qB), "lora_B", "lora_B.default", 1), []int{3, 2}, 1, 2, 3, 4, 5, 6), f32(magnitude, []int{3}, 1, 2, 3)))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// TestReadAdapterOfWrappedModel: what torch.compile, FSDP, checkpointing and data
// parallelism put into the names of modules is no part of them; PEFT itself then
// finds none of the tensors.
func TestReadAdapterOfWrappedModel(t *testing.T) {
	named := func(a, b string) *Adapter {
		got, err := ReadAdapter(writeAdapter(t, "", f32(a, []int{2, 4}, 1, 2, 3, 4, 5, 6, 7, 8), f32(b, []int{3, 2}, 1, 2, 3, 4, 5, 6)))
		require.NoError(t, err)
		return got
	}
	want := named(qA, qB)
	for _, wrap := range []struct{ old, with string }{
		{prefix, "module." + prefix},
		{prefix, prefix + "_orig_mod."},
		{prefix, "_orig_mod." + prefix},
		{"layers.0.", "layers.0._fsdp_wrapped_module._checkpoint_wrapped_module."},
	} {
		require.Equal(t, want, named(strings.Replace(qA, wrap.old, wrap.with, 1), strings.Replace(qB, wrap.old, wrap.with, 1)), wrap.with)
	}
}

// TestCheckBase: copies of base weights in an adapter's file are left aside where
// they are the base's, in any float format, and refused by name where they are not.
func TestCheckBase(t *testing.T) {
	head := []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	a, b := f32(qA, []int{2, 4}, 0, 0, 0, 0, 0, 3, 0, 0), f32(qB, []int{3, 2}, 0, 0, 0, 0, 0, 0.5)
	tied := writeModel(t, `{"torch_dtype": "float32"}`, f32(embeddingWeight, []int{3, 4}, head...))
	for _, row := range []struct {
		name, base string
		tensor     tensor
		same       bool
	}{
		{"below an adapter", smallModel(t), f32(prefix+"lm_head.base_layer.weight", []int{3, 4}, head...), true},
		{"whole", smallModel(t), f32(prefix+"lm_head.weight", []int{3, 4}, head...), true},
		{"in 16 bits", smallModel(t), f32(prefix+"lm_head.weight", []int{3, 4}, head...).as(safetensors.BF16), true},
		{"of a tied head", tied, f32(prefix+"lm_head.weight", []int{3, 4}, head...), true},
		{"embedding", tied, f32(prefix+embeddingWeight, []int{3, 4}, head...), true},
		{"other values", smallModel(t), f32(prefix+"lm_head.base_layer.weight", []int{3, 4}), false},
		{"more rows", smallModel(t), f32(prefix+"lm_head.weight", []int{4, 4}), false},
		{"no such layer", smallModel(t), f32(prefix+"model.x.base_layer.weight", []int{3, 4}), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := writeAdapter(t, "", a, b, row.tensor)
			adapter, err := ReadAdapter(dir)
			require.NoError(t, err)
			err = adapter.CheckBase(row.base)
			output := filepath.Join(t.TempDir(), "merged")
			_, merged := Merge(t.Context(), MergeOptions{Base: row.base, Adapter: dir, Output: output})
			if row.same {
				require.NoError(t, err)
				require.NoError(t, merged)
				return
			}
			require.ErrorIs(t, err, errTarget)
			require.ErrorContains(t, err, row.tensor.name)
			require.ErrorContains(t, merged, row.tensor.name)
			require.NoDirExists(t, output)
		})
	}
}

func TestWriteAdapterRefuses(t *testing.T) {
	good := func() *Adapter {
		return &Adapter{
			Config:  Config{Rank: 2, Alpha: 4, TargetModules: []string{"gate_proj"}},
			Modules: []Module{{Name: q, In: 4, Out: 3, Rank: 2, A: make([]float32, 8), B: make([]float32, 6)}},
		}
	}
	require.NoError(t, good().Write(t.TempDir()))
	for name, test := range map[string]struct {
		change func(*Adapter)
		want   error
	}{
		"config":     {func(a *Adapter) { a.Config.Rank = 0 }, errConfig},
		"rank":       {func(a *Adapter) { a.Modules[0].Rank = 1 }, errShape},
		"A":          {func(a *Adapter) { a.Modules[0].A = make([]float32, 7) }, errShape},
		"B":          {func(a *Adapter) { a.Modules[0].B = nil }, errMissing},
		"magnitude":  {func(a *Adapter) { a.Config.UseDoRA = true }, errMissing},
		"not finite": {func(a *Adapter) { a.Modules[0].A[1] = float32(math.Inf(-1)) }, errNotFinite},
		"module":     {func(a *Adapter) { a.Modules[0].Name = "k_proj" }, errLeftOver},
		"twice":      {func(a *Adapter) { a.Modules = append(a.Modules, a.Modules[0]) }, errLeftOver},
	} {
		t.Run(name, func(t *testing.T) {
			a := good()
			test.change(a)
			dir := filepath.Join(t.TempDir(), "adapter")
			require.ErrorIs(t, a.Write(dir), test.want)
			require.NoDirExists(t, dir, "nothing is written")
		})
	}
}

func TestActive(t *testing.T) {
	module := func(a, b []float32) Module { return Module{In: 2, Out: 1, Rank: 2, A: a, B: b} }
	a := &Adapter{Modules: []Module{
		module([]float32{1, 2, 3, 4}, []float32{0, 0}), // as Inject makes them
		module([]float32{0, 0, 0, 0}, []float32{1, 1}),
		module([]float32{0, 0, 3, 4}, []float32{1, 0}), // each rank has a factor that is zero
	}}
	require.Equal(t, 0, a.Active())
	a.Modules = append(a.Modules, module([]float32{0, 0, 0, 4}, []float32{0, 1}))
	require.Equal(t, 1, a.Active())
	dora := module([]float32{1, 2, 3, 4}, []float32{0, 0})
	dora.Magnitude = []float32{1}
	a.Modules = append(a.Modules, dora)
	require.Equal(t, 2, a.Active(), "a magnitude changes its layer by itself")
}
