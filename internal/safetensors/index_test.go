package safetensors

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// referenceModel returns a model directory written by Transformers.
func referenceModel(t *testing.T, name string) string {
	t.Helper()
	root := os.Getenv("SALAMANDRA_REFERENCE")
	if root == "" {
		root = filepath.Join("..", "..", "salamandra", "testdata", "reference")
	}
	return filepath.Join(root, "models", name)
}

// u8 is the header of a file that holds these tensors, of one byte each.
func u8(names ...string) []byte {
	var infos []Info
	for _, name := range names {
		infos = append(infos, Info{Name: name, Dtype: "U8", Shape: []int{1}})
	}
	b, err := formatHeader("", infos, nil)
	if err != nil {
		panic(err)
	}
	return append(b, make([]byte, len(names))...)
}

func TestOpenModel(t *testing.T) {
	const index = `{"metadata":{"total_size":3},"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"}}`
	tests := []struct {
		name   string
		files  map[string]string
		want   []error
		texts  []string
		reason string
	}{
		{name: "one file", files: map[string]string{ModelFile: string(u8("a", "b", "c"))}},
		{name: "shards", files: map[string]string{IndexFile: index, "1.safetensors": string(u8("a")), "2.safetensors": string(u8("b", "c"))}},
		{name: "one file before the index", files: map[string]string{ModelFile: string(u8("a", "b", "c")), IndexFile: "{}"}, reason: "as Transformers chooses"},
		{name: "neither", want: []error{fs.ErrNotExist}, texts: []string{ModelFile, IndexFile}},
		{name: "everything wrong", files: map[string]string{
			IndexFile:       `{"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors","d":"3.safetensors","e":"../up.safetensors"}}`,
			"1.safetensors": string(u8("b", "c", "x")), "3.safetensors": "short",
		}, want: []error{errMissing, errLeftOver, errTruncated, errIndex, fs.ErrNotExist},
			texts:  []string{"a: tensor is missing", "c: tensor is not", "x: tensor is not", "shard 2.safetensors: not there: download it too", "3.safetensors", "../up.safetensors"},
			reason: "one run, one fix"},
		{name: "index is no JSON", files: map[string]string{IndexFile: "{"}, want: []error{errIndex}},
		{name: "no weight_map", files: map[string]string{IndexFile: `{"metadata":{}}`}, want: []error{errIndex}},
		{name: "weight_map of numbers", files: map[string]string{IndexFile: `{"weight_map":{"a":1}}`}, want: []error{errIndex}},
		{name: "tensor twice", files: map[string]string{IndexFile: `{"weight_map":{"a":"1","a":"2"}}`}, want: []error{errIndex, errDuplicate}},
		{name: "absolute shard", files: map[string]string{IndexFile: `{"weight_map":{"a":"/etc/passwd"}}`}, want: []error{errIndex}, reason: "an index may not reach outside its directory"},
		{name: "empty shard", files: map[string]string{IndexFile: `{"weight_map":{"a":""}}`}, want: []error{errIndex}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range test.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666))
			}
			m, err := OpenModel(dir)
			for _, want := range test.want {
				require.ErrorIs(t, err, want, test.reason)
			}
			for _, text := range test.texts {
				require.ErrorContains(t, err, text)
			}
			if test.want == nil {
				require.NoError(t, err, test.reason)
				require.Len(t, m.Tensors(), 3)
				require.NoError(t, m.Close())
			}
		})
	}
}

func TestOpenModelReference(t *testing.T) {
	r, err := OpenModel(referenceModel(t, "tiny-gqa"))
	require.NoError(t, err)
	require.Greater(t, len(r.Paths()), 1, "the reference model is sharded")
	names := map[string]bool{}
	for _, path := range r.Paths() {
		shard, err := Open(path)
		require.NoError(t, err)
		for _, info := range shard.Tensors() {
			names[info.Name] = true
			got, ok := r.Info(info.Name)
			require.True(t, ok)
			require.Equal(t, info, got)
			want, err := shard.Bytes(info.Name)
			require.NoError(t, err)
			data, err := r.Bytes(info.Name)
			require.NoError(t, err)
			require.Len(t, data, info.NumBytes())
			require.Equal(t, want, data)
		}
		require.NoError(t, shard.Close())
	}
	require.Len(t, r.Tensors(), len(names))
	_, err = r.Bytes("absent")
	require.ErrorIs(t, err, errNotFound)
	require.NoError(t, r.Close())
}
