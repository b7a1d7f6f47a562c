package safetensors

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// No header makes the parser fail, and what it accepts is, written and parsed
// again, the same.
func FuzzHeader(f *testing.F) {
	whole, err := os.ReadFile(everyDtype)
	require.NoError(f, err)
	end := bytes.LastIndexByte(whole, '}') + 1
	f.Add(whole[lengthSize:end], len(whole)-end)
	f.Add([]byte(`{}`), 0)
	f.Add([]byte(`{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}  `), 12)
	f.Add([]byte(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`), 0)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		h, err := parseHeader("fuzz", text, size)
		if err != nil {
			return
		}
		var infos []Info
		for _, e := range h.entries {
			if e.begin < 0 || e.end > size || e.end-e.begin != e.NumBytes() {
				t.Fatalf("%+v in %d bytes", e, size)
			}
			infos = append(infos, e.Info)
		}
		again, err := formatHeader("fuzz", infos, h.metadata)
		if err != nil {
			t.Fatalf("accepted %q, but cannot write it: %v", text, err)
		}
		h2, err := parseHeader("fuzz", again[lengthSize:], size)
		if err != nil {
			t.Fatalf("wrote %q: %v", again, err)
		}
		if diff := cmp.Diff(h, h2, cmp.AllowUnexported(header{}, entry{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

// No index makes the parser fail, and what it accepts names a file for each
// tensor.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":3},"weight_map":{"a":"1.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"1","a":"2"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		weightMap, err := parseIndex(text)
		if err == nil && len(weightMap) == 0 {
			t.Fatal("accepted an index of nothing")
		}
	})
}
