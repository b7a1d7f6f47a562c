package lengths_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/lengths"
)

func TestLengths(t *testing.T) {
	var hundred []int
	for i := range 100 {
		hundred = append(hundred, 100-i)
	}
	l := lengths.New(hundred)
	require.Equal(t, []int{1, 5, 50, 95, 99, 100}, []int{l.Percentile(0), l.Percentile(5), l.Percentile(50), l.Percentile(95), l.Percentile(99), l.Percentile(100)})
	require.Equal(t, 50.5, l.Mean())
	require.Equal(t, []lengths.Bin{{0, 50, 49}, {50, 100, 50}, {100, 150, 1}}, l.Histogram(3))
	require.Equal(t, []lengths.Bin{{10, 20, 1}, {20, 30, 0}, {30, 40, 2}}, lengths.New([]int{39, 10, 30}).Histogram(3), "empty ones too")
	require.Len(t, lengths.New([]int{7}).Histogram(20), 1)
	none := lengths.New(nil)
	require.Empty(t, none.Histogram(20))
	require.Zero(t, none.Percentile(50)+none.Max+int(none.Mean()))
	for _, most := range []int{1, 2, 7, 20} {
		for _, far := range []int{0, 1, 999, 1_000_000} {
			bins := lengths.New([]int{0, 3, far}).Histogram(most)
			require.LessOrEqual(t, len(bins), most, "%d", far)
			n := 0
			for _, b := range bins {
				n += b.Count
			}
			require.Equal(t, 3, n)
		}
	}
}
