package constrain

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where white space is free every layout of a value is taken, within the bound.
func TestWhitespace(t *testing.T) {
	const schema = `{"type":"object","additionalProperties":false,"properties":{"a":{"type":"array","items":{"type":"string"},"uniqueItems":true},"b":{"type":"object"},
		"c":{"type":"array","contains":{"type":"null"}},"d":{"type":"array","items":{"enum":[1,2]},"uniqueItems":true}},"required":["a"]}`
	g := mustCompile(t, schema, Options{MaxStates: 50_000, Whitespace: 8})
	for _, text := range []string{`{"a":["x y","z"],"b":{"k":{},"l":[ ]},"c":[null,3],"d":[2,1]}`, `{"a": []}`, `{"a":[],"b":{}}`} {
		for _, indent := range []string{"", " ", "\t", "  "} {
			var laid bytes.Buffer
			require.NoError(t, json.Indent(&laid, []byte(text), "", indent))
			require.True(t, g.Match(laid.Bytes()), laid.String())
			require.True(t, g.Match([]byte("\r\n"+strings.ReplaceAll(laid.String(), ":", " :\n"))), laid.String())
		}
		require.True(t, g.Match([]byte(text)))
		require.False(t, g.Match([]byte(strings.ReplaceAll(text, ":", ":"+strings.Repeat(" ", 9)))), "more than 8")
		require.False(t, g.Match([]byte(strings.Replace(text, `"a"`, `" a"`, 1))), "a blank within a key")
	}
	h, err := g.With(map[string]json.RawMessage{"a": json.RawMessage(`[ "x" ]`)})
	require.NoError(t, err)
	require.True(t, h.Match([]byte("{ \"a\" : [\"x\"]\n}")))
	require.False(t, h.Match([]byte(`{"a":[]}`)))
	for _, wrong := range []int{-1, 1001} {
		_, err := Compile([]byte(schema), Options{MaxStates: 1000, Whitespace: wrong})
		require.ErrorContains(t, err, "white space")
	}
}

// A model that wants nothing but white space gets a complete answer within its
// budget all the same.
func TestWhitespaceOnly(t *testing.T) {
	w, v := schemaWriter{rand.New(rand.NewPCG(5, 6))}, wordyVocabulary()
	blank := func(m *Matcher, allowed []int32) int32 {
		best, most := allowed[w.IntN(len(allowed))], 0
		for _, id := range allowed {
			if text := v.text[id]; len(text) > most && len(bytes.Trim(text, " \n\r\t")) == 0 {
				best, most = id, len(text)
			}
		}
		return best
	}
	n := 60
	if testing.Short() {
		n = 15
	}
	spaced := 0
	for range n {
		schema := w.document()
		s := oracle(t, schema)
		g := mustCompile(t, schema, Options{MaxStates: 100_000, Whitespace: 1 + w.IntN(20)})
		for _, budget := range []int{0, 20, 300} {
			answer := decode(t, g, v, budget, blank)
			requireValid(t, s, schema, answer)
			require.True(t, g.Match(answer), "%s\n%s", schema, answer)
			if bytes.Contains(answer, []byte("  ")) {
				spaced++
			}
		}
	}
	require.Positive(t, spaced)
}
