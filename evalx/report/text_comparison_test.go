package report

import (
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/evalx"
)

// TestWriteComparison: shares, differences and the questions behind them are in
// the text, and nothing in it can steer a terminal.
func TestWriteComparison(t *testing.T) {
	c := evalx.Comparison{Questions: 6, Measures: []evalx.Measure{{
		Name: "passed", A: evalx.Share{Count: 3, Total: 6}, B: evalx.Share{Count: 4, Total: 6}, Difference: 1. / 6, Low: -0.1, High: 0.4, P: 1,
		Wins: []string{"Q3", "Q6"}, Losses: []string{"Q2"},
	}}}
	var text strings.Builder
	if err := WriteComparison(&text, Comparison{Run{Name: "a.json", Constrained: new(true)}, Run{Name: "b\x1b.json"}, c}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A: a.json (answers kept to the schema", `B: b\x1b.json`, "3/6 (50.0%)", "+16.7 (", "B wins (passed): Q3, Q6", "B loses (passed): Q2"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}
