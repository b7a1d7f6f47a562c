package dataset

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// draw is a distribution of lengths.
type draw func(*rand.Rand) int

func between(least, most int) draw {
	return func(rng *rand.Rand) int { return least + rng.IntN(most-least+1) }
}

// random makes n examples: prefix common tokens, then a prompt and an answer
// of drawn lengths, then an untrained newline.
func random(n, prefix int, prompt, answer draw) []Example {
	rng := rand.New(rand.NewPCG(7, 7))
	var es []Example
	for i := range n {
		e := Example{ID: fmt.Sprint("q", i)}
		add := func(count int, train bool, token func(int) int32) {
			for k := range count {
				e.IDs, e.Train = append(e.IDs, token(k)), append(e.Train, train)
			}
		}
		word := func(int) int32 { return 1000 + rng.Int32N(5000) }
		add(prefix, false, func(k int) int32 { return int32(10 + k%500) })
		add(1, false, func(int) int32 { return 2000 + int32(i) }) // tells the prompts apart
		add(prompt(rng), false, word)
		add(answer(rng), true, word)
		add(1, false, func(int) int32 { return 9 })
		es = append(es, e)
	}
	return es
}

// impulsePrefix is the length of the prompt that IMPULSE's examples share,
// impulseP what a plan makes of it.
const impulsePrefix, impulseP = 1457, 1456

// impulse has the lengths of n of the project's examples, of which 700 are known,
// those to train on first; see testdata/README.md.
func impulse(n int) []Example {
	text, err := os.ReadFile("testdata/impulse_lengths.json")
	if err != nil {
		panic(err)
	}
	var lengths struct {
		Train, Eval [][2]int // of each, tokens after the prefix and those trained
	}
	if err := json.Unmarshal(text, &lengths); err != nil {
		panic(err)
	}
	all := slices.Concat(lengths.Train, lengths.Eval)
	at := 0
	prompt := func(*rand.Rand) int { return all[at][0] - all[at][1] - 2 }
	answer := func(*rand.Rand) int { at++; return all[at-1][1] }
	return random(n, impulsePrefix, prompt, answer)
}

// target is one thing to learn: after the sequence before it comes label.
type target struct {
	Example string
	At      int
	Label   int32
}

// wanted returns the targets of the examples by the definition of training.
func wanted(es []Example, all bool) []target {
	var ts []target
	for _, e := range es {
		for t := 1; t < len(e.IDs); t++ {
			if all || e.Train[t] {
				ts = append(ts, target{e.ID, t, e.IDs[t]})
			}
		}
	}
	return ts
}

// found reads the targets back out of a batch and checks that each row is the
// example it is said to be, with the prefix before it and padding behind.
func found(t *testing.T, b Batch, byID map[string]Example, pad int32) []target {
	t.Helper()
	require.Equal(t, []int{b.P, b.B * b.S, b.B, b.N, b.N, b.N},
		[]int{len(b.Prefix), len(b.Suffix), len(b.Lengths), len(b.TargetPositions), len(b.Labels), len(b.Weights)})
	tokens, sequence := b.P, 0
	for row, n := range b.Lengths {
		suffix := b.Suffix[row*b.S : (row+1)*b.S]
		if row < len(b.IDs) {
			require.Equal(t, byID[b.IDs[row]].IDs, slices.Concat(b.Prefix, suffix[:n]))
			tokens, sequence = tokens+int(n), sequence+b.P+int(n)
		} else {
			require.Zero(t, n, "an empty row")
		}
		require.False(t, slices.ContainsFunc(suffix[n:], func(id int32) bool { return id != pad }))
	}
	require.Equal(t, []int{tokens, sequence}, []int{b.Tokens, b.SequenceTokens})
	var ts []target
	for i, at := range b.TargetPositions {
		if b.Weights[i] == 0 {
			require.Equal(t, []int32{0, 0}, []int32{at, b.Labels[i]})
			continue
		}
		switch at := int(at) + b.TargetsFrom; {
		case at < b.P-1:
			require.EqualValues(t, len(b.IDs), b.Weights[i], "rows that share it")
			for _, id := range b.IDs {
				ts = append(ts, target{id, at + 1, b.Labels[i]})
			}
		case at == b.P-1: // predicts the first token of a row, of each in turn
			require.EqualValues(t, 1, b.Weights[i])
			row := slices.IndexFunc(b.IDs, func(id string) bool {
				return !slices.ContainsFunc(ts, func(x target) bool { return x.Example == id && x.At == b.P })
			})
			ts = append(ts, target{b.IDs[row], b.P, b.Labels[i]})
		default:
			require.EqualValues(t, 1, b.Weights[i])
			ts = append(ts, target{b.IDs[(at-b.P)/b.S], b.P + (at-b.P)%b.S + 1, b.Labels[i]})
		}
	}
	require.Len(t, ts, b.TrainedTokens)
	return ts
}

// TestPlanLaws: whatever the data and options, an epoch is the examples and
// their targets, each exactly once, and the plan's figures are those of the
// batches.
func TestPlanLaws(t *testing.T) {
	base := DefaultPlanOptions()
	base.BatchSize = 16
	with := func(change func(*PlanOptions)) PlanOptions {
		o := base
		change(&o)
		return o
	}
	outlier := append(random(40, 20, between(1, 9), between(5, 30)), random(1, 20, between(900, 900), between(10, 10))...)
	outlier[40].ID = "outlier"
	for _, row := range []struct {
		name     string
		examples []Example
		opts     PlanOptions
		prefix   int
	}{
		{name: "impulse", examples: impulse(100), opts: base, prefix: impulseP},
		{name: "in order", examples: impulse(100), opts: with(func(o *PlanOptions) { o.Shuffle = false }), prefix: impulseP},
		{name: "no prefix wanted", examples: impulse(20), opts: with(func(o *PlanOptions) { o.SharedPrefix = false })},
		{name: "no prefix there", examples: random(50, 0, between(0, 5), between(1, 90)), opts: base},
		{name: "all tokens", examples: random(30, 50, between(0, 9), between(1, 50)), opts: with(func(o *PlanOptions) { o.LossAll = true }), prefix: 50},
		{name: "all tokens, no prefix", examples: random(30, 50, between(0, 9), between(1, 50)), opts: with(func(o *PlanOptions) { o.LossAll, o.SharedPrefix = true, false })},
		{name: "all tokens of equal examples", examples: []Example{random(1, 30, between(4, 4), between(3, 3))[0]}, opts: with(func(o *PlanOptions) { o.LossAll = true }), prefix: 38},
		{name: "one example", examples: random(1, 30, between(4, 4), between(3, 3)), opts: base, prefix: 34},
		{name: "equal examples", examples: slices.Repeat(random(1, 30, between(4, 4), between(3, 3)), 5), opts: base, prefix: 34},
		{name: "answers at once", examples: []Example{
			{ID: "a", IDs: []int32{1, 2, 3}, Train: []bool{false, true, true}},
			{ID: "b", IDs: []int32{1, 2}, Train: []bool{false, true}},
		}, opts: base},
		{name: "batches of one", examples: random(9, 9, between(1, 9), between(1, 60)), opts: with(func(o *PlanOptions) { o.BatchSize = 1 }), prefix: 9},
		{name: "outlier", examples: outlier, opts: base, prefix: 20},
		{name: "one shape", examples: outlier, opts: with(func(o *PlanOptions) { o.MaxShapes = 1 }), prefix: 20},
		{name: "many shapes", examples: outlier, opts: with(func(o *PlanOptions) { o.MaxShapes = 99 }), prefix: 20},
	} {
		t.Run(row.name, func(t *testing.T) {
			plan, _, err := NewPlan(row.examples, nil, row.opts)
			require.NoError(t, err)
			require.Len(t, plan.Prefix, row.prefix)
			require.LessOrEqual(t, len(plan.Shapes), row.opts.MaxShapes)
			checkEpoch(t, plan, row.examples, row.opts)
		})
	}
}

func checkEpoch(t *testing.T, plan *Plan, examples []Example, opts PlanOptions) {
	t.Helper()
	byID := map[string]Example{}
	for _, e := range examples {
		byID[e.ID] = e
	}
	var targets []target
	var indices []int
	var tokens, slots, sequence int
	shapes := map[Shape]int{}
	epoch := plan.Epoch(3, 42)
	for _, b := range epoch {
		require.NotEmpty(t, b)
		indices = append(indices, b...)
		batch, err := plan.Batch(b)
		require.NoError(t, err)
		targets = append(targets, found(t, batch, byID, opts.PadID)...)
		tokens, sequence = tokens+batch.Tokens, sequence+batch.SequenceTokens
		slots += batch.P + batch.B*batch.S
		shapes[Shape{B: batch.B, S: batch.S, N: batch.N}]++
		require.Zero(t, batch.S%8)
		require.Zero(t, batch.N%16)
		require.LessOrEqual(t, batch.B, opts.BatchSize)
		require.True(t, !opts.Shuffle || len(b) >= batch.B-1, "at most one row of a shuffled batch is empty")
	}
	slices.Sort(indices)
	require.Equal(t, numbers(len(examples)), indices, "each example once")
	require.Equal(t, sorted(wanted(examples, opts.LossAll)), sorted(targets), "each target once, with its label")

	require.Equal(t, []int{plan.Batches, plan.Tokens, plan.Slots, plan.SequenceTokens}, []int{len(epoch), tokens, slots, sequence})
	require.InDelta(t, float64(slots-tokens)/float64(slots), plan.padding(), 1e-12)
	require.Len(t, shapes, len(plan.Shapes))
	for _, s := range plan.Shapes {
		require.Equal(t, s.Batches, shapes[Shape{B: s.B, S: s.S, N: s.N}])
	}
}

func sorted(ts []target) []target {
	return slices.SortedFunc(slices.Values(ts), func(a, b target) int {
		return cmp.Or(cmp.Compare(a.Example, b.Example), cmp.Compare(a.At, b.At))
	})
}

func TestPlanPadding(t *testing.T) {
	for _, row := range []struct {
		name     string
		examples []Example
		shuffle  bool
		most     float64
		speedup  float64 // slots against separate sequences, at least
	}{
		{name: "impulse shuffled", examples: impulse(700), shuffle: true, most: .15, speedup: 3.5},
		{name: "impulse in order", examples: impulse(700), most: .35, speedup: 3},
		{name: "any length from 11 to 1010", examples: random(700, 0, between(0, 9), between(10, 1000)), shuffle: true, most: .25},
	} {
		t.Run(row.name, func(t *testing.T) {
			opts := DefaultPlanOptions()
			opts.BatchSize, opts.Shuffle = 16, row.shuffle
			plan, _, err := NewPlan(row.examples, nil, opts)
			require.NoError(t, err)
			require.LessOrEqual(t, len(plan.Shapes), opts.MaxShapes)
			require.Less(t, plan.padding(), row.most)
			require.Greater(t, float64(plan.SequenceTokens)/float64(plan.Slots), row.speedup)
		})
	}
}

func TestEpoch(t *testing.T) {
	opts := DefaultPlanOptions()
	plan, _, err := NewPlan(impulse(50), nil, opts)
	require.NoError(t, err)
	again, _, err := NewPlan(impulse(50), nil, opts)
	require.NoError(t, err)
	require.Equal(t, plan.Epoch(2, 42), again.Epoch(2, 42), "same seed, same batches")
	require.NotEqual(t, plan.Epoch(2, 42), plan.Epoch(3, 42), "epochs differ")
	require.NotEqual(t, plan.Epoch(2, 42), plan.Epoch(2, 43), "seeds differ")

	opts.Shuffle = false
	plan, _, err = NewPlan(impulse(10), nil, opts)
	require.NoError(t, err)
	want := [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9}}
	require.Equal(t, want, plan.Epoch(0, 1), "the file's order")
	require.Equal(t, want, plan.Epoch(5, 2), "in every epoch")
}

// TestEpochOrderUnbiased: a shape's batches are not found early or late in the
// epoch, so that no part of a learning rate schedule sees one length only.
func TestEpochOrderUnbiased(t *testing.T) {
	opts := DefaultPlanOptions()
	plan, _, err := NewPlan(impulse(200), nil, opts)
	require.NoError(t, err)
	const epochs = 200
	sum, n := map[int]float64{}, map[int]float64{}
	for e := range epochs {
		batches := plan.Epoch(e, 42)
		for place, b := range batches {
			batch, err := plan.Batch(b)
			require.NoError(t, err)
			sum[batch.S] += float64(place) / float64(len(batches)-1)
			n[batch.S]++
		}
	}
	require.Len(t, sum, opts.MaxShapes)
	for s := range sum {
		require.InDelta(t, .5, sum[s]/n[s], .03, "mean place of batches of length %d", s)
	}
}

func TestChooseBuckets(t *testing.T) {
	padded := func(u unit) int { return u.length * u.count }
	for _, row := range []struct {
		name, reason string
		units        []unit
		most         int
		want         []unit
	}{
		{name: "one", units: []unit{{8, 1}, {16, 2}, {8, 1}}, most: 1, want: []unit{{16, 4}}},
		{name: "two", units: []unit{{8, 1}, {16, 2}, {8, 1}}, most: 2, want: []unit{{8, 2}, {16, 2}}},
		{name: "enough", units: []unit{{8, 1}, {16, 1}}, most: 9, want: []unit{{8, 1}, {16, 1}}},
		{name: "best cut", units: []unit{{8, 10}, {16, 10}, {96, 1}, {104, 1}}, most: 2, want: []unit{{16, 20}, {104, 2}}, reason: "80 + 8 padded; every other cut pads more"},
		{name: "three", units: []unit{{8, 10}, {16, 10}, {96, 1}, {104, 1}}, most: 3, want: []unit{{8, 10}, {16, 10}, {104, 2}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.Equal(t, row.want, chooseBuckets(row.units, row.most, padded), row.reason)
		})
	}
	free := chooseBuckets([]unit{{8, 3}, {16, 3}}, 2, func(unit) int { return 0 })
	require.Equal(t, []unit{{16, 6}}, free, "of equal costs the fewest shapes")
}

// TestShapeTokens: the dearer shapes are, the fewer there are; each that is left saves
// at least what it costs.
func TestShapeTokens(t *testing.T) {
	opts := DefaultPlanOptions()
	opts.BatchSize, opts.MaxShapes = 16, 8
	examples := impulse(700)
	one := opts
	one.MaxShapes = 1
	widest, _, err := NewPlan(examples, nil, one)
	require.NoError(t, err)
	last := opts.MaxShapes
	for _, cost := range []int{0, 1000, 3000, 10_000, 100_000} {
		opts.ShapeTokens = cost
		plan, _, err := NewPlan(examples, nil, opts)
		require.NoError(t, err)
		n := len(plan.Shapes)
		require.LessOrEqual(t, n, last)
		require.GreaterOrEqual(t, widest.Slots-plan.Slots, (n-1)*cost)
		last = n
	}
	require.Equal(t, 1, last)
	opts.MaxShapes, opts.ShapeTokens = 4, 10_000/3
	plan, _, err := NewPlan(examples, nil, opts)
	require.NoError(t, err)
	require.Len(t, plan.Shapes, 4, "three epochs of IMPULSE's records pay for all four")
}

func TestNewPlanRefuses(t *testing.T) {
	good := impulse(3)
	opts := DefaultPlanOptions()
	_, _, err := NewPlan(nil, nil, opts)
	require.Error(t, err)
	for _, bad := range []PlanOptions{{BatchSize: 0, MaxShapes: 1}, {BatchSize: 1, MaxShapes: 0}, {BatchSize: 1, MaxShapes: 1, ShapeTokens: -1}} {
		_, _, err = NewPlan(good, nil, bad)
		require.Error(t, err)
	}
	_, _, err = NewPlan([]Example{
		good[0],
		{ID: "short mask", IDs: []int32{1, 2}, Train: []bool{true}},
		{ID: "untrained", IDs: []int32{1, 2}, Train: []bool{false, false}},
		{ID: "first", IDs: []int32{1, 2}, Train: []bool{true, true}},
		{},
	}, nil, opts)
	require.Error(t, err)
	for _, text := range []string{"4 faults", `"short mask"`, `"untrained"`, `"first"`, `"#5"`} {
		require.ErrorContains(t, err, text)
	}
}

func TestBatchRefuses(t *testing.T) {
	plan, _, err := NewPlan(impulse(3), nil, DefaultPlanOptions())
	require.NoError(t, err)
	for _, indices := range [][]int{{-1}, {3}, {0, 1, 2, 0}} {
		_, err := plan.Batch(indices)
		require.Error(t, err)
	}
	empty, err := plan.Batch(nil)
	require.NoError(t, err)
	require.Zero(t, empty.TrainedTokens, "a batch of empty rows is allowed: a device with nothing left to do")
}

// TestPlanAnyBatch: batches need not come from Epoch.
func TestPlanAnyBatch(t *testing.T) {
	examples := impulse(60)
	plan, _, err := NewPlan(examples, nil, DefaultPlanOptions())
	require.NoError(t, err)
	byID := map[string]Example{}
	for _, e := range examples {
		byID[e.ID] = e
	}
	batch, err := plan.Batch([]int{17, 3})
	require.NoError(t, err)
	require.ElementsMatch(t, wanted([]Example{examples[17], examples[3]}, false), found(t, batch, byID, 3))
}

// TestNewPlans lays out 630 examples to train on and 70 to evaluate on: few
// shapes for both, little padding, every example of both once.
func TestNewPlans(t *testing.T) {
	examples := impulse(700)
	for _, size := range []int{1, 4, 16} {
		for _, shuffle := range []bool{true, false} {
			opts := DefaultPlanOptions()
			opts.BatchSize, opts.Shuffle = size, shuffle
			train, eval, err := NewPlan(examples[:630], examples[630:], opts)
			require.NoError(t, err)
			require.Equal(t, train.Prefix, eval.Prefix)
			shapes := map[[3]int]bool{}
			for _, p := range []*Plan{train, eval} {
				seen := map[string]bool{}
				for _, indices := range p.Epoch(1, 2) {
					b, err := p.Batch(indices)
					require.NoError(t, err)
					shapes[[3]int{b.B, b.S, b.N}] = true
					for _, id := range b.IDs {
						require.False(t, seen[id])
						seen[id] = true
					}
				}
				require.Len(t, seen, p.Len())
			}
			require.LessOrEqual(t, len(shapes), opts.MaxShapes, "batches of %d, shuffle %v", size, shuffle)
			if shuffle {
				padding := float64(train.Slots+eval.Slots-train.Tokens-eval.Tokens) / float64(train.Slots+eval.Slots)
				require.LessOrEqual(t, padding, .15, "batches of %d", size)
			}
			smaller, other := train.WithBatchSize(size)
			require.Equal(t, train.Shapes, smaller.Shapes)
			require.Equal(t, eval.Shapes, other.Shapes)
			require.Equal(t, train.Tokens, smaller.Tokens)
		}
	}
}
