package lora

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// Every merged weight of PEFT, bit for bit; every other weight as it was.
func TestMergeEqualsReference(t *testing.T) {
	for _, model := range modelNames {
		for _, adapter := range []string{"lora", "rslora", "dora", "patterns"} {
			t.Run(model+"/"+adapter, func(t *testing.T) {
				base := filepath.Join(referenceModels(t), model)
				golden := filepath.Join(base, "golden")
				output := filepath.Join(t.TempDir(), "merged")
				report, err := Merge(t.Context(), MergeOptions{
					Base: base, Adapter: filepath.Join(golden, "adapter-"+adapter), Output: output,
				})
				require.NoError(t, err)
				require.Empty(t, report.Warnings)

				want, err := safetensors.Open(filepath.Join(golden, "merged-once-"+adapter+".safetensors"))
				require.NoError(t, err)
				defer want.Close()
				got, err := safetensors.OpenModel(output)
				require.NoError(t, err)
				defer got.Close()
				before, err := safetensors.OpenModel(base)
				require.NoError(t, err)
				defer before.Close()
				changed := 0
				for _, info := range before.Tensors() {
					after, err := got.Bytes(info.Name)
					require.NoError(t, err)
					old, err := before.Bytes(info.Name)
					require.NoError(t, err)
					if string(after) != string(old) {
						changed++
					}
					if _, ok := want.Info("weight." + info.Name); ok {
						old, err = want.Bytes("weight." + info.Name)
						require.NoError(t, err)
					}
					require.Equal(t, old, after, info.Name)
				}
				require.Equal(t, changed, len(report.Merged))
				require.Len(t, got.Tensors(), len(report.Merged)+len(report.Untouched))
			})
		}
	}
}

// The file is byte for byte what Transformers saves after merge_and_unload.
func TestMergedFileEqualsReference(t *testing.T) {
	for _, model := range modelNames {
		t.Run(model, func(t *testing.T) {
			base := filepath.Join(referenceModels(t), model)
			output := filepath.Join(t.TempDir(), "merged")
			_, err := Merge(t.Context(), MergeOptions{
				Base: base, Adapter: filepath.Join(base, "golden", "adapter-lora"), Output: output,
			})
			require.NoError(t, err)
			for name, reference := range map[string]string{
				safetensors.ModelFile:    filepath.Join(base, "golden", "merged-lora"),
				"config.json":            filepath.Join(base, "golden", "merged-lora"),
				"generation_config.json": base,
				"tokenizer.json":         base,
			} {
				want, err := os.ReadFile(filepath.Join(reference, name))
				require.NoError(t, err)
				got, err := os.ReadFile(filepath.Join(output, name))
				require.NoError(t, err)
				require.True(t, string(want) == string(got), "%s differs", name)
			}
		})
	}
}

// writeModel stores a model directory of one file and returns it. It is a Llama
// of one layer whose gate_proj is [3, 4]: what config.json and the tensors leave
// out is completed, the weights with zeros.
func writeModel(t testing.TB, config string, tensors ...tensor) string {
	t.Helper()
	keys := map[string]any{
		"model_type": "llama", "vocab_size": 3, "hidden_size": 4, "intermediate_size": 3, "num_hidden_layers": 1, "num_attention_heads": 1, "tie_word_embeddings": true,
	}
	require.NoError(t, json.Unmarshal([]byte(config), &keys))
	full, err := json.Marshal(keys)
	require.NoError(t, err)
	c, err := llama.ParseConfig(full)
	require.NoError(t, err)
	for _, want := range c.Tensors() {
		if !slices.ContainsFunc(tensors, func(x tensor) bool { return x.name == want.Name }) {
			tensors = append(tensors, f32(want.Name, want.Shape))
		}
	}
	return writeDir(t, string(full), tensors...)
}

// writeDir stores a config.json and one file of tensors as they are.
func writeDir(t testing.TB, config string, tensors ...tensor) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666))
	writeTensors(t, filepath.Join(dir, safetensors.ModelFile), tensors...)
	return dir
}

// others are the names of a small model's tensors but for the adapted one,
// sorted.
func others(t testing.TB, dir string) []string {
	m, err := safetensors.OpenModel(dir)
	require.NoError(t, err)
	defer m.Close()
	var list []string
	for _, info := range m.Tensors() {
		if info.Name != q+".weight" {
			list = append(list, info.Name)
		}
	}
	slices.Sort(list)
	return list
}

// readValues returns a tensor of a model directory.
func readValues(t testing.TB, dir, name string) []float32 {
	t.Helper()
	m, err := safetensors.OpenModel(dir)
	require.NoError(t, err)
	defer m.Close()
	info, ok := m.Info(name)
	require.True(t, ok, name)
	data, err := m.Bytes(name)
	require.NoError(t, err)
	values := make([]float32, info.NumElements())
	require.NoError(t, safetensors.DecodeFloat32(values, data, info.Dtype))
	return values
}

// names lists a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// digest is the content of every file of a directory.
func digest(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range names(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files[name] = string(data)
	}
	return files
}

// smallModel has a layer [3, 4] and a head of the same shape.
func smallModel(t testing.TB) string {
	return writeModel(t, `{"torch_dtype": "float32", "tie_word_embeddings": false, "id2label": {"b": 1, "a": [1, 2]}}`,
		f32(q+".weight", []int{3, 4}, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
		f32("lm_head.weight", []int{3, 4}, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
		f32("model.norm.weight", []int{4}, 0.1, 0.2, 0.3, 1e5))
}

// smallAdapter adds scale 2 times 1.5 at [2, 1] of the layer.
func smallAdapter(t testing.TB) string {
	return writeAdapter(t, "", f32(qA, []int{2, 4}, 0, 0, 0, 0, 0, 3, 0, 0), f32(qB, []int{3, 2}, 0, 0, 0, 0, 0, 0.5))
}

func TestMergeByEye(t *testing.T) {
	base, adapter := smallModel(t), smallAdapter(t)
	for name, content := range map[string]string{"tokenizer.json": "t", "LICENSE": "l", "Notice.txt": "n", "README.md": "r", "train.py": "p", "chat_template.jinja": "c"} {
		require.NoError(t, os.WriteFile(filepath.Join(base, name), []byte(content), 0o666))
	}
	require.NoError(t, os.WriteFile(filepath.Join(adapter, "chat_template.jinja"), []byte("other"), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(adapter, "tokenizer.json"), []byte("t"), 0o666))
	output := filepath.Join(t.TempDir(), "parent", "merged")
	type call struct {
		phase       string
		done, total int64
	}
	var progress []call
	report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output, Progress: func(phase string, done, total int64) { progress = append(progress, call{phase, done, total}) }})
	require.NoError(t, err)

	require.Equal(t, []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 11, 12}, readValues(t, output, q+".weight"), "10 + 2*0.5*3 at [2, 1]")
	require.Equal(t, []string{"LICENSE", "Notice.txt", "chat_template.jinja", "config.json", "merge_info.json", "model.safetensors", "tokenizer.json"}, names(t, output))
	require.Equal(t, digest(t, base)["config.json"], digest(t, output)["config.json"], "byte for byte where nothing is converted")
	require.Equal(t, "c", digest(t, output)["chat_template.jinja"])

	require.Equal(t, []MergedTensor{{Name: q + ".weight", Shape: []int{3, 4}, Rank: 2, Scale: 2, DeltaNorm: 3, Updates: 1, changed: 1}}, report.Merged)
	require.Equal(t, others(t, base), report.Untouched)
	require.Equal(t, map[string][]float64{"gate_proj": {2}}, report.Scales)
	require.Len(t, report.Warnings, 1, "the chat template differs, the tokenizer does not")
	require.Contains(t, report.Warnings[0], "chat template")
	for i, p := range progress[1:] {
		require.True(t, p.phase != progress[i].phase || p.done >= progress[i].done)
	}
	last := progress[len(progress)-1]
	require.Equal(t, "verifying", last.phase)
	require.Equal(t, last.total, last.done)

	var stored MergeReport
	require.NoError(t, json.Unmarshal([]byte(digest(t, output)["merge_info.json"]), &stored))
	report.Merged[0].changed = 0
	require.Equal(t, report, stored, "the report is in the output")
	for dir, sums := range map[string][]FileSum{base: report.BaseFiles, adapter: report.Adapters[0].Files, output: report.OutputFiles} {
		require.NotEmpty(t, sums)
		for _, sum := range sums {
			content := digest(t, dir)[sum.File]
			require.Equal(t, FileSum{sum.File, int64(len(content)), fmt.Sprintf("%x", sha256.Sum256([]byte(content)))}, sum)
		}
	}
	require.Len(t, report.OutputFiles, 6, "all but the report itself")
}

// B = 0 is the identity.
func TestMergeZeroIsIdentity(t *testing.T) {
	base := smallModel(t)
	adapter := writeAdapter(t, "", f32(qA, []int{2, 4}, 1, 2, 3, 4, 5, 6, 7, 8), f32(qB, []int{3, 2}))
	output := filepath.Join(t.TempDir(), "merged")
	_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output})
	require.ErrorIs(t, err, errNoEffect)
	require.NoDirExists(t, output)

	report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output, AllowNoEffect: true})
	require.NoError(t, err)
	require.Equal(t, digest(t, base)[safetensors.ModelFile], digest(t, output)[safetensors.ModelFile])
	require.Len(t, report.Warnings, 1)
	require.Equal(t, []MergedTensor{{Name: q + ".weight", Shape: []int{3, 4}, Rank: 2, Scale: 2}}, report.Merged)
}

// An update that rounding undoes everywhere is no effect either.
func TestMergeLostInRounding(t *testing.T) {
	weight := f32(q+".weight", []int{3, 4}, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1000, 11, 12).as(safetensors.BF16)
	base, adapter := writeModel(t, `{"dtype":"bfloat16"}`, weight), smallAdapter(t)
	output := filepath.Join(t.TempDir(), "merged")
	_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: writeAdapter(t, "", f32(qA, []int{2, 4}, 0, 0, 0, 0, 0, 0.5, 0, 0), f32(qB, []int{3, 2}, 0, 0, 0, 0, 0, 0.5)), Output: output})
	require.ErrorIs(t, err, errNoEffect)
	require.NoDirExists(t, output)

	report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output})
	require.NoError(t, err)
	require.Equal(t, float32(1004), readValues(t, output, q+".weight")[9], "1003, in steps of 4")
	require.Zero(t, report.LostShare)
}

func TestMergeConverts(t *testing.T) {
	for dtype, stored := range map[string]safetensors.Dtype{"bfloat16": safetensors.BF16, "float16": safetensors.F16, "float32": safetensors.F32} {
		for _, spelling := range []string{`"torch_dtype"`, `"dtype"`, ``} {
			t.Run(dtype+spelling, func(t *testing.T) {
				config := `{"id2label":{"b":1,"a":2}}`
				if spelling != "" {
					config = `{` + spelling + `:"bfloat16","id2label":{"b":1,"a":2}}`
				}
				base := writeModel(t, config, f32(q+".weight", []int{3, 4}).as(safetensors.BF16),
					f32("model.norm.weight", []int{4}, 1.5, -3, 0, 0).as(safetensors.BF16))
				output := filepath.Join(t.TempDir(), "merged")
				_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: smallAdapter(t), Output: output, Dtype: dtype})
				require.NoError(t, err)
				require.Equal(t, float32(3), readValues(t, output, q+".weight")[9])
				require.Equal(t, []float32{1.5, -3, 0, 0}, readValues(t, output, "model.norm.weight"))
				m, err := safetensors.OpenModel(output)
				require.NoError(t, err)
				defer m.Close()
				for name, want := range map[string]safetensors.Dtype{q + ".weight": stored, "model.norm.weight": stored} {
					info, _ := m.Info(name)
					require.Equal(t, want, info.Dtype)
				}
				if spelling == "" {
					spelling = `"torch_dtype"`
				}
				var before, after map[string]any
				require.NoError(t, json.Unmarshal([]byte(digest(t, base)["config.json"]), &before))
				require.NoError(t, json.Unmarshal([]byte(digest(t, output)["config.json"]), &after))
				before[strings.Trim(spelling, `"`)] = dtype
				require.Equal(t, before, after)
			})
		}
	}
}

// Shards, and one file, hold the same; so do one core and several.
func TestMergeShardsAndCores(t *testing.T) {
	base := filepath.Join(referenceModels(t), "tiny-gqa")
	adapter := filepath.Join(base, "golden", "adapter-lora")
	dir := t.TempDir()
	merge := func(name string, cores int, size int64) (map[string]string, MergeReport) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
		report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(dir, name), MaxShardSize: size})
		require.NoError(t, err)
		return digest(t, filepath.Join(dir, name)), report
	}
	one, report := merge("one", 1, 0)
	two, _ := merge("two", 3, 0)
	require.True(t, maps.Equal(one, two), "byte for byte, the report too")
	require.Greater(t, report.LostShare, 0.0)
	require.Less(t, report.LostShare, 1.0)

	shards, _ := merge("shards", 2, 300_000)
	require.NotContains(t, shards, safetensors.ModelFile)
	require.Contains(t, shards, safetensors.IndexFile)
	m, err := safetensors.OpenModel(filepath.Join(dir, "shards"))
	require.NoError(t, err)
	defer m.Close()
	single, err := safetensors.OpenModel(filepath.Join(dir, "one"))
	require.NoError(t, err)
	defer single.Close()
	require.Greater(t, len(m.Paths()), 1)
	require.ElementsMatch(t, single.Tensors(), m.Tensors())
	for _, info := range m.Tensors() {
		want, err := single.Bytes(info.Name)
		require.NoError(t, err)
		got, err := m.Bytes(info.Name)
		require.NoError(t, err)
		require.Equal(t, want, got, info.Name)
	}
}

// Cancelled anywhere, a merge leaves nothing.
func TestMergeCancelled(t *testing.T) {
	base, adapter := smallModel(t), smallAdapter(t)
	steps := 0
	_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(t.TempDir(), "merged"), Progress: func(string, int64, int64) { steps++ }})
	require.NoError(t, err)
	cancelled := 0
	for stop := range steps {
		ctx, cancel := context.WithCancel(t.Context())
		dir := t.TempDir()
		at := 0
		_, err := Merge(ctx, MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(dir, "merged"), Progress: func(string, int64, int64) {
			if at == stop {
				cancel()
			}
			at++
		}})
		cancel()
		if err == nil { // after the last file was read back
			continue
		}
		cancelled++
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, names(t, dir))
	}
	require.Greater(t, cancelled, 4, "while merging and while verifying")
}

func TestMergeRefusesBase(t *testing.T) {
	type place struct {
		tensor string
		want   error
	}
	const second = "model.layers.1.mlp.gate_proj"
	tests := []struct {
		name   string
		config string
		dtype  string
		base   []tensor
		want   []place
		reason string
	}{
		{name: "another shape", config: `{"intermediate_size": 5}`, want: []place{{q + ".weight", errShape}}},
		{name: "more layers", config: `{"num_hidden_layers": 2}`, want: []place{{prefix + second, errMissing}}, reason: "the adapter is of a smaller model"},
		{name: "all at once", config: `{"num_hidden_layers": 2, "intermediate_size": 5}`, want: []place{{q + ".weight", errShape}, {prefix + second, errMissing}}, reason: "one run, one fix"},
		{name: "too large for float16", dtype: "float16", base: []tensor{f32("model.norm.weight", []int{4}, 1e6, 0, 0, 0)}, want: []place{{"model.norm.weight", errNotFinite}}},
		{name: "merged weight too large", dtype: "float16", base: []tensor{f32(q+".weight", []int{3, 4}, 1e6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)}, want: []place{{q + ".weight", errNotFinite}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Merge(t.Context(), MergeOptions{Base: writeModel(t, cmp.Or(test.config, `{}`), test.base...), Adapter: smallAdapter(t), Output: filepath.Join(dir, "merged"), Dtype: test.dtype})
			for _, want := range test.want {
				require.ErrorContains(t, err, want.tensor+": ", test.reason)
				require.ErrorIs(t, err, want.want)
			}
			require.Empty(t, names(t, dir))
		})
	}
}

func TestMergeRefusesOptions(t *testing.T) {
	base, adapter := smallModel(t), smallAdapter(t)
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o666))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(base, link))
	quantised := writeDir(t, `{"model_type":"llama","quantization_config":{"load_in_4bit":true}}`, f32(q+".weight", []int{3, 4}))
	output := filepath.Join(t.TempDir(), "merged")
	tests := []struct {
		name string
		opts MergeOptions
		want error
	}{
		{"nothing", MergeOptions{}, errOption},
		{"dtype", MergeOptions{Base: base, Adapter: adapter, Output: output, Dtype: "bf16"}, errOption},
		{"shard size", MergeOptions{Base: base, Adapter: adapter, Output: output, MaxShardSize: -1}, errOption},
		{"output is full", MergeOptions{Base: base, Adapter: adapter, Output: full}, errOutput},
		{"output is a file", MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(full, "x")}, errOutput},
		{"output in base", MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(base, "a", "b")}, errOutput},
		{"output in base by a link", MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(link, "merged")}, errOutput},
		{"output in adapter", MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(adapter, "merged")}, errOutput},
		{"no base", MergeOptions{Base: full, Adapter: adapter, Output: output}, os.ErrNotExist},
		{"no adapter", MergeOptions{Base: base, Adapter: full, Output: output}, errNoAdapter},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Merge(t.Context(), test.opts)
			require.ErrorIs(t, err, test.want)
			require.NoDirExists(t, output)
			require.Equal(t, []string{"config.json", "model.safetensors"}, names(t, base))
		})
	}
	for dir, want := range map[string]string{quantised: "quantization_config", writeDir(t, `[]`, f32(q+".weight", []int{3, 4})): "the file holds a JSON array, want an object"} {
		_, err := Merge(t.Context(), MergeOptions{Base: dir, Adapter: adapter, Output: output})
		require.ErrorContains(t, err, want, "what loading refuses")
		require.NoDirExists(t, output)
	}
	empty := t.TempDir()
	_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: empty})
	require.NoError(t, err, "an empty directory may be there")
}

func TestMergeWarnsOfAnotherBase(t *testing.T) {
	for _, row := range []struct {
		base, name string
		want       bool
	}{
		{"models/salamandra-2b", "BSC-LT/salamandra-2b", true},
		{"models/salamandra-2b/", "models/salamandra-2b", true},
		{"hub/models--BSC-LT--salamandra-2b/snapshots/0123", "BSC-LT/salamandra-2b", true},
		{"models/salamandra-2b-instructed", "BSC-LT/salamandra-2b", false},
		{"hub/models--BSC-LT--salamandra-2b-instructed/snapshots/0123", "BSC-LT/salamandra-2b", false},
	} {
		require.Equal(t, row.want, namesBase(row.base, row.name), "%s for %s", row.base, row.name)
	}
	adapter := writeAdapter(t, `,"base_model_name_or_path":"BSC-LT/salamandra-2b"`, f32(qA, []int{2, 4}, 1, 1, 1, 1, 1, 1, 1, 1), f32(qB, []int{3, 2}, 1, 1, 1, 1, 1, 1))
	report, err := Merge(t.Context(), MergeOptions{Base: smallModel(t), Adapter: adapter, Output: filepath.Join(t.TempDir(), "merged")})
	require.NoError(t, err)
	require.Len(t, report.Warnings, 1)
	require.Contains(t, report.Warnings[0], "BSC-LT/salamandra-2b")
}

// BenchmarkMerge merges one layer of the size of the 2B model's down
// projection; bytes are those of the weight.
func BenchmarkMerge(b *testing.B) {
	const in, out = 5440, 2048
	rng := rand.New(rand.NewPCG(1, 0))
	random := func(n int, scale float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64() * scale)
		}
		return v
	}
	base := writeModel(b, fmt.Sprintf(`{"hidden_size": %d, "intermediate_size": %d}`, in, out), tensor{q + ".weight", safetensors.BF16, []int{out, in}, random(out*in, 0.02)})
	for _, rank := range []int{8, 16, 64} {
		b.Run(fmt.Sprintf("r=%d", rank), func(b *testing.B) {
			a := Adapter{
				Config:  Config{Rank: rank, Alpha: 16, TargetModules: []string{"gate_proj"}},
				Modules: []Module{{Name: q, In: in, Out: out, Rank: rank, A: random(rank*in, 0.02), B: random(out*rank, 0.02)}},
			}
			adapter := b.TempDir()
			require.NoError(b, a.Write(adapter))
			output := filepath.Join(b.TempDir(), "merged")
			b.SetBytes(2 * in * out)
			b.ReportAllocs()
			for b.Loop() {
				_, err := Merge(b.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output})
				require.NoError(b, err)
				require.NoError(b, os.RemoveAll(output))
			}
		})
	}
}
