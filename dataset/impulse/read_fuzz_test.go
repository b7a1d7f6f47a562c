package impulse

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzValidate: whatever a file holds, reading it ends without a panic, in
// records or in faults that have a place.
func FuzzValidate(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.json", "testdata/v1/*.json"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files)
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(f, err)
			f.Add(data[:min(len(data), 2000)])
		}
	}
	f.Add([]byte(`[{"filters": {"year": -1e999999999}, "organisations": [{}, 7], "meta": {"id": 5}, "metric": "sum"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		batches, err := Parse(data, "f", Options{Validate: true})
		if err == nil {
			require.NotEmpty(t, batches.Records)
			return
		}
		var faults *FaultsError
		require.ErrorAs(t, err, &faults)
		for _, fault := range faults.Faults {
			require.LessOrEqual(t, fault.Offset, len(data))
			require.Positive(t, fault.Line)
			require.NotEmpty(t, fault.Message)
		}
	})
}
