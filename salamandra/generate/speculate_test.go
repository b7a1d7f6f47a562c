package generate_test

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TestSpeculation asks for the same answers again and again: drafts come true then,
// which takes fewer steps and never more, and no answer depends on it.
func TestSpeculation(t *testing.T) {
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
				ask := func(g *generate.Generator) []generate.Generation {
					opts := generate.DefaultOptions()
					opts.MaxNewTokens, opts.Temperature, opts.RepetitionPenalty, opts.Seed = 64, row.temperature, row.penalty, 3
					opts.StopTokens = []int32{end}
					if row.constrained {
						opts.Constrain = func(int) (*constrain.Matcher, error) { return grammar.Matcher(vocabulary) }
					}
					var told []generate.Generation
					opts.OnAnswer = func(row int, a generate.Generation) {
						require.Equal(t, len(told), row)
						told = append(told, a)
					}
					answers, err := g.Generate(t.Context(), asked, opts)
					require.NoError(t, err)
					require.Equal(t, answers, told)
					return answers
				}
				plain := generate.New(m, nil)
				plain.SpeculativeTokens = 0
				want := ask(plain)
				plain.Close()
				g := generate.New(m, nil)
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
				t.Logf("%s, %d together: %d steps without drafts, with them %v", row.name, len(asked), without, steps)
				require.LessOrEqual(t, steps[2], without, row.name)
				if chosen := len(want[0].IDs) - want[0].ForcedTokens; chosen > 8 {
					require.Less(t, steps[2], without, row.name)
				}
			}
		}
	})
}
