package gguf

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// reference returns a model directory that Transformers made.
func reference(name string) string {
	return filepath.Join("..", "testdata", "reference", "models", name)
}

// parsed is a GGUF file taken apart.
type parsed struct {
	metadata map[string]any
	tensors  map[string]tensor
	data     map[string][]byte
}

// parser reads what appendValue and formatHead write.
type parser struct {
	b  []byte
	at int
}

func (p *parser) u32() uint32 { p.at += 4; return binary.LittleEndian.Uint32(p.b[p.at-4:]) }
func (p *parser) u64() uint64 { p.at += 8; return binary.LittleEndian.Uint64(p.b[p.at-8:]) }
func (p *parser) text() string {
	n := int(p.u64())
	p.at += n
	return string(p.b[p.at-n : p.at])
}

func (p *parser) value(code uint32) any {
	switch code {
	case codeUint32:
		return p.u32()
	case codeInt32:
		return int32(p.u32())
	case codeFloat32:
		return math.Float32frombits(p.u32())
	case codeBool:
		p.at++
		return p.b[p.at-1] == 1
	case codeString:
		return p.text()
	case codeArray:
		code, n := p.u32(), p.u64()
		var list []any
		for range n {
			list = append(list, p.value(code))
		}
		return list
	}
	panic(fmt.Sprint("code ", code))
}

func parse(t *testing.T, path string) parsed {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	p := &parser{b: b, at: 4}
	require.Equal(t, "GGUF", string(b[:4]))
	require.Equal(t, uint32(version), p.u32())
	tensors, entries := p.u64(), p.u64()
	f := parsed{map[string]any{}, map[string]tensor{}, map[string][]byte{}}
	for range entries {
		key := p.text()
		f.metadata[key] = p.value(p.u32())
	}
	offsets := map[string]int{}
	for range tensors {
		x := tensor{Name: p.text()}
		for range p.u32() {
			x.Shape = append([]int{int(p.u64())}, x.Shape...)
		}
		x.Type = elementType(p.u32())
		f.tensors[x.Name] = x
		offsets[x.Name] = int(p.u64())
	}
	for name, x := range f.tensors {
		begin := aligned(p.at) + offsets[name]
		f.data[name] = b[begin : begin+x.numBytes()]
	}
	return f
}

// floats returns the values of a tensor.
func (f parsed) floats(t *testing.T, name string) []float32 {
	t.Helper()
	x := f.tensors[name]
	n := 1
	for _, d := range x.Shape {
		n *= d
	}
	values := make([]float32, n)
	if x.Type != typeQ8 {
		require.NoError(t, safetensors.DecodeFloat32(values, f.data[name], types[x.Type.index()].dtype))
		return values
	}
	scale := make([]float32, 1)
	for i := range values {
		block := f.data[name][i/blockSize*blockBytes:]
		require.NoError(t, safetensors.DecodeFloat32(scale, block[:2], safetensors.F16))
		values[i] = scale[0] * float32(int8(block[2+i%blockSize]))
	}
	return values
}

// source returns the values of a tensor in safetensors.
func source(t *testing.T, m interface {
	Info(string) (safetensors.Info, bool)
	Bytes(string) ([]byte, error)
}, name string) []float32 {
	t.Helper()
	info, ok := m.Info(name)
	require.True(t, ok, name)
	data, err := m.Bytes(name)
	require.NoError(t, err)
	values := make([]float32, info.NumElements())
	require.NoError(t, safetensors.DecodeFloat32(values, data, info.Dtype))
	return values
}

// rotated puts rows into the order of llama.cpp by its definition: the two
// halves of each head alternate.
func rotated(values []float32, rows, heads int) []float32 {
	if heads == 0 {
		return values
	}
	width, dim := len(values)/rows, rows/heads
	var out []float32
	for head := range heads {
		for j := range dim / 2 {
			for _, half := range []int{0, dim / 2} {
				row := head*dim + half + j
				out = append(out, values[row*width:(row+1)*width]...)
			}
		}
	}
	return out
}

// Every tensor is that of the model, at the precision of its format.
func TestExportModel(t *testing.T) {
	dir := os.Getenv("GGUF_EXPORT_DIR") // for testdata/check_export.py
	if dir == "" {
		dir = t.TempDir()
	}
	tolerance := map[elementType]float64{typeF32: 0, typeF16: 0x1p-11, typeBF16: 0x1p-8, typeQ8: 1. / 127}
	for _, name := range []string{"tiny-gqa", "tiny-mha"} {
		model, err := safetensors.OpenModel(reference(name))
		require.NoError(t, err)
		defer model.Close()
		c, err := llama.ReadConfig(reference(name))
		require.NoError(t, err)
		for to, allowed := range tolerance {
			t.Run(fmt.Sprintf("%s-%v", name, to), func(t *testing.T) {
				output := filepath.Join(dir, fmt.Sprintf("%s-%v.gguf", name, to))
				calls := 0
				report, err := ExportModel(t.Context(), ModelOptions{Model: reference(name), Output: output, Type: to.String(), Progress: func(_ string, done, total int64) {
					calls++
					require.EqualValues(t, calls, done)
				}})
				require.NoError(t, err)
				require.Equal(t, len(model.Tensors()), report.Tensors)
				require.Equal(t, report.Tensors, calls)
				require.Len(t, report.Warnings, 1)
				require.Contains(t, report.Warnings[0], "NFC")

				f := parse(t, output)
				require.Len(t, f.tensors, report.Tensors)
				for _, w := range layout(c) {
					want := rotated(source(t, model, w.source), w.shape[0], w.heads)
					got := f.floats(t, w.name)
					largest := slices.Max(want)
					require.InDeltaSlice(t, want, got, allowed*float64(max(largest, -slices.Min(want))), w.name)
					require.Equal(t, w.shape, f.tensors[w.name].Shape)
				}
				require.Equal(t, typeF32, f.tensors["output_norm.weight"].Type, "vectors keep their precision")
				if name == "tiny-gqa" && to == typeQ8 {
					require.Equal(t, typeQ8, f.tensors["blk.0.ffn_gate.weight"].Type)
					require.Equal(t, typeF16, f.tensors["blk.0.ffn_down.weight"].Type, "rows of 172")
				}
			})
		}
	}
}

func TestExportMetadata(t *testing.T) {
	output := filepath.Join(t.TempDir(), "x.gguf")
	_, err := ExportModel(t.Context(), ModelOptions{Model: reference("tiny-gqa"), Output: output, Type: "q8_0"})
	require.NoError(t, err)
	f := parse(t, output)
	arrays := map[string][]any{}
	for _, key := range []string{"tokens", "scores", "token_type"} {
		arrays[key] = f.metadata["tokenizer.ggml."+key].([]any)
		require.Len(t, arrays[key], 2048)
		delete(f.metadata, "tokenizer.ggml."+key)
	}
	require.Contains(t, f.metadata["tokenizer.chat_template"], "<|im_start|>assistant")
	delete(f.metadata, "tokenizer.chat_template")
	require.Equal(t, map[string]any{
		"general.architecture": "llama", "general.type": "model", "general.name": "tiny-gqa", "general.file_type": uint32(7), "general.quantization_version": uint32(2),
		"llama.block_count": uint32(4), "llama.context_length": uint32(8192), "llama.embedding_length": uint32(64), "llama.feed_forward_length": uint32(172),
		"llama.attention.head_count": uint32(8), "llama.attention.head_count_kv": uint32(2), "llama.attention.key_length": uint32(8), "llama.attention.value_length": uint32(8),
		"llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.rope.dimension_count": uint32(8), "llama.rope.freq_base": float32(10000), "llama.vocab_size": uint32(2048),
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.add_eos_token": false, "tokenizer.ggml.add_space_prefix": false,
		"tokenizer.ggml.bos_token_id": uint32(1), "tokenizer.ggml.eos_token_id": uint32(2), "tokenizer.ggml.unknown_token_id": uint32(0), "tokenizer.ggml.padding_token_id": uint32(3),
	}, f.metadata)
	for content, kind := range map[string]int32{"<unk>": kindUnknown, "<s>": kindControl, "<|im_end|>": kindControl, "<0x0A>": kindByte, "▁": kindNormal} {
		id := slices.Index(arrays["tokens"], any(content))
		require.GreaterOrEqual(t, id, 0, content)
		require.Equal(t, kind, arrays["token_type"][id], content)
	}
}

// An adapter's product is the model's update, its rows in llama.cpp's order.
func TestExportAdapter(t *testing.T) {
	c, err := llama.ReadConfig(reference("tiny-gqa"))
	require.NoError(t, err)
	for name, alpha := range map[string]float64{"adapter-lora": 16, "adapter-rslora": 16 * math.Sqrt(8)} {
		adapter := filepath.Join(reference("tiny-gqa"), "golden", name)
		file, err := safetensors.Open(filepath.Join(adapter, "adapter_model.safetensors"))
		require.NoError(t, err)
		defer file.Close()
		output := filepath.Join(t.TempDir(), "x.gguf")
		report, err := ExportAdapter(t.Context(), AdapterOptions{Adapter: adapter, Model: reference("tiny-gqa"), Output: output})
		require.NoError(t, err)
		require.Equal(t, len(file.Tensors()), report.Tensors)
		f := parse(t, output)
		require.Equal(t, map[string]any{
			"general.architecture": "llama", "general.type": "adapter", "general.name": name, "general.file_type": uint32(0),
			"adapter.type": "lora", "adapter.lora.alpha": float32(alpha),
		}, f.metadata)
		seen := 0
		for _, w := range layout(c) {
			module := "base_model.model." + strings.TrimSuffix(w.source, ".weight")
			if _, ok := file.Info(module + ".lora_A.weight"); !ok {
				continue
			}
			seen += 2
			require.Equal(t, source(t, file, module+".lora_A.weight"), f.floats(t, w.name+".lora_a"))
			require.Equal(t, rotated(source(t, file, module+".lora_B.weight"), w.shape[0], w.heads), f.floats(t, w.name+".lora_b"))
		}
		require.Equal(t, report.Tensors, seen)
	}
}

// TestExportAdapterFoldsPatterns: with one rank and alpha for all modules the file
// holds the update of an adapter that has several.
func TestExportAdapterFoldsPatterns(t *testing.T) {
	dir := filepath.Join(reference("tiny-gqa"), "golden", "adapter-patterns")
	c, err := llama.ReadConfig(reference("tiny-gqa"))
	require.NoError(t, err)
	adapter, err := lora.ReadAdapter(dir)
	require.NoError(t, err)
	output := filepath.Join(t.TempDir(), "x.gguf")
	_, err = ExportAdapter(t.Context(), AdapterOptions{Adapter: dir, Model: reference("tiny-gqa"), Output: output})
	require.NoError(t, err)
	f := parse(t, output)
	modules := map[string]lora.Module{}
	ranks := map[int]bool{}
	for _, m := range adapter.Modules {
		modules[m.Name], ranks[m.Rank] = m, true
	}
	require.Greater(t, len(ranks), 1, "the adapter has patterns")
	alpha := float64(f.metadata["adapter.lora.alpha"].(float32))
	for _, w := range layout(c) {
		m, ok := modules[strings.TrimSuffix(w.source, ".weight")]
		if !ok {
			continue
		}
		a, b := f.floats(t, w.name+".lora_a"), f.floats(t, w.name+".lora_b")
		rank := len(a) / m.In
		want := rotated(m.B, m.Out, w.heads)
		for i := range m.Out {
			for j := range m.In {
				var got, sum float64
				for r := range rank {
					got += float64(b[i*rank+r]) * float64(a[r*m.In+j])
				}
				for r := range m.Rank {
					sum += float64(want[i*m.Rank+r]) * float64(m.A[r*m.In+j])
				}
				require.InDelta(t, sum*adapter.Config.ScaleOf(m.Name), got*alpha/float64(rank), 1e-6, w.name)
			}
		}
	}
}

// change copies a model's small files into a new directory, with some keys of
// one JSON file set, and links the weights.
func change(t *testing.T, dir, file string, keys map[string]any) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		require.NoError(t, err)
		if entry.Name() == file {
			content := map[string]any{}
			require.NoError(t, json.Unmarshal(data, &content))
			maps.Copy(content, keys)
			data, err = json.Marshal(content)
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(filepath.Join(to, entry.Name()), data, 0o666))
	}
	return to
}

func TestExportModelRefuses(t *testing.T) {
	list := func(x ...any) []any { return x }
	for _, row := range []struct {
		name, file string
		keys       map[string]any
		want       error
		text       string // in the error
	}{
		{"another architecture", "config.json", map[string]any{"model_type": "gemma"}, nil, "gemma"},
		{"scaled positions", "config.json", map[string]any{"rope_parameters": map[string]any{"rope_type": "yarn", "factor": 2}}, nil, "yarn"},
		{"old spelling", "config.json", map[string]any{"rope_parameters": nil, "rope_scaling": map[string]any{"type": "dynamic"}}, nil, "dynamic"},
		{"biases", "config.json", map[string]any{"attention_bias": true, "mlp_bias": true}, nil, "mlp_bias"},
		{"activation", "config.json", map[string]any{"hidden_act": "gelu"}, nil, "gelu"},
		{"quantised", "config.json", map[string]any{"quantization_config": map[string]any{"bits": 4}}, nil, "quantised"},
		{"no layers", "config.json", map[string]any{"num_hidden_layers": 0}, nil, "num_hidden_layers"},
		{"another width", "config.json", map[string]any{"intermediate_size": 170}, nil, "mlp.gate_proj.weight: is [172 64], want [170 64]"},
		{"fewer layers", "config.json", map[string]any{"num_hidden_layers": 3}, nil, ": left over: config.json asks for no such tensor; also model.layers.3."},
		{"text for a number", "config.json", map[string]any{"hidden_size": "64"}, nil, "hidden_size"},
		{"smaller vocabulary", "config.json", map[string]any{"vocab_size": 2000}, nil, "model.embed_tokens.weight: is [2048 64], want [2000 64]"},
		{"bytes", "tokenizer.json", map[string]any{"pre_tokenizer": map[string]any{"type": "ByteLevel"}}, errUnsupported, "ByteLevel"},
		{"lower case", "tokenizer.json", map[string]any{"normalizer": map[string]any{"type": "Lowercase"}}, errUnsupported, "Lowercase"},
		{"another model", "tokenizer.json", map[string]any{"model": map[string]any{"type": "Unigram", "vocab": map[string]int{}, "merges": []any{}}}, errUnsupported, "Unigram"},
		{"no template", "tokenizer_config.json", map[string]any{"chat_template": 5}, errFile, "chat_template"},
		{"a token that is none", "tokenizer_config.json", map[string]any{"bos_token": list(1)}, errFile, "tokenizer_config.json"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := change(t, reference("tiny-gqa"), row.file, row.keys)
			output := filepath.Join(t.TempDir(), "x.gguf")
			_, err := ExportModel(t.Context(), ModelOptions{Model: dir, Output: output})
			if row.want != nil { // nil for what package llama refuses
				require.ErrorIs(t, err, row.want)
			}
			require.ErrorContains(t, err, row.text)
			require.NoFileExists(t, output)
		})
	}
	output := filepath.Join(t.TempDir(), "x.gguf")
	_, err := ExportModel(t.Context(), ModelOptions{Model: t.TempDir(), Output: output})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = ExportModel(t.Context(), ModelOptions{Model: reference("tiny-gqa"), Output: output, Type: "q4_0"})
	require.ErrorIs(t, err, errUnsupported)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = ExportModel(ctx, ModelOptions{Model: reference("tiny-gqa"), Output: output})
	require.ErrorIs(t, err, context.Canceled)
	entries, err := os.ReadDir(filepath.Dir(output))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestExportAdapterRefuses(t *testing.T) {
	golden := filepath.Join(reference("tiny-gqa"), "golden")
	plain := filepath.Join(golden, "adapter-lora")
	for _, row := range []struct {
		name, adapter, model string
		to                   elementType
		want                 string
	}{
		{"DoRA", filepath.Join(golden, "adapter-dora"), "tiny-gqa", typeF32, "llama.cpp does not compute DoRA"},
		{"8 bits", plain, "tiny-gqa", typeQ8, "q8_0"},
		{"another base", plain, "tiny-mha", typeF32, "an adapter of a weight [64 64], and the base's is [48 48]"},
		{"rank", change(t, plain, "adapter_config.json", map[string]any{"r": 4}), "tiny-gqa", typeF32, "tensor has the wrong shape"},
		{"no rank", change(t, plain, "adapter_config.json", map[string]any{"r": 0}), "tiny-gqa", typeF32, "r: 0, want at least 1"},
		{"another kind", change(t, plain, "adapter_config.json", map[string]any{"peft_type": "IA3", "bias": "all", "modules_to_save": []string{"x"}}), "tiny-gqa", typeF32, "peft_type"},
		{"no adapter", golden, "tiny-gqa", typeF32, "not an adapter directory"},
	} {
		t.Run(row.name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "x.gguf")
			_, err := ExportAdapter(t.Context(), AdapterOptions{Adapter: row.adapter, Model: reference(row.model), Output: output, Type: row.to.String()})
			require.ErrorContains(t, err, row.want)
			require.NoFileExists(t, output)
		})
	}
}

// TestExportKeepsWhatIsThere: nothing is overwritten.
func TestExportKeepsWhatIsThere(t *testing.T) {
	output := filepath.Join(t.TempDir(), "x.gguf")
	require.NoError(t, os.WriteFile(output, []byte("mine"), 0o666))
	_, model := ExportModel(t.Context(), ModelOptions{Model: reference("tiny-mha"), Output: output})
	_, adapter := ExportAdapter(t.Context(), AdapterOptions{Model: reference("tiny-mha"), Adapter: filepath.Join(reference("tiny-mha"), "golden", "adapter-lora"), Output: output})
	for _, err := range []error{model, adapter} {
		require.ErrorContains(t, err, output+": it is there already: remove it or choose another name")
	}
	text, err := os.ReadFile(output)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))
}

// TestExportSaysWhatLoadSays: a stored head that differs from the embedding is
// exported though config.json says tied, and the scaling of RoPE is the one that
// loading reads, in either spelling.
func TestExportSaysWhatLoadSays(t *testing.T) {
	export := func(keys map[string]any) (parsed, error) {
		output := filepath.Join(t.TempDir(), "x.gguf")
		_, err := ExportModel(t.Context(), ModelOptions{Model: change(t, reference("tiny-mha"), "config.json", keys), Output: output})
		if err != nil {
			return parsed{}, err
		}
		return parse(t, output), nil
	}
	tied, err := export(map[string]any{"tie_word_embeddings": true})
	require.NoError(t, err)
	model, err := safetensors.OpenModel(reference("tiny-mha"))
	require.NoError(t, err)
	defer model.Close()
	require.Equal(t, source(t, model, "lm_head.weight"), tied.floats(t, "output.weight"))

	type object = map[string]any
	linear := object{"type": "linear", "factor": 4.0}
	for _, keys := range []object{
		{"rope_parameters": nil, "rope_theta": 50000.0, "rope_scaling": linear},
		{"rope_parameters": object{"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0}},
		{"rope_parameters": object{"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0}, "rope_scaling": linear, "rope_theta": 50000.0},
	} {
		f, err := export(keys)
		require.NoError(t, err)
		require.Equal(t, []any{"linear", float32(4), float32(50000)},
			[]any{f.metadata["llama.rope.scaling.type"], f.metadata["llama.rope.scaling.factor"], f.metadata["llama.rope.freq_base"]})
	}
	for _, keys := range []object{
		{"rope_parameters": object{"rope_type": "default", "rope_theta": 50000.0}, "rope_scaling": linear},
		{"hidden_size": 48.5}, {"embedding_multiplier": 12.0}, {"use_alibi": true},
	} {
		_, refused := llama.ReadConfig(change(t, reference("tiny-mha"), "config.json", keys))
		_, err := export(keys)
		words := refused.Error()
		require.ErrorContains(t, err, words[strings.Index(words, "config.json"):], "the words of loading")
	}
}
