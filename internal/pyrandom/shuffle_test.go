package pyrandom

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShuffle(t *testing.T) {
	for _, row := range []struct {
		seed   uint64
		want   []int
		reason string
	}{
		{seed: 0, want: []int{7, 8, 1, 5, 3, 4, 2, 0, 9, 6}, reason: "the key of seed 0 is one zero word"},
		{seed: 1<<32 + 5, want: []int{5, 3, 6, 1, 9, 0, 8, 4, 7, 2}, reason: "two words, low first"},
		{seed: 1<<64 - 1, want: []int{2, 6, 7, 9, 8, 1, 4, 5, 3, 0}, reason: "largest"},
	} {
		got := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		Shuffle(got, row.seed)
		require.Equal(t, row.want, got, "seed %d: %s", row.seed, row.reason)
	}
	Shuffle([]int{}, 1)
}
