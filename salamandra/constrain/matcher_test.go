package constrain

import (
	"bytes"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

func TestMatcher(t *testing.T) {
	v := wordyVocabulary()
	g := mustCompile(t, `{"type":"object","properties":{"k":{"type":"integer","minimum":1}},"required":["k"]}`, Options{MaxStates: 1000})
	m, err := g.Matcher(v)
	require.NoError(t, err)
	require.Equal(t, `{"k": `, string(m.Forced()))
	require.ErrorIs(t, m.Accept('['), errToken)
	require.ErrorIs(t, m.Accept(256), errToken, "the end before the answer is complete")
	require.ErrorIs(t, m.Accept(-1), errToken)
	require.ErrorIs(t, m.Accept(int32(v.size)), errToken)
	require.Equal(t, 5, m.Shortest(), `tokens {" and k and ": and 1 and }`)
	_, err = m.Allowed(4)
	require.ErrorIs(t, err, errBudget)
	for _, c := range `{"k": 12` {
		require.NoError(t, m.Accept(int32(c)))
	}
	require.False(t, m.Complete())
	require.Empty(t, m.Forced(), "a digit or the brace")
	require.NoError(t, m.Accept('}'))
	require.True(t, m.Complete())
	require.True(t, m.Done())
	mask, err := m.Allowed(0)
	require.NoError(t, err)
	require.Equal(t, []int32{256}, ids(mask))
	require.Equal(t, 1, mask.Len())
	require.NoError(t, m.Accept(256))
	require.ErrorIs(t, m.Accept(256), errToken, "after the end")
	mask, err = m.Allowed(9)
	require.NoError(t, err)
	require.Zero(t, mask.Len())
}

func TestNumberMayEndOrGoOn(t *testing.T) {
	g := mustCompile(t, `{"type":"integer"}`, DefaultOptions())
	m, err := g.Matcher(wordyVocabulary())
	require.NoError(t, err)
	require.NoError(t, m.Accept('7'))
	require.True(t, m.Complete())
	require.False(t, m.Done())
	mask, err := m.Allowed(1)
	require.NoError(t, err)
	require.True(t, mask.Has(256) && mask.Has('0'))
	mask, err = m.Allowed(0)
	require.NoError(t, err)
	require.Equal(t, []int32{256}, ids(mask), "no token is left but the end")
}

func TestVocabularyLacksBytes(t *testing.T) {
	bytesOf := func(id int32) ([]byte, bool) { return []byte{byte(id)}, id != 'l' }
	g := mustCompile(t, `{"type":["null","boolean"]}`, DefaultOptions())
	_, err := g.Matcher(NewVocabulary(256, bytesOf, []int32{0}))
	require.ErrorIs(t, err, errVocabulary)
	require.ErrorContains(t, err, "6c")
	g = mustCompile(t, `{"type":"string","pattern":"^[k-m]*l$"}`, DefaultOptions())
	_, err = g.Matcher(NewVocabulary(256, bytesOf, []int32{0}))
	require.ErrorContains(t, err, "6c", "after any k")
	for _, schema := range []string{`{"const":1}`, `{"type":"string"}`, `{"enum":[1,22]}`} {
		g = mustCompile(t, schema, DefaultOptions())
		_, err = g.Matcher(NewVocabulary(256, bytesOf, []int32{0}))
		require.NoError(t, err, "an l is not needed in %s", schema)
	}
	g = mustCompile(t, `{"const":1}`, DefaultOptions())
	_, err = g.Matcher(NewVocabulary(256, bytesOf, []int32{0}))
	require.NoError(t, err, "no answer has an l")
	_, err = g.Matcher(NewVocabulary(256, bytesOf, nil))
	require.ErrorIs(t, err, errVocabulary, "no way to end")
	_, err = g.Matcher(NewVocabulary(256, bytesOf, []int32{256}))
	require.ErrorIs(t, err, errVocabulary, "end token outside")
}

func TestMaskApply(t *testing.T) {
	m := make(Mask, 2)
	m.add(0)
	m.add(65)
	logits := make([]float32, 130) // two more than the mask has bits
	m.Apply(logits)
	for i, x := range logits {
		require.Equal(t, i == 0 || i == 65, !math.IsInf(float64(x), -1), "token %d", i)
	}
}

// Forced tokens are the tokenizer's own whatever the answer turns out to be.
func TestForcedTokensAreTheTokenizers(t *testing.T) {
	tok, v := tinyVocabulary()
	encode := func(text string) []int32 { return tok.EncodeText(text, false) }
	w := schemaWriter{rand.New(rand.NewPCG(11, 5))}
	words := wordyVocabulary()
	compared, forced, n := 0, 0, 300
	if testing.Short() {
		n = 60
	}
	for range n {
		g := mustCompile(t, w.schema(3), Options{Indent: w.IntN(3), MaxStates: 50_000})
		answer := decode(t, g, words, 80, func(_ *Matcher, allowed []int32) int32 { return allowed[w.IntN(len(allowed))] })
		want := encode(string(answer))
		var spelt []byte
		for _, id := range want {
			spelt = append(spelt, v.text[id]...)
		}
		if !bytes.Equal(spelt, answer) {
			continue // NFC changed it, so no tokens of this tokenizer spell it
		}
		compared++
		m, err := g.Matcher(v)
		require.NoError(t, err)
		for len(want) > 0 {
			run := m.ForcedTokens(Unlimited)
			require.True(t, len(run) <= len(want) && slices.Equal(run, want[:len(run)]), "forced %v, the tokenizer has %v in %s", run, want, answer)
			forced += len(run)
			if len(run) == 0 {
				run = want[:1]
			}
			for _, id := range run {
				require.NoError(t, m.Accept(id))
			}
			want = want[len(run):]
		}
		require.True(t, m.Complete())
	}
	require.Greater(t, compared, n/2)
	require.Greater(t, forced, n)
}

// A budget holds when forced tokens are taken too, and answers decoded at the
// same time do not disturb each other.
func TestBudgetWithForcedTokens(t *testing.T) {
	_, v := tinyVocabulary()
	schema := string(readTestdata(t, "impulse.json"))
	g := mustCompile(t, schema, DefaultOptions())
	s := oracle(t, schema)
	first, err := g.Matcher(v)
	require.NoError(t, err)
	shortest := first.Shortest()
	answers := make([][]byte, 8)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() {
			m, err := g.Matcher(v)
			if err != nil {
				return
			}
			r := rand.New(rand.NewPCG(uint64(i), 9))
			for budget := shortest + i*i; !m.Done(); {
				next := m.ForcedTokens(budget)
				if len(next) == 0 {
					mask, err := m.Allowed(budget)
					if err != nil {
						return
					}
					allowed := ids(mask)
					next = []int32{allowed[r.IntN(len(allowed))]}
				}
				for _, id := range next {
					if m.Accept(id) != nil {
						return
					}
					answers[i] = append(answers[i], v.text[id]...)
				}
				if budget -= len(next); budget < 0 {
					return
				}
			}
		})
	}
	group.Wait()
	for _, answer := range answers {
		requireValid(t, s, schema, answer)
	}
}

// FuzzMatch compares the automaton with the oracle: what it accepts is valid,
// and the canonical text of a valid value is accepted.
func FuzzMatch(f *testing.F) {
	schemas := []string{
		`{"type":["string","null"],"minLength":1,"maxLength":5}`,
		`{"type":"string","pattern":"^[a-zç\"]+\\s*$"}`,
		`{"type":"string","format":"date"}`,
		`{"type":["integer","boolean"],"minimum":-105,"exclusiveMaximum":2000}`,
		`{"type":"number","exclusiveMinimum":-1.5,"maximum":20}`,
		`{"type":"array","items":{"anyOf":[{"type":"object","properties":{"a":{"enum":[1,"x",null]}},"additionalProperties":false},{"type":"string"}]},"maxItems":3}`,
	}
	var grammars []*Grammar
	var oracles []*jsonschema.Schema
	for _, schema := range schemas {
		grammars = append(grammars, mustCompile(f, schema, Options{MaxStates: 5000}))
		oracles = append(oracles, oracle(f, schema))
	}
	for _, seed := range []string{`"a"`, `""`, `null`, `"aç\"  "`, `"2024-02-29"`, `"\ud83d\ude00é\u0000"`, `[{"a":1},"x\/"]`, `[{"a": 2}]`, `-105`, `1999`, `2000`, `19.999`, `-1.5`, `true`, "\"\xff\"", `[{}]`, `12e0`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, parseErr := parseValue(data)
		x, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		for i, g := range grammars {
			valid := err == nil && parseErr == nil && oracles[i].Validate(x) == nil
			if g.Match(data) {
				require.True(t, valid, "%q accepted for %s", data, schemas[i])
			}
			if valid && plainNumbers(parsed) {
				text := layout{item: ", ", key: ": "}.append(nil, parsed, 0)
				require.True(t, g.Match(text), "%q refused for %s", text, schemas[i])
			}
		}
	})
}

var plainNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,14}|-?(0|[1-9][0-9]{0,8})\.[0-9]{0,7}[1-9])$`)

// plainNumbers reports whether all numbers of v are written as this package
// writes them.
func plainNumbers(v *value) bool {
	if v.kind == "number" {
		return plainNumber.MatchString(v.text)
	}
	for _, x := range v.items {
		if !plainNumbers(x) {
			return false
		}
	}
	for _, m := range v.members {
		if !plainNumbers(m.value) {
			return false
		}
	}
	return true
}

// FuzzCompile looks for schemas that make the compiler fail without saying
// where, or the grammar run into a state that cannot be completed.
func FuzzCompile(f *testing.F) {
	w := schemaWriter{rand.New(rand.NewPCG(1, 2))}
	for range 20 {
		f.Add([]byte(w.schema(2)))
	}
	for _, s := range []string{`{"$ref":"#"}`, `{"enum":[]}`, `{"type":[]}`, `{"required":[1]}`, `{"properties":3}`, `{"items":[]}`, `{"minimum":1e999}`, `{"minimum":0.00000000000000000001}`, `{"anyOf":[{"anyOf":3}]}`, `{"oneOf":[1,true]}`, `{"$ref":3}`} {
		f.Add([]byte(s))
	}
	v := wordyVocabulary()
	f.Fuzz(func(t *testing.T, schema []byte) {
		g, err := Compile(schema, Options{MaxStates: 500})
		if err != nil {
			var all *CompileError
			require.ErrorAs(t, err, &all)
			require.NotEmpty(t, all.Faults)
			return
		}
		m, err := g.Matcher(v)
		require.NoError(t, err)
		for budget := m.Shortest(); !m.Done(); budget-- {
			mask, err := m.Allowed(budget)
			require.NoError(t, err)
			require.NotZero(t, mask.Len())
			require.NoError(t, m.Accept(ids(mask)[0]))
		}
	})
}
