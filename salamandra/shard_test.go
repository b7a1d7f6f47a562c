package salamandra_test

import (
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// What cannot be divided is refused with all reasons.
func TestCheckShards(t *testing.T) {
	c := llama.Config{NumKeyValueHeads: 8, IntermediateSize: 11008, HiddenSize: 4096, VocabSize: 256000}
	for _, n := range []int{1, 2, 4, 8} {
		if err := salamandra.CheckShards(c, n, ""); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
	for n, want := range map[int][]string{
		0:  {"0 shards, want 1 or more"},
		3:  {"8 key and value heads are not divisible by 3 shards", "11008 numbers", "4096 numbers", "256000 tokens"},
		16: {"8 key and value heads"},
	} {
		err := salamandra.CheckShards(c, n, "4bit")
		if err == nil {
			t.Fatalf("%d is not refused", n)
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%d: %v, want %q", n, err, text)
			}
		}
		if strings.Contains(err.Error(), "4bit") != (n > 1) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// A model in shards wants as many devices, and has no replicas.
func TestShardsWantDevices(t *testing.T) {
	dir := salamandratest.Random(t, salamandratest.Shape{Vocabulary: 512, Hidden: 32, Intermediate: 48, Layers: 1, Heads: 4, KVHeads: 2})
	b := salamandratest.Go(t)
	_, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: "float32", Shards: 2})
	if err == nil || !strings.Contains(err.Error(), "has 1") {
		t.Errorf("%v, want that the backend has one device", err)
	}
	if b = salamandratest.XLA(t); b == nil || b.NumDevices() < 2 {
		return
	}
	m, err := salamandra.Load(t.Context(), b, dir, salamandra.Options{Dtype: "float32", Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Replica(1); err == nil || !strings.Contains(err.Error(), "2 shards") {
		t.Errorf("%v, want that it is in 2 shards", err)
	}
}
