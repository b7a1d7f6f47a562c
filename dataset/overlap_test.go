package dataset_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
)

func asked(id, question string) dataset.Record {
	return dataset.Record{ID: id, Messages: []chatml.Message{{Role: chatml.User, Content: question}, {Role: chatml.Assistant, Content: "{}"}}}
}

// A test query is found though its case, accents or a word differ, and others are
// not; ids, or places, say which.
func TestFindOverlap(t *testing.T) {
	records := []dataset.Record{
		asked("r1", "AGRICULTURA de precisió: universitats, centres de recerca"),
		asked("", "Quines iniciatives hi ha sobre energia eòlica marina amb un centre de recerca?"),
		asked("r3", "robots"),
	}
	tests := []dataset.Record{
		asked("same", "Agricultura de precisio — universitats, centres de recerca!"),
		asked("near", "Quines iniciatives hi ha sobre energia eòlica marina amb centres de recerca?"),
		asked("", "quantum sensors in Girona"),
	}
	o, err := dataset.FindOverlap(records, tests)
	if err != nil {
		t.Fatal(err)
	}
	if o.Tests != 3 || o.Found != 2 || len(o.Pairs) != 2 {
		t.Fatalf("%+v", o)
	}
	for _, part := range []string{"2 of 3 test queries are", "test query same ", "record r1 is the same", "test query near ", "record #2 resembles it (similarity 0."} {
		if !strings.Contains(o.String(), part) {
			t.Errorf("no %q in %s", part, o)
		}
	}
	for range 60 {
		o.Pairs = append(o.Pairs, "pair")
	}
	if text := o.String(); strings.Count(text, "\n") != 51 || !strings.HasSuffix(text, "and 12 pairs more") {
		t.Errorf("a long list: %s", text)
	}
	if none, err := dataset.FindOverlap(records, tests[2:]); err != nil || none.Found != 0 || strings.Contains(fmt.Sprint(none), "\n") {
		t.Errorf("%v, %v", none, err)
	}
}
