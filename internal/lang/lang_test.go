package lang_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/impulse-salamandra/finetune/internal/lang"
)

func TestIdentify(t *testing.T) {
	tests := []struct{ text, want, reason string }{
		{"Lista de proyectos sobre energía solar", "ES", "sobre is Spanish too"},
		{"Lista de proyectos sobre inteligencia artificial", "ES", "in- inside a word is not English"},
		{"Lista de proyectos sobre cambio climático", "ES", "amb inside a word is not Catalan"},
		{"Llista de projectes sobre energia solar", "CA", "sobre is Catalan too"},
		{"Projects led by small companies in health", "EN", ""},
		{"quins projectes ha coordinat la UB", "CA", "no accents"},
		{"LISTA DE PROYECTOS SOBRE ENERGIA SOLAR", "ES", "where all is in capitals they tell no names"},
		{"LLISTA DE PROJECTES SOBRE ENERGIA SOLAR", "CA", ""},
		{"List of projects with Universitat Autònoma de Barcelona and Fundació Institut de Recerca", "EN", "names keep their language"},
		{"Proyectos de la Universitat de Barcelona y el Hospital Clínic", "ES", ""},
		{"Projectes amb participació de la Universidad del País Vasco", "CA", ""},
		{"Catàleg d’actuacions finançades amb fons FEDER", "CA", "typographic apostrophe"},
		{"intel.ligència artificial i salut", "CA", ""},
		{"the project's results", "EN", "an English ending after the apostrophe"},
		{norm.NFD.String("energía eólica marina y fotónica"), "ES", "decomposed letters"},
		{"aprenentatge automàtic", "CA", "a topic of two words can show its language"},
		{"", lang.Unknown, "nothing"},
		{"???", lang.Unknown, "no letters"},
		{"2018-2023", lang.Unknown, "no letters"},
		{"blockchain", lang.Unknown, "no language of its own"},
		{"CRISPR", lang.Unknown, "a name"},
		{"sobre", lang.Unknown, "a word of two languages"},
		{"'", lang.Unknown, "an apostrophe alone"},
		{"\xff\xfe de \xff", lang.Unknown, "not UTF-8"},
	}
	for _, tt := range tests {
		if got := lang.Identify(tt.text); got != tt.want {
			t.Errorf("%q: %s, want %s: %s", tt.text, got, tt.want, tt.reason)
		}
	}
}

type record struct {
	Rewrite string `json:"query_rewrite"`
	Meta    struct {
		Lang  string `json:"lang"`
		Query string `json:"original_query"`
	} `json:"meta"`
}

// records returns the annotated questions of the test set and of all batches.
func records(t *testing.T) []record {
	t.Helper()
	const data = "../../dataset/impulse/testdata"
	files, err := filepath.Glob(filepath.Join(data, "batches", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []record
	for _, file := range append(files, filepath.Join(data, "test_set.json")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var batch struct{ Queries []record }
		if json.Unmarshal(text, &batch.Queries) != nil {
			if err := json.Unmarshal(text, &batch); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, batch.Queries...)
	}
	return all
}

// The share that is right among texts of four words or more. Queries as people
// type them have slips and bare lists of keywords; none of them may be taken for
// another language more often than one in a hundred times.
func TestAccuracy(t *testing.T) {
	tests := []struct {
		name string
		text func(record) string
		want float64
	}{
		{"rewritten", func(r record) string { return r.Rewrite }, 0.99},
		{"as typed", func(r record) string { return r.Meta.Query }, 0.95},
	}
	all := records(t)
	if len(all) != 800 {
		t.Fatalf("%d records, want 700 and 100", len(all))
	}
	for _, tt := range tests {
		total, right, wrong := 0, 0, 0
		for _, r := range all {
			text := tt.text(r)
			if len(strings.Fields(text)) < 4 {
				continue
			}
			total++
			switch lang.Identify(text) {
			case r.Meta.Lang:
				right++
			case lang.Unknown:
			default:
				wrong++
				t.Logf("taken for %s: %q", lang.Identify(text), text)
			}
		}
		t.Logf("%s: %d of %d right, %d wrong", tt.name, right, total, wrong)
		if float64(right) < tt.want*float64(total) || 100*wrong > total {
			t.Errorf("%s: %d of %d right, want a share of %g; %d wrong", tt.name, right, total, tt.want, wrong)
		}
	}
}

func FuzzIdentify(f *testing.F) {
	for _, text := range []string{"", "'", "d'aigua", "l'l'l'", "project's", "ÀÈ·l", "\xff", "a’b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := lang.Identify(text)
		if !slices.Contains([]string{"CA", "ES", "EN", lang.Unknown}, got) {
			t.Errorf("%q", got)
		}
		if again := lang.Identify(" " + text + "\n"); again != got {
			t.Errorf("white space makes %s of %s", again, got)
		}
	})
}
