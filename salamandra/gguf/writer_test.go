package gguf

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// small describes testdata/small.gguf, as its script does.
func small() (metadata []kv, tensors []tensor, values []float32) {
	metadata = []kv{
		{"general.architecture", "llama"}, {"a.bool", true}, {"a.int32", int32(-5)}, {"a.uint32", uint32(4000000000)}, {"a.uint64", uint64(1 << 40)},
		{"a.float32", float32(0.1)}, {"a.string", "▁olá"}, {"a.ints", []int32{1, -2, 3}}, {"a.floats", []float32{0.5, -1.5}}, {"a.strings", []string{"", "x", "▁y"}},
	}
	tensors = []tensor{
		{"vector", typeF32, []int{64}}, {"f32", typeF32, []int{3, 64}}, {"odd", typeF32, []int{33}},
		{"f16", typeF16, []int{3, 64}}, {"bf16", typeBF16, []int{3, 64}}, {"q8_0", typeQ8, []int{3, 64}},
	}
	values = make([]float32, 3*64)
	for i := range values {
		values[i] = float32((i*i*37+i*11)%1009-504) / 64
	}
	for i := range 32 {
		values[i], values[32+i] = 0, float32(i)-15.5
	}
	values[32] = 127
	return metadata, tensors, values
}

// The file is byte for byte what the reference implementation writes.
func TestFileEqualsReference(t *testing.T) {
	metadata, tensors, values := small()
	path := filepath.Join(t.TempDir(), "small.gguf")
	w, err := create(path, metadata, tensors)
	require.NoError(t, err)
	defer w.Abort()
	for _, x := range tensors {
		source := values
		switch x.Name {
		case "vector":
			source = values[128:]
		case "odd":
			source = values[:33]
		}
		data := make([]byte, x.numBytes())
		require.NoError(t, x.Type.encode(data, source))
		require.True(t, x.Type.finite(data))
		for chunk := range slices.Chunk(data, 50) {
			require.NoError(t, w.Write(x.Name, chunk))
		}
	}
	require.NoFileExists(t, path, "not before it is complete")
	require.NoError(t, w.Commit())
	want, err := os.ReadFile("testdata/small.gguf")
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestCreateRefuses(t *testing.T) {
	for _, row := range []struct {
		name     string
		metadata []kv
		tensors  []tensor
		want     []string
	}{
		{name: "value without a type", metadata: []kv{{"a", 1}, {"b", []bool{true}}}, want: []string{"a: a value of this kind", "also b"}},
		{name: "key twice", metadata: []kv{{"a", true}, {"a", true}}, want: []string{"a: there twice"}},
		{name: "tensor twice", tensors: []tensor{{"x", typeF32, []int{1}}, {"x", typeF32, []int{1}}}, want: []string{"x: there twice"}},
		{name: "shapes", tensors: []tensor{{"x", typeF32, nil}, {"y", typeF32, []int{0}}, {"z", typeF32, []int{1, 1, 1, 1, 1}}}, want: []string{"x: shape []", "y: shape [0]", "z: shape [1 1 1 1 1]"}},
		{name: "types", tensors: []tensor{{"x", typeQ8, []int{2, 33}}, {"y", 7, []int{1}}}, want: []string{"x: rows of 33 values", "y: rows of 1 values"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := create(filepath.Join(dir, "x.gguf"), row.metadata, row.tensors)
			require.ErrorIs(t, err, errValue)
			for _, part := range row.want {
				require.ErrorContains(t, err, part)
			}
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

func TestWriterMisuse(t *testing.T) {
	dir := t.TempDir()
	w, err := create(filepath.Join(dir, "x.gguf"), nil, []tensor{{"a", typeF16, []int{2}}, {"b", typeF32, []int{1}}})
	require.NoError(t, err)
	require.ErrorIs(t, w.Write("b", nil), errOrder)
	require.ErrorIs(t, w.Write("a", make([]byte, 5)), errValue)
	require.NoError(t, w.Write("a", make([]byte, 4)))
	require.ErrorIs(t, w.Write("a", make([]byte, 4)), errOrder)
	require.ErrorIs(t, w.Commit(), errIncomplete)
	require.NoError(t, w.Write("b", make([]byte, 4)))
	require.ErrorIs(t, w.Write("b", make([]byte, 4)), errOrder)
	require.NoError(t, w.Abort())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestParseType(t *testing.T) {
	for name, want := range map[string]elementType{"": typeF32, "f32": typeF32, "F16": typeF16, "bf16": typeBF16, "Q8_0": typeQ8} {
		got, err := parseType(name)
		require.NoError(t, err)
		require.Equal(t, want, got)
		again, err := parseType(got.String())
		require.NoError(t, err)
		require.Equal(t, want, again)
	}
	_, err := parseType("q4_0")
	require.ErrorIs(t, err, errUnsupported)
	require.Equal(t, "type(7)", elementType(7).String())
}

// Quantised values are within half a step, and what does not fit is seen.
func TestEncode(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, row := range []struct {
		name  string
		to    elementType
		value float32
		want  bool
	}{
		{"f32", typeF32, math.MaxFloat32, true}, {"f32 infinity", typeF32, inf, false}, {"f32 NaN", typeF32, float32(math.NaN()), false},
		{"f16", typeF16, 65504, true}, {"f16 too large", typeF16, 1e5, false},
		{"bf16", typeBF16, 1e38, true}, {"bf16 infinity", typeBF16, -inf, false},
		{"q8_0", typeQ8, 1e6, true}, {"q8_0 too large", typeQ8, 1e7, false}, {"q8_0 infinity", typeQ8, inf, false},
	} {
		values := make([]float32, 64)
		values[40] = row.value
		data := make([]byte, row.to.rowBytes(64))
		require.NoError(t, row.to.encode(data, values))
		require.Equal(t, row.want, row.to.finite(data), row.name)
	}
}
