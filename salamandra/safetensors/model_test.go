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
		root = filepath.Join("..", "testdata", "reference")
	}
	return filepath.Join(root, "models", name)
}

// u8 is the header of a file that holds these tensors, of one byte each.
func u8(names ...string) []byte {
	var infos []Info
	for _, name := range names {
		infos = append(infos, Info{Name: name, Dtype: U8, Shape: []int{1}})
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
		}, want: []error{ErrMissing, ErrLeftOver, ErrTruncated, ErrIndex, fs.ErrNotExist},
			texts:  []string{`"a"`, `"c"`, `"x"`, "2.safetensors", "3.safetensors", "../up.safetensors"},
			reason: "one run, one fix"},
		{name: "index is no JSON", files: map[string]string{IndexFile: "{"}, want: []error{ErrIndex}},
		{name: "no weight_map", files: map[string]string{IndexFile: `{"metadata":{}}`}, want: []error{ErrIndex}},
		{name: "weight_map of numbers", files: map[string]string{IndexFile: `{"weight_map":{"a":1}}`}, want: []error{ErrIndex}},
		{name: "tensor twice", files: map[string]string{IndexFile: `{"weight_map":{"a":"1","a":"2"}}`}, want: []error{ErrIndex, ErrDuplicate}},
		{name: "absolute shard", files: map[string]string{IndexFile: `{"weight_map":{"a":"/etc/passwd"}}`}, want: []error{ErrIndex}, reason: "an index may not reach outside its directory"},
		{name: "empty shard", files: map[string]string{IndexFile: `{"weight_map":{"a":""}}`}, want: []error{ErrIndex}},
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
	m, err := OpenModel(referenceModel(t, "tiny-gqa"))
	require.NoError(t, err)
	total := 0
	for _, f := range m.Shards() {
		total += len(f.Tensors())
		for _, info := range f.Tensors() {
			shard, ok := m.ShardOf(info.Name)
			require.True(t, ok)
			require.Same(t, f, shard)
			data, err := m.Bytes(info.Name)
			require.NoError(t, err)
			require.Len(t, data, info.NumBytes())
			got, ok := m.Info(info.Name)
			require.True(t, ok)
			require.Equal(t, info, got)
		}
	}
	require.Greater(t, len(m.Shards()), 1, "the reference model is sharded")
	require.Len(t, m.Tensors(), total)
	_, err = m.Bytes("absent")
	require.ErrorIs(t, err, ErrNotFound)
	_, ok := m.ShardOf("absent")
	require.False(t, ok)
	require.NoError(t, m.Close())
}
