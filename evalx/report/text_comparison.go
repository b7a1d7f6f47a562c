package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/page"
)

// WriteComparison writes a comparison for the terminal: each measure with both
// shares, the difference in points with its 95 % interval, wins, losses and the
// p-value, and then which questions B won and lost, by the first measure. Text
// is escaped as in [WriteText].
//
//	measure      A               B               difference (95%)        wins  losses      p
//	passed       18/20 (90.0%)   19/20 (95.0%)   +5.0 (-10.0 to +20.0)      2       1  1.000
func WriteComparison(w io.Writer, c Comparison) error {
	var b strings.Builder
	for _, side := range []struct {
		name string
		run  Run
	}{{"A", c.A}, {"B", c.B}} {
		fmt.Fprintf(&b, "%s: %s", side.name, page.Printable(side.run.title()))
		if how := side.run.how(); how != "" {
			fmt.Fprintf(&b, " (answers %s)", how)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "Questions: %d\n\n", c.Questions)
	width := len("measure")
	for _, m := range c.Measures {
		width = max(width, len(page.Printable(m.Name)))
	}
	const line = "%-*s  %-16s  %-16s  %-24s  %5s  %6s  %6s\n"
	fmt.Fprintf(&b, line, width, "measure", "A", "B", "difference (95%)", "wins", "losses", "p")
	for _, m := range c.Measures {
		fmt.Fprintf(&b, line, width, page.Printable(m.Name), m.A, m.B, points(m), fmt.Sprint(len(m.Wins)), fmt.Sprint(len(m.Losses)), fmt.Sprintf("%.3f", m.P))
	}
	if len(c.Measures) > 0 {
		first := c.Measures[0]
		fmt.Fprintf(&b, "\nB wins (%s): %s\nB loses (%s): %s\n", page.Printable(first.Name), list(first.Wins), page.Printable(first.Name), list(first.Losses))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// points returns a difference of shares in percentage points.
func points(m evalx.Measure) string {
	return fmt.Sprintf("%+.1f (%+.1f to %+.1f)", 100*m.Difference, 100*m.Low, 100*m.High)
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return page.Printable(strings.Join(ids, ", "))
}
