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

// file returns a file with this header and size bytes of data.
func file(header string, size int) []byte {
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
	require.NoError(t, openBytes(t, file(good, 2)), "the rows differ from this file")
	tests := []struct {
		name   string
		file   []byte
		want   []error
		reason string
	}{
		{"empty", nil, []error{ErrTruncated}, "no room for the length"},
		{"short length", []byte{1, 2, 3}, []error{ErrTruncated}, "no room for the length"},
		{"header of 0", make([]byte, 8), []error{ErrHeaderSize}, "an object has two bytes at least"},
		{"huge header", binary.LittleEndian.AppendUint64(nil, 1<<63), []error{ErrHeaderSize}, "the length is checked before memory is taken"},
		{"header past the end", file(good, 0)[:20], []error{ErrTruncated}, "the length lies"},
		{"no object", file(`[]`, 0), []error{ErrHeader}, "a header is an object"},
		{"space first", file(` {}`, 0), []error{ErrHeader}, "padding comes last"},
		{"cut JSON", file(`{"a":`, 0), []error{ErrHeader}, "not JSON"},
		{"two values", file(`{}{}`, 0), []error{ErrHeader}, "one object only"},
		{"not UTF-8", file("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0), []error{ErrHeader}, "names are text"},
		{"tensor is a number", file(`{"a":1}`, 0), []error{ErrHeader}, "a tensor is an object"},
		{"dtype missing", file(`{"a":{"shape":[2],"data_offsets":[0,2]}}`, 2), []error{ErrHeader}, "three keys are needed"},
		{"unknown key", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}}`, 2), []error{ErrHeader}, "the format has three keys"},
		{"key in capitals", file(`{"a":{"DTYPE":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), []error{ErrHeader}, "keys are case-sensitive"},
		{"tensor twice", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), []error{ErrDuplicate}, "readers would differ in which they take"},
		{"tensor twice, escaped", file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), []error{ErrDuplicate}, "names are compared after unescaping"},
		{"shape twice", file(`{"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}}`, 2), []error{ErrDuplicate}, "readers would differ in which they take"},
		{"unknown dtype", file(`{"a":{"dtype":"F128","shape":[2],"data_offsets":[0,2]}}`, 2), []error{ErrDtype}, "its size is not known"},
		{"dtype is null", file(`{"a":{"dtype":null,"shape":[2],"data_offsets":[0,2]}}`, 2), []error{ErrDtype}, "null is not a default"},
		{"negative shape", file(`{"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}}`, 2), []error{ErrShape}, "dimensions count"},
		{"fractional shape", file(`{"a":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}}`, 2), []error{ErrShape}, "dimensions count"},
		{"null in shape", file(`{"a":{"dtype":"U8","shape":[null],"data_offsets":[0,0]}}`, 0), []error{ErrShape}, "null is not 0"},
		{"shape is null", file(`{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, 1), []error{ErrShape}, "null is not []"},
		{"nested shape", file(`{"a":{"dtype":"U8","shape":[[2]],"data_offsets":[0,2]}}`, 2), []error{ErrShape}, "one level"},
		{"dimension overflows", file(`{"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,2]}}`, 2), []error{ErrOverflow}, "beyond 64 bits"},
		{"product overflows", file(`{"a":{"dtype":"U8","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,2]}}`, 2), []error{ErrOverflow}, "2^96 would wrap to 0"},
		{"bytes overflow", file(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0), []error{ErrOverflow}, "2^61 elements of 8 would wrap to 0"},
		{"one offset", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0]}}`, 2), []error{ErrOffsets}, "begin and end"},
		{"offsets reversed", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}`, 2), []error{ErrOffsets}, "end before begin"},
		{"negative offset", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[-2,0]}}`, 2), []error{ErrOffsets}, "would reach into the header"},
		{"size and shape differ", file(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}}`, 2), []error{ErrSize}, "3 elements in 2 bytes"},
		{"part of an element", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}}`, 3), []error{ErrSize}, "an F32 has 4 bytes"},
		{"data cut", file(good, 1), []error{ErrTruncated}, "one byte is missing"},
		{"data left over", file(good, 3), []error{ErrHole}, "another format could hide there"},
		{"data without tensors", file(`{}`, 3), []error{ErrHole}, "another format could hide there"},
		{"hole", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), []error{ErrHole}, "byte 1"},
		{"hole at the start", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), []error{ErrHole}, "byte 0"},
		{"overlap", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), []error{ErrOverlap}, "byte 1"},
		{"shared", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), []error{ErrOverlap}, "both bytes"},
		{"metadata is a number", file(`{"__metadata__":{"a":1}}`, 0), []error{ErrMetadata}, "text to text"},
		{"metadata is null", file(`{"__metadata__":null}`, 0), []error{ErrHeader}, "an object or absent"},
		{"all at once", file(`{"a":{"dtype":"F128","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,2]},"c":{"dtype":"U8","shape":[1],"data_offsets":[3,2]}}`, 2),
			[]error{ErrDtype, ErrSize, ErrOffsets}, "one run, one fix"},
		{"layout, all at once", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"c":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}}`, 4),
			[]error{ErrOverlap, ErrHole, ErrTruncated}, "one run, one fix"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := openBytes(t, test.file)
			for _, want := range test.want {
				require.ErrorIs(t, err, want, test.reason)
			}
			var place *Error
			require.ErrorAs(t, err, &place, "the error says where")
			require.NotEmpty(t, place.Path)
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
	for i := range 10 * maxFaults {
		fmt.Fprintf(&b, `,"t%d":{"dtype":"?","shape":[],"data_offsets":[0,0]}`, i)
	}
	err := openBytes(t, file("{"+b.String()[1:]+"}", 0))
	require.ErrorIs(t, err, ErrDtype)
	require.ErrorContains(t, err, fmt.Sprintf("and %d more faults", 9*maxFaults))
}

func TestOpenEveryDtype(t *testing.T) {
	for _, mapping := range []bool{true, false} {
		t.Run(fmt.Sprintf("mapping=%v", mapping), func(t *testing.T) {
			f, err := open(everyDtype, mapping)
			require.NoError(t, err)
			require.Equal(t, mapping, f.mapped != nil)
			require.Equal(t, everyDtype, f.Path())
			require.Equal(t, map[string]string{"format": "pt"}, f.Metadata())

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
			require.ErrorIs(t, err, ErrNotFound)
			require.NoError(t, f.Close())
			require.NoError(t, f.Close(), "a second Close does nothing")
			_, err = f.Bytes("bf16")
			require.ErrorIs(t, err, ErrClosed)
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
	info := Info{Name: "x", Dtype: U8, Shape: []int{100_000}}
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
