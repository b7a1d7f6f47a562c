package salamandra_test

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// twoHeads writes a model with a tied head and the same one with a head of its own.
func twoHeads(t *testing.T) (tied, own string) {
	t.Helper()
	s := salamandratest.Shape{Vocabulary: 200, Hidden: 32, Intermediate: 48, Layers: 2, Heads: 4, KVHeads: 2}
	tied = salamandratest.Random(t, s)
	s.OwnHead = true
	return tied, salamandratest.Random(t, s)
}

// TestRowsOfTheEmbedding: rows that the host reads give the bits that a lookup on the
// device gives, in every dtype, as the files have it or not.
func TestRowsOfTheEmbedding(t *testing.T) {
	tied, own := twoHeads(t)
	ids := [][]int32{{0, 199, 7, 7, 120}, {1, 2, 3, 198, 0}}
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		for _, dtype := range []string{"float32", "bfloat16", "float16"} {
			var logits [2][][][]float32
			for i, dir := range []string{tied, own} {
				m, err := salamandra.Load(context.Background(), b, dir, salamandra.Options{Dtype: dtype})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				if shape := m.TokensShape(5); shape.DType.IsFloat() != (dir == own) {
					t.Errorf("tokens of %s are %s", dir, shape)
				}
				if logits[i], err = m.Logits(nil, ids); err != nil {
					t.Fatal(err)
				}
			}
			if !reflect.DeepEqual(logits[0], logits[1]) {
				t.Errorf("%s: the logits differ", dtype)
			}
		}
	})
}

// TestTokensOfWrongIds: ids that have no row are refused, as is a file that has lost it.
func TestTokensOfWrongIds(t *testing.T) {
	tied, own := twoHeads(t)
	for _, dir := range []string{tied, own} {
		m := salamandratest.Load(t, salamandratest.Go(t), dir)
		for _, id := range []int32{-1, 200} {
			if _, err := m.Tokens([]int32{3, id}); err == nil || !strings.Contains(err.Error(), "token 1 is id") {
				t.Errorf("id %d: %v", id, err)
			}
		}
		if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 1000); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Tokens([]int32{199}); (err != nil) != (dir == own) {
			t.Errorf("a file that was cut: %v", err)
		}
	}
}

// TestReplicaSharesTheFiles: a replica that is closed leaves the model its files.
func TestReplicaSharesTheFiles(t *testing.T) {
	b := salamandratest.XLA(t)
	if b == nil {
		t.Skip("the Go backend has no replicas (GOMLX_BACKEND=xla:cpu has)")
	}
	_, own := twoHeads(t)
	m := salamandratest.Load(t, b, own)
	r, err := m.Replica(b.NumDevices() - 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Tokens([]int32{1}); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := m.Tokens([]int32{1}); err != nil {
		t.Error(err)
	}
}
