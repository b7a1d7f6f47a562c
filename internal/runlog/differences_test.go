package runlog

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func text(list []piece) string {
	var b strings.Builder
	for _, p := range list {
		b.WriteString(p.Text)
	}
	return b.String()
}

// unmarked is what two texts have in common.
func unmarked(list []piece) string {
	return text(slices.DeleteFunc(slices.Clone(list), func(p piece) bool { return p.Marked }))
}

func TestDifferences(t *testing.T) {
	a, b := differences("{\n  \"year\": 2020,\n  \"place\": null\n}", "{\n  \"year\": 2021,\n  \"place\": null\n}x")
	want := [][]piece{
		{{"{\n  \"year\": ", false}, {"2020", true}, {",\n  \"place\": null\n}", false}},
		{{"{\n  \"year\": ", false}, {"2021", true}, {",\n  \"place\": null\n}", false}, {"x", true}},
	}
	if !slices.Equal(a, want[0]) || !slices.Equal(b, want[1]) {
		t.Errorf("%v\n%v", a, b)
	}
}

// The pieces make up the texts, and those that are not marked are in both.
func TestDifferencesLaws(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString([]string{"a", "bc", " ", "\n", "é", "\xff", "{", ","}[random.IntN(8)])
		}
		return b.String()
	}
	for range 300 {
		x, y := some(random.IntN(30)), some(random.IntN(30))
		a, b := differences(x, y)
		if text(a) != x || text(b) != y || unmarked(a) != unmarked(b) {
			t.Fatalf("%q and %q: %v, %v", x, y, a, b)
		}
		if same, _ := differences(x, x); unmarked(same) != x {
			t.Fatalf("%q differs from itself: %v", x, same)
		}
	}
	marked := []piece{{"a", false}, {"b \n  c", true}, {"\n", true}}
	if got := unmarkLayout(marked); !slices.Equal(got, []piece{{"a", false}, {"b", true}, {" \n  ", false}, {"c", true}, {"\n", false}}) {
		t.Errorf("layout is marked: %v", got)
	}
	long := strings.Repeat("a ", mostWords)
	if a, b := differences(long+"end", long); text(a) != long+"end" || text(b) != long {
		t.Error("long texts")
	}
}
