package constrain

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is said of characters without making their states is what the states say: the
// least bytes of one, and the bytes that must be tokens by themselves.
func TestCharacterBytes(t *testing.T) {
	const seed = 4
	r := rand.New(rand.NewPCG(seed, 4))
	ends := []rune{0, 8, 0x1F, 0x20, '"', '"' + 1, '\\', 'a', 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF}
	for range 400 {
		var cuts []rune
		for range 2 * (1 + r.IntN(3)) {
			cuts = append(cuts, min(ends[r.IntN(len(ends))]+r.Int32N(3), 0x10FFFF))
		}
		slices.Sort(cuts)
		if cuts = slices.Compact(cuts); len(cuts)%2 == 1 {
			cuts = cuts[1:]
		}
		var ranges []runeRange
		for i := 0; i < len(cuts); i += 2 {
			ranges = append(ranges, runeRange{cuts[i], cuts[i+1]})
		}
		b := newBuilder(10_000)
		n := b.chars(ranges)
		require.Equal(t, n.min, leastBytes(ranges), "%v, seed %d", ranges, seed)
		var want, got [256]bool
		b.needs(n, &want)
		markChars(ranges, &got)
		require.Equal(t, want, got, "%v, seed %d", ranges, seed)
	}
}

// A product accepts what its parts are wanted to, and knows whether that is a string
// of some length.
func TestProduct(t *testing.T) {
	const seed = 6
	r := rand.New(rand.NewPCG(seed, 6))
	texts := []string{`^a*b`, `[ab]c$`, `^(ab|ba)+$`, `b{2,4}`, `^.{2,5}$`, `a(?!b)`, `^[^c]*$`}
	for range 150 {
		b := newBuilder(10_000)
		var list []*dfa
		var want []int8
		for range 1 + r.IntN(3) {
			a, err := b.patternOf(texts[r.IntN(len(texts))])
			require.NoError(t, err)
			list, want = append(list, a.dfa), append(want, int8(r.IntN(3)-1))
		}
		p := b.product(list, want)
		require.NoError(t, p.all())
		lo := r.IntN(4)
		hi, some := lo+r.IntN(3), false
		eachWord("abcx\n", r.IntN(6), func(word string) {
			meets := true
			for k, d := range list {
				meets = meets && (want[k] == 0 || d.matches(word) == (want[k] > 0))
			}
			if meets != p.matches(word) {
				t.Errorf("%q: %v, seed %d", word, !meets, seed)
			}
		})
		for n := lo; n <= hi; n++ {
			eachWord("abcx\n", n, func(word string) { some = some || p.matches(word) })
		}
		got, known := b.product(list, want).accepts(lo, hi)
		require.True(t, known)
		require.Equal(t, some, got, "%d to %d characters, seed %d", lo, hi, seed)
	}
}

// eachWord visits the words of n letters.
func eachWord(letters string, n int, visit func(string)) {
	if n == 0 {
		visit("")
		return
	}
	for _, c := range letters {
		eachWord(letters, n-1, func(rest string) { visit(string(c) + rest) })
	}
}

// An automaton that all grammars share is refused to those that may not have as many
// states, whoever asked for it first.
func TestSharedLimits(t *testing.T) {
	const schema = `{"type":"string","pattern":"^(shared|limits){40}$"}`
	for range 2 {
		_, err := Compile([]byte(schema), Options{MaxStates: 50_000})
		require.NoError(t, err)
		_, err = Compile([]byte(schema), Options{MaxStates: 100})
		require.ErrorIs(t, err, ErrTooLarge)
	}
}

// Grammars that are compiled at the same time share automata, and each writes its own
// answers.
func TestSharedAtOnce(t *testing.T) {
	const schema = `{"type":"object","patternProperties":{"^x[0-9]+$":{"type":"string","pattern":"^(at|once)+$"},"y$":{"format":"date"}},"additionalProperties":false}`
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			g, err := Compile([]byte(schema), Options{MaxStates: 50_000})
			if err != nil {
				t.Error(err)
				return
			}
			for text, want := range map[string]bool{`{"x1": "atonce", "y": "2024-02-29"}`: true, `{"x1": "atonc"}`: false, `{"x1y": "at"}`: false, `{"x1y": "2024-01-31"}`: true, `{"y": "2023-02-29"}`: false} {
				if g.Match([]byte(text)) != want {
					t.Errorf("%s: %v", text, !want)
				}
			}
		})
	}
	group.Wait()
}

// How deep values may be nested does not depend on the layout, nor on what else refers
// to the same schema at other depths.
func TestNestingByLayout(t *testing.T) {
	const schema = `{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/deep"},{"$ref":"#/$defs/list"},{"type":"array","items":{"type":"array","items":{"$ref":"#/$defs/deep"}}}]},
		"$defs":{"list":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/list"},{"$ref":"#/$defs/deep"}]}},"deep":{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{"type":"null"}}}}},"additionalProperties":false}}}`
	flat := mustCompile(t, schema, Options{MaxStates: 50_000})
	indented := mustCompile(t, schema, Options{Indent: 1, MaxStates: 50_000})
	for _, leaf := range []string{``, `{}`, `{"a": []}`, `{"a": [{"b": null}]}`, `{"b": null}`} {
		taken := 0
		for n := 1; n < 30; n++ {
			v, err := parseValue([]byte(strings.Repeat("[", n) + leaf + strings.Repeat("]", n)))
			require.NoError(t, err)
			yes := flat.Match(layout{item: ", ", key: ": "}.append(nil, v, 0))
			require.Equal(t, yes, indented.Match(layout{indent: 1, item: ",", key: ": "}.append(nil, v, 0)), "%d around %s", n, leaf)
			if yes {
				taken = n
			}
		}
		if want := leaf != `{"b": null}`; want != (taken >= 20 && taken < 29) {
			t.Errorf("%s in up to %d arrays", leaf, taken)
		}
	}
}

// Names that no schema allows are not those of a schema with the same patterns that
// allows all.
func TestSharedNames(t *testing.T) {
	const patterns = `"patternProperties":{"b$":{"type":"string"},"^shared?$":{"type":"object"}},"additionalProperties":{"type":"integer"}`
	match := func(schema, text string) bool {
		g, err := Compile([]byte(schema), Options{MaxStates: 50_000})
		require.NoError(t, err)
		return g.Match([]byte(text))
	}
	require.True(t, match(`{"type":"object",`+patterns+`}`, `{"ab": "", "c": 1}`))
	for _, names := range []string{`false`, `{"type":"integer"}`, `{"pattern":"^a","not":{"pattern":"^a"}}`, `{"pattern":"^a","maxLength":0}`, `{"enum":[1]}`} {
		schema := `{"type":"object","propertyNames":` + names + `,` + patterns + `}`
		require.True(t, match(schema, `{}`), schema)
		for _, text := range []string{`{"ab": ""}`, `{"c": 1}`, `{"shared": {}}`} {
			require.False(t, match(schema, text), "%s: %s", schema, text)
		}
	}
}
