package lora

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// referenceModels returns the folder of the models that Transformers and PEFT
// made.
func referenceModels(t testing.TB) string {
	t.Helper()
	root := os.Getenv("SALAMANDRA_REFERENCE")
	if root == "" {
		root = filepath.Join("..", "salamandra", "testdata", "reference")
	}
	return filepath.Join(root, "models")
}

var (
	modelNames   = []string{"tiny-gqa", "tiny-mha"}
	adapterNames = []string{"lora", "rslora", "dora", "patterns"}
)

// Written again, an adapter of PEFT is the same bytes.
func TestAdapterEqualsReference(t *testing.T) {
	for _, model := range modelNames {
		for _, name := range adapterNames {
			t.Run(model+"/"+name, func(t *testing.T) {
				dir := filepath.Join(referenceModels(t), model, "golden", "adapter-"+name)
				a, err := ReadAdapter(dir)
				require.NoError(t, err)
				require.Equal(t, name == "dora", a.Config.UseDoRA)
				require.Equal(t, name == "rslora", a.Config.UseRSLoRA)
				require.Equal(t, model, a.Config.BaseModelNameOrPath)

				out := filepath.Join(t.TempDir(), "new", "adapter")
				require.NoError(t, a.Write(out))
				want, err := os.ReadFile(filepath.Join(dir, WeightsFile))
				require.NoError(t, err)
				got, err := os.ReadFile(filepath.Join(out, WeightsFile))
				require.NoError(t, err)
				require.Equal(t, want, got)

				again, err := ReadAdapter(out)
				require.NoError(t, err)
				require.Equal(t, a, again)
			})
		}
	}
}
