package safetensors

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// Written again, a file of the reference implementation is the same bytes.
func TestWriteEqualsReference(t *testing.T) {
	f, err := Open(everyDtype)
	require.NoError(t, err)
	defer f.Close()
	path := filepath.Join(t.TempDir(), "again.safetensors")
	infos := InFileOrder(f.Tensors())
	w, err := Create(path, infos, f.files[0].metadata)
	require.NoError(t, err)
	for i, info := range infos {
		data, err := f.Bytes(info.Name)
		require.NoError(t, err)
		if i%2 == 0 || len(data) == 0 {
			require.NoError(t, w.Write(info.Name, data))
			continue
		}
		require.NoError(t, w.Write(info.Name, data[:len(data)/2]))
		require.NoError(t, w.Write(info.Name, data[len(data)/2:]))
	}
	require.NoFileExists(t, path, "before Commit")
	require.NoError(t, w.Commit())
	require.NoError(t, w.Abort(), "after Commit it does nothing")

	want, err := os.ReadFile(everyDtype)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, sha256.Sum256(want), w.SHA256())
	requireOnly(t, filepath.Dir(path), "again.safetensors")
}

// A file that was changed behind the writer's back never gets its name.
func TestCommitReadsBack(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"bit": func(file string) error {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte{1}, 80)
			return err
		},
		"length": func(file string) error { return os.Truncate(file, 80) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.safetensors")
			w, err := Create(path, []Info{{Name: "w", Dtype: F32, Shape: []int{8}}}, nil)
			require.NoError(t, err)
			require.NoError(t, w.Write("w", make([]byte, 32)))
			require.NoError(t, spoil(w.file.Name()))
			require.ErrorIs(t, w.Commit(), ErrReadBack)
			require.NoError(t, w.Abort())
			requireOnly(t, filepath.Dir(path))
		})
	}
}

// requireOnly checks the names in dir.
func requireOnly(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	require.Equal(t, want, got)
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	_, err := Create(filepath.Join(dir, "x"), []Info{
		{Name: "dtype", Dtype: "?"},
		{Name: "shape", Dtype: F32, Shape: []int{-1}},
		{Name: "overflow", Dtype: F32, Shape: []int{math.MaxInt, 2}},
		{Name: "half", Dtype: "U8", Shape: []int{math.MaxInt/2 + 1}},
		{Name: "other half", Dtype: "U8", Shape: []int{math.MaxInt/2 + 1}},
		{Name: "twice", Dtype: "U8", Shape: []int{0}},
		{Name: "twice", Dtype: "U8", Shape: []int{0}},
		{Name: "__metadata__", Dtype: "U8", Shape: []int{0}},
		{Name: "\xff", Dtype: "U8", Shape: []int{0}},
	}, nil)
	for _, want := range []error{errDtype, errShape, errOverflow, errDuplicate, errHeader} {
		require.ErrorIs(t, err, want)
	}
	for _, name := range []string{"  dtype: ", "  shape: ", "  overflow: ", "  other half: ", "  twice: ", "  __metadata__: ", `also "\xff"`} {
		require.ErrorContains(t, err, name)
	}
	_, err = Create(filepath.Join(dir, "x"), []Info{{Name: strings.Repeat("x", maxHeaderSize), Dtype: "U8"}}, nil)
	require.ErrorIs(t, err, errHeaderSize)
	requireOnly(t, dir)
}

func TestWriteMisuse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o666))
	w, err := Create(path, []Info{{Name: "a", Dtype: "U8", Shape: []int{2}}, {Name: "b", Dtype: "U8", Shape: []int{2}}}, nil)
	require.NoError(t, err)
	require.ErrorIs(t, w.Write("b", []byte{1, 2}), errOrder)
	require.ErrorIs(t, w.Write("a", []byte{1, 2, 3}), errSize)
	require.NoError(t, w.Write("a", []byte{1}))
	require.ErrorIs(t, w.Write("b", []byte{3}), errOrder, "a is not complete")
	require.ErrorIs(t, w.Write("a", []byte{2, 3}), errSize)
	err = w.Commit()
	require.ErrorIs(t, err, errIncomplete)
	require.ErrorContains(t, err, "a: tensor is not written; also b")
	require.NoError(t, w.Write("a", []byte{2}))
	require.NoError(t, w.Write("b", []byte{3, 4}))
	require.NoError(t, w.Commit())
	require.NoError(t, openOnly(path), "the new file has replaced the old one")
}

func TestWriteFloats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	w, err := Create(path, []Info{{Name: "a", Dtype: BF16, Shape: []int{2}}, {Name: "b", Dtype: "U8", Shape: []int{1}}}, nil)
	require.NoError(t, err)
	defer w.Abort()
	require.ErrorIs(t, w.WriteFloats("b", []float32{1}), errOrder)
	require.ErrorIs(t, w.WriteFloats("a", []float32{1}), errSize)
	require.NoError(t, w.WriteFloats("a", []float32{1.001, -2}))
	require.ErrorIs(t, w.WriteFloats("b", []float32{1}), errDtype)
	require.NoError(t, w.Write("b", []byte{1}))
	require.ErrorIs(t, w.WriteFloats("c", nil), errOrder)
	require.NoError(t, w.Commit())
	f, err := Open(path)
	require.NoError(t, err)
	defer f.Close()
	data, err := f.Bytes("a")
	require.NoError(t, err)
	require.Equal(t, []byte{0x80, 0x3f, 0x00, 0xc0}, data, "1 and -2, rounded")
}

// openOnly opens and closes the file at path.
func openOnly(path string) error {
	f, err := Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func TestAbortLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o666))
	w, err := Create(path, []Info{{Name: "a", Dtype: "U8", Shape: []int{2}}}, nil)
	require.NoError(t, err)
	require.NoError(t, w.Write("a", []byte{1, 2}))
	require.ErrorIs(t, w.Write("a", []byte{1, 2}), errOrder, "all are written")
	require.NoError(t, w.Abort())
	require.Error(t, w.Commit(), "after Abort there is nothing to commit")
	requireOnly(t, dir, "x.safetensors")
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
}

// Whatever is written is read again.
func TestRoundTrip(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 20 {
		infos, data := randomTensors(rng)
		metadata := map[string]string{"format": "pt", "note": fmt.Sprint("round ", round)}
		path := filepath.Join(t.TempDir(), "x.safetensors")
		w, err := Create(path, infos, metadata)
		require.NoError(t, err)
		for i, info := range infos {
			require.NoError(t, w.Write(info.Name, data[i]))
		}
		require.NoError(t, w.Commit())

		f, err := Open(path)
		require.NoError(t, err)
		require.Equal(t, metadata, f.files[0].metadata)
		require.Len(t, f.Tensors(), len(infos))
		for i, want := range infos {
			got, ok := f.Info(want.Name)
			require.True(t, ok)
			require.Empty(t, cmp.Diff(want, got))
			b, err := f.Bytes(want.Name)
			require.NoError(t, err)
			require.Equal(t, data[i], b, "seed %d round %d tensor %s", seed, round, want.Name)
		}
		require.NoError(t, f.Close())
	}
}

// randomTensors returns tensors of random names, formats, shapes and data.
func randomTensors(rng *rand.Rand) ([]Info, [][]byte) {
	var infos []Info
	var data [][]byte
	for i := range rng.IntN(10) {
		info := Info{Name: fmt.Sprintf("t%d.\"é<\n", i), Dtype: fileOrder[rng.IntN(len(fileOrder))].dtype, Shape: []int{}}
		for range rng.IntN(4) {
			info.Shape = append(info.Shape, rng.IntN(5))
		}
		b := make([]byte, info.NumBytes())
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		infos, data = append(infos, info), append(data, b)
	}
	return infos, data
}

func TestPlanShards(t *testing.T) {
	sized := func(sizes ...int) (infos []Info) {
		for i, n := range sizes {
			infos = append(infos, Info{Name: string(rune('a' + i)), Dtype: "U8", Shape: []int{n}})
		}
		return infos
	}
	tests := []struct {
		name   string
		infos  []Info
		want   map[string]string
		reason string
	}{
		{"none", nil, map[string]string{}, "nothing to write"},
		{"one shard", sized(3, 4, 3), map[string]string{ModelFile: "abc"}, "10 fit 10"},
		{"two shards", sized(3, 4, 4), map[string]string{"model-00001-of-00002.safetensors": "ab", "model-00002-of-00002.safetensors": "c"}, "11 do not"},
		{"no filling up", sized(6, 6, 2, 6, 2, 2), map[string]string{"model-00001-of-00003.safetensors": "a", "model-00002-of-00003.safetensors": "bc", "model-00003-of-00003.safetensors": "def"}, "shards are filled in order only"},
		{"giant", sized(2, 11, 2), map[string]string{"model-00001-of-00002.safetensors": "b", "model-00002-of-00002.safetensors": "ac"}, "a tensor above the limit goes alone, and first"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := map[string]string{}
			for _, s := range PlanShards(test.infos, 10) {
				for _, info := range s.Tensors {
					got[s.Name] += info.Name
				}
			}
			require.Empty(t, cmp.Diff(test.want, got), test.reason)
		})
	}
}

// The plan and the index of the reference model are those of Transformers,
// which shards in the order of the model's layers.
func TestPlanEqualsReference(t *testing.T) {
	dir := referenceModel(t, "tiny-gqa")
	m, err := OpenModel(dir)
	require.NoError(t, err)
	defer m.Close()
	stateDict := []string{"model.embed_tokens.weight"}
	for layer := 0; ; layer++ {
		prefix := fmt.Sprintf("model.layers.%d.", layer)
		if _, ok := m.Info(prefix + "input_layernorm.weight"); !ok {
			break
		}
		for _, name := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
			"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"} {
			stateDict = append(stateDict, prefix+name+".weight")
		}
	}
	stateDict = append(stateDict, "model.norm.weight", "lm_head.weight")
	var infos []Info
	for _, name := range stateDict {
		info, ok := m.Info(name)
		require.True(t, ok, name)
		infos = append(infos, info)
	}
	require.Len(t, infos, len(m.Tensors()))

	out := t.TempDir()
	require.NoError(t, WriteIndex(out, PlanShards(infos, 300_000)), "the limit the model was written with")
	want, err := os.ReadFile(filepath.Join(dir, IndexFile))
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(out, IndexFile))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	require.True(t, json.Valid(got))
}
