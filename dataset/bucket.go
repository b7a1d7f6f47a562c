package dataset

import (
	"cmp"
	"slices"
)

// unit is a number of things to be computed at the same length.
type unit struct{ length, count int }

// chooseBuckets joins units of rising length to at most most buckets, each as
// long as its longest unit, such that the sum of their costs is least; of equal
// choices that with the fewest buckets.
//
// It is the dynamic programme over distinct lengths: with k buckets for the
// first j lengths, the last bucket takes lengths i+1 to j.
func chooseBuckets(units []unit, most int, cost func(unit) int) []unit {
	units = mergeEqual(units)
	n := len(units)
	counts := make([]int, n+1) // of the first j units
	for j, u := range units {
		counts[j+1] = counts[j] + u.count
	}
	bucket := func(i, j int) unit { return unit{units[j-1].length, counts[j] - counts[i]} }

	best := make([]int, n+1) // least cost of the first j units, with k buckets
	for j := 1; j <= n; j++ {
		best[j] = cost(bucket(0, j))
	}
	froms := [][]int{make([]int, n+1)} // by k: where the last bucket begins
	chosen, least := 0, best[n]
	for k := 1; k < min(most, n); k++ {
		next, from := make([]int, n+1), make([]int, n+1)
		for j := k + 1; j <= n; j++ {
			for i := k; i < j; i++ {
				if c := best[i] + cost(bucket(i, j)); from[j] == 0 || c < next[j] {
					next[j], from[j] = c, i
				}
			}
		}
		best, froms = next, append(froms, from)
		if best[n] < least {
			chosen, least = k, best[n]
		}
	}
	var buckets []unit
	for j, k := n, chosen; j > 0; k-- {
		i := froms[k][j]
		buckets = append(buckets, bucket(i, j))
		j = i
	}
	slices.Reverse(buckets)
	return buckets
}

// mergeEqual returns one unit for each length, in rising order.
func mergeEqual(units []unit) []unit {
	var merged []unit
	for _, u := range slices.SortedFunc(slices.Values(units), func(a, b unit) int { return cmp.Compare(a.length, b.length) }) {
		if n := len(merged); n > 0 && merged[n-1].length == u.length {
			merged[n-1].count += u.count
		} else {
			merged = append(merged, u)
		}
	}
	return merged
}

func ceilDiv(n, by int) int { return (n + by - 1) / by }

func roundUp(n, to int) int { return ceilDiv(n, to) * to }
