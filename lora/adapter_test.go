package lora

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
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
		values = make([]float32, safetensors.Info{Dtype: safetensors.U8, Shape: shape}.NumElements())
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
	q  = "model.layers.0.self_attn.q_proj"
	qA = prefix + q + suffixA
	qB = prefix + q + suffixB
	qM = prefix + q + suffixMagnitude
)

// writeAdapter stores an adapter_config.json with r 2, lora_alpha 4 on q_proj
// and more, and tensors, and returns the directory.
func writeAdapter(t testing.TB, more string, tensors ...tensor) string {
	t.Helper()
	dir := t.TempDir()
	config := `{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"]` + more + `}`
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
		{name: "A missing", tensors: []tensor{b}, want: map[string]error{qA: ErrMissing}},
		{name: "B missing", tensors: []tensor{a}, want: map[string]error{qB: ErrMissing}},
		{name: "nothing", want: map[string]error{"*": ErrMissing}, reason: "an adapter that does nothing was not meant"},
		{name: "another rank", tensors: []tensor{f32(qA, []int{3, 4}), f32(qB, []int{3, 3})},
			want: map[string]error{qA: ErrShape, qB: ErrShape}, reason: "the configuration says 2"},
		{name: "rank pattern", config: `,"rank_pattern":{"q_proj":3}`, tensors: []tensor{a, b}, want: map[string]error{qA: ErrShape, qB: ErrShape}},
		{name: "not a matrix", tensors: []tensor{f32(qA, []int{8}), b}, want: map[string]error{qA: ErrShape}, reason: "unsharded wrongly by the trainer"},
		{name: "empty", tensors: []tensor{f32(qA, []int{2, 0}), b}, want: map[string]error{qA: ErrShape}, reason: "unsharded wrongly by the trainer"},
		{name: "integers", tensors: []tensor{a.as(safetensors.I32), b}, want: map[string]error{qA: ErrShape}},
		{name: "NaN", tensors: []tensor{f32(qA, []int{2, 4}, 0, 0, nan, 0, 0, 0, 0, 0), b}, want: map[string]error{qA: ErrNotFinite}},
		{name: "infinity", tensors: []tensor{a, f32(qB, []int{3, 2}, 0, 0, float32(math.Inf(1)), 0, 0, 0)}, want: map[string]error{qB: ErrNotFinite}},
		{name: "another module", tensors: []tensor{a, b, f32(prefix+"model.layers.0.self_attn.k_proj"+suffixA, []int{2, 4}), f32(prefix+"model.layers.0.self_attn.k_proj"+suffixB, []int{3, 2})},
			want: map[string]error{prefix + "model.layers.0.self_attn.k_proj": ErrLeftOver}, reason: "target_modules do not select it"},
		{name: "no magnitude", config: `,"use_dora":true`, tensors: []tensor{a, b}, want: map[string]error{qM: ErrMissing}},
		{name: "short magnitude", config: `,"use_dora":true`, tensors: []tensor{a, b, f32(qM, []int{2})}, want: map[string]error{qM: ErrShape}},
		{name: "magnitude without DoRA", tensors: []tensor{a, b, f32(qM, []int{3})}, want: map[string]error{qM: ErrLeftOver}, reason: "use_dora is off"},
		{name: "magnitude twice", config: `,"use_dora":true`, tensors: []tensor{a, b, f32(qM, []int{3}), f32(qM+".weight", []int{3})}, want: map[string]error{qM + ".weight": ErrLeftOver}},
		{name: "another kind", tensors: []tensor{a, b,
			f32(prefix+"model.embed_tokens.lora_embedding_A", []int{2, 4}), f32(prefix+q+".lora_B.bias", []int{3}),
			f32(prefix+"lm_head.modules_to_save.weight", []int{3}), f32(prefix+"model.embed_tokens.trainable_tokens_delta", []int{3})},
			want: map[string]error{prefix + "model.embed_tokens.lora_embedding_A": ErrUnsupported, prefix + q + ".lora_B.bias": ErrUnsupported,
				prefix + "lm_head.modules_to_save.weight": ErrUnsupported, prefix + "model.embed_tokens.trainable_tokens_delta": ErrUnsupported}},
		{name: "without PEFT's prefix", tensors: []tensor{a, b, f32(q+suffixA, []int{2, 4})}, want: map[string]error{q + suffixA: ErrLeftOver}},
		{name: "a whole weight", tensors: []tensor{a, b, f32(prefix+"lm_head.weight", []int{3, 4})}, want: map[string]error{prefix + "lm_head.weight": ErrUnsupported}, reason: "PEFT stores it when tokens were added"},
		{name: "order of patterns", config: `,"rank_pattern":{"q_proj":2,"layers.0.self_attn.q_proj":2},"alpha_pattern":{"q_proj":3,"layers.0.self_attn.q_proj":2}`, tensors: []tensor{a, b},
			want: map[string]error{prefix + q: ErrUnsupported}, reason: "PEFT takes the first of the file"},
		{name: "order of rank patterns", config: `,"rank_pattern":{"q_proj":3,"layers.0.self_attn.q_proj":2}`, tensors: []tensor{a, b},
			want: map[string]error{prefix + q: ErrUnsupported}, reason: "PEFT would make rank 3 of it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadAdapter(writeAdapter(t, test.config, test.tensors...))
			got := map[string]error{}
			for _, fault := range faultsOf(err) {
				var place *TensorError
				require.ErrorAs(t, fault, &place, test.reason)
				got[place.Tensor] = place.Err
			}
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
	require.ErrorIs(t, err, ErrNoAdapter)
	require.NoError(t, os.WriteFile(filepath.Join(dir, ConfigFile), []byte(`{`+minimal+`}`), 0o666))
	_, err = ReadAdapter(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "adapter_model.bin"), nil, 0o666))
	_, err = ReadAdapter(dir)
	require.ErrorIs(t, err, ErrUnsupported, "pickle files are not read")
	require.NoError(t, os.WriteFile(filepath.Join(dir, WeightsFile), []byte("x"), 0o666))
	_, err = ReadAdapter(dir)
	require.ErrorIs(t, err, safetensors.ErrTruncated)
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

func TestWriteAdapterRefuses(t *testing.T) {
	good := func() *Adapter {
		return &Adapter{
			Config:  Config{Rank: 2, Alpha: 4, TargetModules: []string{"q_proj"}},
			Modules: []Module{{Name: q, In: 4, Out: 3, Rank: 2, A: make([]float32, 8), B: make([]float32, 6)}},
		}
	}
	require.NoError(t, good().Write(t.TempDir()))
	for name, test := range map[string]struct {
		change func(*Adapter)
		want   error
	}{
		"config":     {func(a *Adapter) { a.Config.Rank = 0 }, ErrConfig},
		"rank":       {func(a *Adapter) { a.Modules[0].Rank = 1 }, ErrShape},
		"A":          {func(a *Adapter) { a.Modules[0].A = make([]float32, 7) }, ErrShape},
		"B":          {func(a *Adapter) { a.Modules[0].B = nil }, ErrMissing},
		"magnitude":  {func(a *Adapter) { a.Config.UseDoRA = true }, ErrMissing},
		"not finite": {func(a *Adapter) { a.Modules[0].A[1] = float32(math.Inf(-1)) }, ErrNotFinite},
		"module":     {func(a *Adapter) { a.Modules[0].Name = "k_proj" }, ErrLeftOver},
		"twice":      {func(a *Adapter) { a.Modules = append(a.Modules, a.Modules[0]) }, ErrLeftOver},
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
