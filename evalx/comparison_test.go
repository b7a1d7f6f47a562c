package evalx

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMcNemar(t *testing.T) {
	tests := []struct {
		wins, losses int
		want         float64
		reason       string
	}{
		{0, 0, 1, "no difference seen"},
		{1, 0, 1, "2 * 1/2"},
		{5, 0, 0.0625, "2 / 2^5"},
		{0, 6, 0.03125, "2 / 2^6, either side"},
		{8, 2, 0.109375, "2 * (1+10+45) / 2^10"},
		{5, 5, 1, "even, at most 1"},
		{-1, 6, 0.03125, "negative is 0"},
		{1000, 0, 2 * math.Pow(2, -1000), "no underflow"},
		{5000, 5000, 1, "large and even"},
	}
	for _, tt := range tests {
		got := mcNemar(tt.wins, tt.losses)
		if math.Abs(got-tt.want) > 1e-9*tt.want {
			t.Errorf("McNemar(%d, %d) = %g, want %g: %s", tt.wins, tt.losses, got, tt.want, tt.reason)
		}
	}
	// Against the sum of binomial coefficients, exact in float64 up to here.
	for n := 1; n <= 50; n++ {
		coefficient, sum := 1.0, 0.0
		for k := 0; 2*k <= n; k++ {
			sum += coefficient
			coefficient *= float64(n-k) / float64(k+1)
			want := min(1, 2*sum/math.Pow(2, float64(n)))
			if got := mcNemar(k, n-k); math.Abs(got-want) > 1e-9 {
				t.Errorf("McNemar(%d, %d) = %g, want %g", k, n-k, got, want)
			}
		}
	}
}

func TestBootstrap(t *testing.T) {
	mean, low, high := bootstrap([]float64{1, 1, 1}, 1)
	if mean != 1 || low != 1 || high != 1 {
		t.Errorf("%v, %v to %v: every resample of equal differences has their mean", mean, low, high)
	}
	if mean, low, high := bootstrap(nil, 1); mean != 0 || low != 0 || high != 0 {
		t.Errorf("%v, %v to %v of nothing", mean, low, high)
	}
	differences := make([]float64, 400)
	for i := range differences {
		differences[i] = float64(i%4) - 1 // mean 0.5, standard deviation sqrt(1.25)
	}
	mean, low, high = bootstrap(differences, 42)
	half := 1.96 * math.Sqrt(1.25/400)
	if mean != 0.5 || math.Abs(low-0.5+half) > 0.01 || math.Abs(high-0.5-half) > 0.01 {
		t.Errorf("%v, %v to %v, want 0.5 and about %.3f to either side", mean, low, high, half)
	}
	if _, again, _ := bootstrap(differences, 42); again != low {
		t.Errorf("%v and %v: the seed decides", again, low)
	}
	_, otherLow, otherHigh := bootstrap(differences, 43)
	if otherLow == low && otherHigh == high {
		t.Error("another seed gives the same interval")
	}
}

// scored returns results whose years are right where the pattern has a 1.
func scored(pattern string) []Result {
	task := Task{Fields: []Field{{Path: "year"}}}
	var results []Result
	for i, c := range pattern {
		r := task.Score(map[string]any{"year": "2023"}, fmt.Sprintf(`{"year":"%d"}`, 2022+int(c-'0')))
		r.ID = fmt.Sprintf("Q%d", i+1)
		results = append(results, r)
	}
	return results
}

func TestCompare(t *testing.T) {
	a, b := scored("110010"), scored("101011")
	b[0], b[5] = b[5], b[0] // paired by ID, not by place
	c, err := Compare(a, b, 42)
	if err != nil {
		t.Fatal(err)
	}
	if c.Questions != 6 || len(c.Measures) != 4 {
		t.Fatalf("%+v", c)
	}
	m := c.Measures[0]
	if m.Name != "passed" || m.A != (Share{3, 6}) || m.B != (Share{4, 6}) || m.P != 1 {
		t.Errorf("%+v", m)
	}
	if diff := cmp.Diff([][]string{{"Q3", "Q6"}, {"Q2"}}, [][]string{m.Wins, m.Losses}); diff != "" {
		t.Errorf("wins and losses of B, (-want +got)\n%s", diff)
	}
	back, err := Compare(b, a, 42)
	if err != nil {
		t.Fatal(err)
	}
	if r := back.Measures[0]; len(r.Wins) != len(m.Losses) || r.P != m.P || math.Abs(r.Difference+m.Difference) > 1e-12 {
		t.Errorf("the other way round: %+v", r)
	}
	if last := c.Measures[3]; last.Name != "field year" || last.B != m.B {
		t.Errorf("%+v", last)
	}
}

func TestCompareRefuses(t *testing.T) {
	other := scored("11")
	other[1].Want = map[string]any{"year": "1999"}
	fields := scored("11")
	fields[0].Fields[0].Name = "place"
	tests := []struct {
		name string
		a, b []Result
		want string
	}{
		{"missing", scored("11"), scored("111"), `only the second has "Q3"`},
		{"missing in the second", scored("111"), scored("1"), `only the first has "Q2", "Q3"`},
		{"twice", append(scored("1"), scored("1")...), scored("1"), `the first has twice "Q1"`},
		{"many", scored("1"), scored(strings.Repeat("1", 30)), `only the second has "Q2", "Q3", "Q4", "Q5", "Q6" and 24 more`},
		{"wanted", scored("11"), other, `the wanted values differ: "Q2"`},
		{"fields", scored("11"), fields, `field 1 is "year" in the first and "place" in the second, or of another wanted value: "Q1"`},
	}
	for _, tt := range tests {
		_, err := Compare(tt.a, tt.b, 42)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}
