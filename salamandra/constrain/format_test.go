package constrain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is written for a format is of it, what is written for not being of it is
// not, and nothing is both.
func TestFormats(t *testing.T) {
	v, r := wordyVocabulary(), rand.New(rand.NewPCG(8, 8))
	require.Len(t, notFormats, len(formats))
	unknown := []string{"idn-email", "idn-hostname", "iri", "iri-reference"} // to the other validator
	for name := range formats {
		for i, form := range []string{`{"type":"string","format":%q}`, `{"type":"string","not":{"format":%q},"maxLength":40}`} {
			if i == 1 && slices.Contains(unknown, name) {
				continue
			}
			schema := fmt.Sprintf(form, name)
			g, s := mustCompile(t, schema, DefaultOptions()), oracle(t, schema)
			for range 60 {
				answer := decode(t, g, v, 40, func(_ *Matcher, allowed []int32) int32 { return allowed[r.IntN(len(allowed))] })
				requireValid(t, s, schema, answer)
			}
		}
		b := newBuilder(50_000)
		is, _ := formatPattern(name)
		narrow, err := b.patternOf(is)
		require.NoError(t, err)
		wide, err := b.patternOf(notFormats[name])
		require.NoError(t, err)
		some, known := b.product([]*dfa{narrow.dfa, wide.dfa}, []int8{1, -1}).accepts(0, unbounded)
		require.True(t, known && !some, name)
	}
}
