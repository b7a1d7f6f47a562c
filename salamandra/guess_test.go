package salamandra_test

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TestGuesses asks for the same answers again and again: guesses come true then,
// which takes fewer steps, and no answer is another one for it.
func TestGuesses(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	tok, err := tokenizer.Load(dir)
	require.NoError(t, err)
	grammar, err := constrain.Compile([]byte(`{"type":"object","required":["a","b"],"properties":{"a":{"type":"string","maxLength":9},
		"b":{"type":"array","items":{"enum":["one","two","three"]},"minItems":3,"maxItems":5}}}`), constrain.DefaultOptions())
	require.NoError(t, err)
	const end = 5 // <|im_end|>
	vocabulary := constrain.TokenizerVocabulary(tok, []int32{end})
	prompts := [][]int32{{10, 11, 12}, {10, 13}, {20, 21, 22, 23, 24}}
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, dir)
		for _, row := range []struct {
			name        string
			temperature float64
			penalty     float64
			constrained bool
		}{
			{"greedy", 0, 1, false}, {"greedy, constrained", 0, 1, true}, {"penalty", 0, 1.1, false},
			{"drawn", 1, 1, false}, {"drawn, constrained", 1, 1, true},
		} {
			for _, asked := range [][][]int32{prompts[:1], prompts} { // alone, together
				ask := func(g *salamandra.Generator) []salamandra.Generation {
					opts := salamandra.DefaultGenerateOptions()
					opts.MaxNewTokens, opts.Temperature, opts.RepetitionPenalty, opts.Seed = 64, row.temperature, row.penalty, 3
					opts.StopTokens = []int32{end}
					if row.constrained {
						opts.Constrain = func(int) (*constrain.Matcher, error) { return grammar.Matcher(vocabulary) }
					}
					var told []salamandra.Generation
					opts.OnAnswer = func(row int, a salamandra.Generation) {
						require.Equal(t, len(told), row)
						told = append(told, a)
					}
					answers, err := g.Generate(t.Context(), asked, opts)
					require.NoError(t, err)
					require.Equal(t, answers, told)
					return answers
				}
				plain := salamandra.NewGenerator(m, nil)
				plain.Guess = 0
				want := ask(plain)
				plain.Close()
				g := salamandra.NewGenerator(m, nil)
				steps := make([]int, 3)
				for i := range steps {
					got := ask(g)
					require.Equal(t, answersOnly(want), answersOnly(got), row.name)
					for _, a := range got {
						steps[i] += a.Steps
					}
				}
				g.Close()
				without := 0
				for _, a := range want {
					without += a.Steps
				}
				t.Logf("%s, %d together: %d steps without guesses, with them %v", row.name, len(asked), without, steps)
				require.Less(t, 4*steps[2], 3*without, row.name)
			}
		}
	})
}
