package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// everyDtype was written by the reference implementation.
const everyDtype = "testdata/every_dtype.safetensors"

// fileOf returns a file with this header and size bytes of data.
func fileOf(header string, size int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	return append(b, make([]byte, size)...)
}

// writeTemp stores b in a new file and returns its path.
func writeTemp(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	require.NoError(t, os.WriteFile(path, b, 0o666))
	return path
}

func TestOpenRefuses(t *testing.T) {
	const good = `{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`
	require.NoError(t, openBytes(t, fileOf(good, 2)), "the rows differ from this file")
	tests := []struct {
		name   string
		file   []byte
		want   []error
		reason string
	}{
		{"empty", nil, []error{errTruncated}, "no room for the length"},
		{"short length", []byte{1, 2, 3}, []error{errTruncated}, "no room for the length"},
		{"header of 0", make([]byte, 8), []error{errHeaderSize}, "an object has two bytes at least"},
		{"huge header", binary.LittleEndian.AppendUint64(nil, 1<<63), []error{errHeaderSize}, "the length is checked before memory is taken"},
		{"header past the end", fileOf(good, 0)[:20], []error{errTruncated}, "the length lies"},
		{"no object", fileOf(`[]`, 0), []error{errHeader}, "a header is an object"},
		{"space first", fileOf(` {}`, 0), []error{errHeader}, "padding comes last"},
		{"cut JSON", fileOf(`{"a":`, 0), []error{errHeader}, "not JSON"},
		{"two values", fileOf(`{}{}`, 0), []error{errHeader}, "one object only"},
		{"not UTF-8", fileOf("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0), []error{errHeader}, "names are text"},
		{"tensor is a number", fileOf(`{"a":1}`, 0), []error{errHeader}, "a tensor is an object"},
		{"dtype missing", fileOf(`{"a":{"shape":[2],"data_offsets":[0,2]}}`, 2), []error{errHeader}, "three keys are needed"},
		{"unknown key", fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}}`, 2), []error{errHeader}, "the format has three keys"},
		{"key in capitals", fileOf(`{"a":{"DTYPE":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), []error{errHeader}, "keys are case-sensitive"},
		{"tensor twice", fileOf(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), []error{errDuplicate}, "readers would differ in which they take"},
		{"tensor twice, escaped", fileOf(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), []error{errDuplicate}, "names are compared after unescaping"},
		{"shape twice", fileOf(`{"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}}`, 2), []error{errDuplicate}, "readers would differ in which they take"},
		{"unknown dtype", fileOf(`{"a":{"dtype":"F128","shape":[2],"data_offsets":[0,2]}}`, 2), []error{errDtype}, "its size is not known"},
		{"dtype is null", fileOf(`{"a":{"dtype":null,"shape":[2],"data_offsets":[0,2]}}`, 2), []error{errDtype}, "null is not a default"},
		{"negative shape", fileOf(`{"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}}`, 2), []error{errShape}, "dimensions count"},
		{"fractional shape", fileOf(`{"a":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}}`, 2), []error{errShape}, "dimensions count"},
		{"null in shape", fileOf(`{"a":{"dtype":"U8","shape":[null],"data_offsets":[0,0]}}`, 0), []error{errShape}, "null is not 0"},
		{"shape is null", fileOf(`{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, 1), []error{errShape}, "null is not []"},
		{"nested shape", fileOf(`{"a":{"dtype":"U8","shape":[[2]],"data_offsets":[0,2]}}`, 2), []error{errShape}, "one level"},
		{"dimension overflows", fileOf(`{"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,2]}}`, 2), []error{errOverflow}, "beyond 64 bits"},
		{"product overflows", fileOf(`{"a":{"dtype":"U8","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,2]}}`, 2), []error{errOverflow}, "2^96 would wrap to 0"},
		{"bytes overflow", fileOf(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0), []error{errOverflow}, "2^61 elements of 8 would wrap to 0"},
		{"one offset", fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0]}}`, 2), []error{errOffsets}, "begin and end"},
		{"offsets reversed", fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}`, 2), []error{errOffsets}, "end before begin"},
		{"negative offset", fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[-2,0]}}`, 2), []error{errOffsets}, "would reach into the header"},
		{"size and shape differ", fileOf(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}}`, 2), []error{errSize}, "3 elements in 2 bytes"},
		{"part of an element", fileOf(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}}`, 3), []error{errSize}, "an F32 has 4 bytes"},
		{"data cut", fileOf(good, 1), []error{errTruncated}, "one byte is missing"},
		{"data left over", fileOf(good, 3), []error{errHole}, "another format could hide there"},
		{"data without tensors", fileOf(`{}`, 3), []error{errHole}, "another format could hide there"},
		{"hole", fileOf(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), []error{errHole}, "byte 1"},
		{"hole at the start", fileOf(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), []error{errHole}, "byte 0"},
		{"overlap", fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), []error{errOverlap}, "byte 1"},
		{"shared", fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), []error{errOverlap}, "both bytes"},
		{"metadata is a number", fileOf(`{"__metadata__":{"a":1}}`, 0), []error{errMetadata}, "text to text"},
		{"metadata is null", fileOf(`{"__metadata__":null}`, 0), []error{errHeader}, "an object or absent"},
		{"all at once", fileOf(`{"a":{"dtype":"F128","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,2]},"c":{"dtype":"U8","shape":[1],"data_offsets":[3,2]}}`, 2),
			[]error{errDtype, errSize, errOffsets}, "one run, one fix"},
		{"layout, all at once", fileOf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"c":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}}`, 4),
			[]error{errOverlap, errHole, errTruncated}, "one run, one fix"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := openBytes(t, test.file)
			for _, want := range test.want {
				require.ErrorIs(t, err, want, test.reason)
			}
			require.ErrorContains(t, err, "x.safetensors", "the error says where")
		})
	}
}

// openBytes opens a file of these bytes and returns the error.
func openBytes(t *testing.T, b []byte) error {
	t.Helper()
	return openOnly(writeTemp(t, b))
}

func TestOpenBoundsItsError(t *testing.T) {
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, `,"t%d":{"dtype":"?","shape":[],"data_offsets":[0,0]}`, i)
	}
	err := openBytes(t, fileOf("{"+b.String()[1:]+"}", 0))
	require.ErrorIs(t, err, errDtype)
	require.ErrorContains(t, err, `x.safetensors: t0: unknown dtype "?"; also t1, t2 and 497 more`)
}

func TestOpenEveryDtype(t *testing.T) {
	for _, mapping := range []bool{true, false} {
		t.Run(fmt.Sprintf("mapping=%v", mapping), func(t *testing.T) {
			f, err := open(everyDtype, mapping)
			require.NoError(t, err)
			require.Equal(t, mapping, f.files[0].mapped != nil)
			require.Equal(t, []string{everyDtype}, f.Paths())
			require.Equal(t, map[string]string{"format": "pt"}, f.files[0].metadata)

			var names []string
			for _, info := range f.Tensors() {
				names = append(names, info.Name)
				data, err := f.Bytes(info.Name)
				require.NoError(t, err)
				require.Len(t, data, info.NumBytes())
			}
			want := []string{"bf16", "bool", "empty", "f16", "f32", "f64", "f8_e4m3", "f8_e5m2",
				"i16", "i32", "i64", "i8", `name "quoted" <ü>`, "scalar", "u16", "u32", "u64", "u8"}
			require.Empty(t, cmp.Diff(want, names))

			info, ok := f.Info("bf16")
			require.True(t, ok)
			require.Empty(t, cmp.Diff(Info{Name: "bf16", Dtype: BF16, Shape: []int{2, 4}}, info))
			require.Equal(t, 8, info.NumElements())
			i32, err := f.Bytes("i32")
			require.NoError(t, err)
			require.Equal(t, []byte{0, 0, 0, 0, 1, 0, 0, 0, 127, 0, 0, 0}, i32)

			_, ok = f.Info("absent")
			require.False(t, ok)
			_, err = f.Bytes("absent")
			require.ErrorIs(t, err, errNotFound)
			require.NoError(t, f.Close())
			require.NoError(t, f.Close(), "a second Close does nothing")
			_, err = f.Bytes("bf16")
			require.ErrorIs(t, err, errClosed)
		})
	}
}

func TestInfoWithoutSize(t *testing.T) {
	for name, info := range map[string]Info{
		"dtype":    {Dtype: "?", Shape: []int{1}},
		"negative": {Dtype: F32, Shape: []int{-1}},
		"overflow": {Dtype: F32, Shape: []int{math.MaxInt, 2}},
	} {
		require.Equal(t, -1, info.NumBytes(), name)
		require.Equal(t, -1, info.NumElements(), name)
	}
	require.Zero(t, Info{Dtype: F32, Shape: []int{math.MaxInt, math.MaxInt, 0}}.NumBytes(), "no elements, whatever the other dimensions")
	require.Zero(t, Dtype("?").Size())
}

// Released pages are read again when they are used.
func TestRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	info := Info{Name: "x", Dtype: "U8", Shape: []int{100_000}}
	data := bytes.Repeat([]byte("released"), 100_000/8)
	w, err := Create(path, []Info{info}, nil)
	require.NoError(t, err)
	defer w.Abort()
	require.NoError(t, w.Write("x", data))
	require.NoError(t, w.Commit())
	for _, mapping := range []bool{true, false} {
		f, err := open(path, mapping)
		require.NoError(t, err)
		got, err := f.Bytes("x")
		require.NoError(t, err)
		f.Release("x")
		f.Release("no such tensor")
		require.Equal(t, data, got)
		require.NoError(t, f.Close())
		f.Release("x")
	}
}
