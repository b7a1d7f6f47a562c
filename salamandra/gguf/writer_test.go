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
func small() (metadata []KV, tensors []Tensor, values []float32) {
	metadata = []KV{
		{"general.architecture", "llama"}, {"a.bool", true}, {"a.int32", int32(-5)}, {"a.uint32", uint32(4000000000)}, {"a.uint64", uint64(1 << 40)},
		{"a.float32", float32(0.1)}, {"a.string", "▁olá"}, {"a.ints", []int32{1, -2, 3}}, {"a.floats", []float32{0.5, -1.5}}, {"a.strings", []string{"", "x", "▁y"}},
	}
	tensors = []Tensor{
		{"vector", F32, []int{64}}, {"f32", F32, []int{3, 64}}, {"odd", F32, []int{33}},
		{"f16", F16, []int{3, 64}}, {"bf16", BF16, []int{3, 64}}, {"q8_0", Q8_0, []int{3, 64}},
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
	w, err := Create(path, metadata, tensors)
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
		data := make([]byte, x.NumBytes())
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
		metadata []KV
		tensors  []Tensor
		faults   int
	}{
		{name: "value without a type", metadata: []KV{{"a", 1}, {"b", []bool{true}}}, faults: 2},
		{name: "key twice", metadata: []KV{{"a", true}, {"a", true}}, faults: 1},
		{name: "tensor twice", tensors: []Tensor{{"x", F32, []int{1}}, {"x", F32, []int{1}}}, faults: 1},
		{name: "shapes", tensors: []Tensor{{"x", F32, nil}, {"y", F32, []int{0}}, {"z", F32, []int{1, 1, 1, 1, 1}}}, faults: 3},
		{name: "types", tensors: []Tensor{{"x", Q8_0, []int{2, 33}}, {"y", 7, []int{1}}}, faults: 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Create(filepath.Join(dir, "x.gguf"), row.metadata, row.tensors)
			require.ErrorIs(t, err, ErrValue)
			require.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), row.faults)
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

func TestWriterMisuse(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(filepath.Join(dir, "x.gguf"), nil, []Tensor{{"a", F16, []int{2}}, {"b", F32, []int{1}}})
	require.NoError(t, err)
	require.ErrorIs(t, w.Write("b", nil), ErrOrder)
	require.ErrorIs(t, w.Write("a", make([]byte, 5)), ErrValue)
	require.NoError(t, w.Write("a", make([]byte, 4)))
	require.ErrorIs(t, w.Write("a", make([]byte, 4)), ErrOrder)
	require.ErrorIs(t, w.Commit(), ErrIncomplete)
	require.NoError(t, w.Write("b", make([]byte, 4)))
	require.ErrorIs(t, w.Write("b", make([]byte, 4)), ErrOrder)
	require.NoError(t, w.Abort())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestParseType(t *testing.T) {
	for name, want := range map[string]Type{"f32": F32, "F16": F16, "bf16": BF16, "Q8_0": Q8_0} {
		got, err := ParseType(name)
		require.NoError(t, err)
		require.Equal(t, want, got)
		again, err := ParseType(got.String())
		require.NoError(t, err)
		require.Equal(t, want, again)
	}
	_, err := ParseType("q4_0")
	require.ErrorIs(t, err, ErrUnsupported)
	require.Equal(t, "type(7)", Type(7).String())
}

// Quantised values are within half a step, and what does not fit is seen.
func TestEncode(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, row := range []struct {
		name  string
		to    Type
		value float32
		want  bool
	}{
		{"f32", F32, math.MaxFloat32, true}, {"f32 infinity", F32, inf, false}, {"f32 NaN", F32, float32(math.NaN()), false},
		{"f16", F16, 65504, true}, {"f16 too large", F16, 1e5, false},
		{"bf16", BF16, 1e38, true}, {"bf16 infinity", BF16, -inf, false},
		{"q8_0", Q8_0, 1e6, true}, {"q8_0 too large", Q8_0, 1e7, false}, {"q8_0 infinity", Q8_0, inf, false},
	} {
		values := make([]float32, 64)
		values[40] = row.value
		data := make([]byte, row.to.RowBytes(64))
		require.NoError(t, row.to.encode(data, values))
		require.Equal(t, row.want, row.to.finite(data), row.name)
	}
}
