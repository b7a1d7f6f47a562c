package evalx

import (
	"math"
	"math/rand/v2"
	"slices"
)

// mcNemar returns the two-sided p-value of the exact McNemar test: how likely a
// split at least as uneven as wins to losses is if either is equally likely for
// each question on which the two differ. It is 1 if there are none. Negative
// numbers count as 0.
//
// Source: McNemar 1947, "Note on the sampling error of the difference between
// correlated proportions or percentages"; exact by the binomial distribution.
func mcNemar(wins, losses int) float64 {
	wins, losses = max(wins, 0), max(losses, 0)
	n, k := wins+losses, min(wins, losses)
	// Terms are summed relative to the largest, the last, which avoids
	// underflow for large n.
	logOf := func(i int) float64 {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(i + 1))
		c, _ := math.Lgamma(float64(n - i + 1))
		return a - b - c - float64(n)*math.Ln2
	}
	sum := 0.0
	for i, last := k, logOf(k); i >= 0; i-- {
		term := math.Exp(logOf(i) - last)
		sum += term
		if term < 1e-18*sum {
			break
		}
	}
	return min(1, 2*sum*math.Exp(logOf(k)))
}

// resamples of the bootstrap.
const resamples = 10_000

// bootstrap returns the mean of differences between pairs and its 95 % interval
// by the percentiles of the means of resamples, each of which draws as many
// pairs as there are, with replacement. The same seed gives the same interval.
// Without differences all three are 0.
//
// Source: Efron and Tibshirani 1993, "An introduction to the bootstrap",
// chapter 13.
func bootstrap(differences []float64, seed uint64) (estimate, low, high float64) {
	n := len(differences)
	if n == 0 {
		return 0, 0, 0
	}
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	means := make([]float64, resamples)
	for i := range means {
		sum := 0.0
		for range n {
			sum += differences[random.IntN(n)]
		}
		means[i] = sum / float64(n)
	}
	slices.Sort(means)
	at := func(share float64) float64 {
		return means[min(resamples-1, int(share*float64(resamples)))]
	}
	return mean(differences), at(0.025), at(0.975)
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
