package safetensors

import (
	"encoding/binary"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Equality is of values: it is the same within a format and across two of them,
// holds of every tensor with itself, and ends with the first value that differs.
func TestEqual(t *testing.T) {
	const n = 1<<16 + 3 // more than one piece
	wide, narrow := make([]byte, 4*n), make([]byte, 2*n)
	for i := range n {
		v := math.Float32bits(float32(i % 251))
		if i == 7 {
			v = 0x7fc00000 // NaN
		}
		binary.LittleEndian.PutUint32(wide[4*i:], v)
		binary.LittleEndian.PutUint16(narrow[2*i:], uint16(v>>16))
	}
	changed, negative := append([]byte{}, narrow...), append([]byte{}, narrow...)
	changed[2*n-1] ^= 1
	negative[1] ^= 0x80 // -0 for 0
	infos := []Info{
		{Name: "brain", Dtype: BF16, Shape: []int{n}}, {Name: "changed", Dtype: BF16, Shape: []int{n}},
		{Name: "float", Dtype: F32, Shape: []int{n}}, {Name: "negative", Dtype: BF16, Shape: []int{n}},
		{Name: "row", Dtype: F32, Shape: []int{1, n}}, {Name: "words", Dtype: U8, Shape: []int{2 * n}},
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	w, err := Create(path, infos, nil)
	require.NoError(t, err)
	for i, data := range [][]byte{narrow, changed, wide, negative, wide, narrow} {
		require.NoError(t, w.Write(infos[i].Name, data))
	}
	require.NoError(t, w.Commit())
	r, err := Open(path)
	require.NoError(t, err)
	defer r.Close()
	same := map[string]bool{"brain": true, "float": true, "negative": true}
	for _, a := range infos {
		for _, b := range infos {
			got, err := Equal(r, a.Name, r, b.Name)
			require.NoError(t, err)
			want := same[a.Name] && same[b.Name] || a.Name == b.Name && a.Name != "words"
			require.Equal(t, want, got, "%s and %s", a.Name, b.Name)
		}
	}
	got, err := Equal(r, "float", r, "none")
	require.NoError(t, err)
	require.False(t, got)
}
