package salamandra_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestQuantisedModelsComputeWithDequantisedWeights: a model that is quantised on
// loading gives the logits and the norms of rows of one whose files hold the values
// that the codes stand for.
func TestQuantisedModelsComputeWithDequantisedWeights(t *testing.T) {
	for _, quantized := range []string{"4bit", "8bit"} {
		t.Run(quantized, func(t *testing.T) {
			salamandratest.EachModel(t, func(t *testing.T, dir string) {
				values := salamandratest.Dequantized(t, dir, quantized)
				ids := salamandratest.Rows(t, filepath.Join(dir, "golden", "forward.safetensors"), "input_ids")
				salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
					m, err := salamandra.Load(context.Background(), b, dir, salamandra.Options{Dtype: "float32", Quantize: quantized})
					if err != nil {
						t.Fatal(err)
					}
					defer m.Close()
					compareModels(t, m, salamandratest.Load(t, b, values), ids)
				})
			})
		})
	}
}

// compareModels compares logits and the norms of rows.
func compareModels(t *testing.T, got, want *salamandra.Model, ids [][]int32) {
	t.Helper()
	x, err := got.Logits(nil, ids)
	if err != nil {
		t.Fatal(err)
	}
	y, err := want.Logits(nil, ids)
	if err != nil {
		t.Fatal(err)
	}
	for i := range y {
		for j := range y[i] {
			salamandratest.Near(t, "logits", x[i][j], y[i][j], 2e-5, 0)
		}
	}
	linears := want.Config.Linears()
	ofGot, err := got.RowNorms(linears)
	if err != nil {
		t.Fatal(err)
	}
	ofWant, err := want.RowNorms(linears)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range linears {
		salamandratest.Near(t, name, ofGot[i], ofWant[i], 0, 1e-6)
	}
}

func TestUnknownQuantisationIsRefused(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	_, err := salamandra.Load(context.Background(), salamandratest.Go(t), dir, salamandra.Options{Dtype: "float32", Quantize: "3bit"})
	if err == nil || !strings.Contains(err.Error(), `"3bit", want 4bit, 8bit or nothing`) {
		t.Error(err)
	}
}
