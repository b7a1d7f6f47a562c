package page

import (
	"slices"
	"testing"
)

// TestLogTicks: few and round, whatever the span.
func TestLogTicks(t *testing.T) {
	for _, row := range []struct {
		low, high float64
		want      []float64
	}{
		{1, 100, []float64{1, 2, 5, 10, 20, 50, 100}},
		{0.3, 4, []float64{0.5, 1, 2}},
		{1e-4, 1, []float64{1e-4, 1e-3, 1e-2, 1e-1, 1}},
		{2.1, 2.9, []float64{2.2, 2.4, 2.6, 2.8}},
	} {
		got := logTicks(row.low, row.high)
		if !slices.EqualFunc(got, row.want, func(a, b float64) bool { return max(a, b) < min(a, b)*(1+1e-9) }) {
			t.Errorf("%v to %v: %v, want %v", row.low, row.high, got, row.want)
		}
	}
}
