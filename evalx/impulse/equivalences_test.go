package impulse

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/evalx"
)

func TestReadEquivalences(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	_, err := readEquivalences(dir, publishedNormal)
	require.NoError(t, err, "no files, no sets")
	write("README.txt", "not read")
	write("org_equivalences.json", `{"equivalence_sets": [["UB", ""], "x"]}`)
	write("location_equivalences.json", `{`)
	write("programmes.json", `{}`)
	_, err = readEquivalences(dir, publishedNormal)
	for _, part := range []string{"org_equivalences.json", "/equivalence_sets/0/1", "/equivalence_sets/1", "location_equivalences.json", "programmes.json", "want location_equivalences.json, org_"} {
		require.ErrorContains(t, err, part, "every fault of every file")
	}
	_, err = readEquivalences(filepath.Join(dir, "none"), publishedNormal)
	require.ErrorIs(t, err, os.ErrNotExist, "a directory that was asked for")
}

func TestParseEquivalencesErrors(t *testing.T) {
	tests := []struct{ name, data, says, reason string }{
		{"not JSON", `{"equivalence_sets": [["a",]]}`, "line 1, column 28", "the place in the file"},
		{"no sets", `{"sets": []}`, "/equivalence_sets: required: missing", "the key is required"},
		{"not an object", `[["a","b"]]`, "is array, want object", "only the sets are another format"},
		{"all faults", `{"equivalence_sets": [["a", 1], [], "b", ["c", " "]]}`,
			`/equivalence_sets/0/1: type: is number, want string; /equivalence_sets/1: minItems: has 0 items, want at least 1; ` +
				`/equivalence_sets/2: type: is string, want array; /equivalence_sets/3/1: pattern: " " does not match \S`, "said at once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sets, err := parseEquivalences("terms.json", []byte(tt.data))
			if sets != nil || err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "terms.json") {
				t.Errorf("%v, %v\nwant %s: %s", sets, err, tt.says, tt.reason)
			}
		})
	}
}

// FuzzEquivalences: the terms of the first set are one, in any file that is read.
func FuzzEquivalences(f *testing.F) {
	f.Add([]byte(`{"equivalence_sets": [["H2020", "Horizon 2020"], ["a", "B", "b"]]}`))
	f.Add([]byte(`{"equivalence_sets": [[" "]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		sets, err := parseEquivalences("f", data)
		if err != nil || len(sets) == 0 {
			return
		}
		form := evalx.Equivalent(publishedNormal, sets...)
		for _, term := range sets[0] {
			require.Equal(t, form(sets[0][0]), form(term))
		}
	})
}
