package generate_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// goldenGeneration reads generate.json: prompt, continuations and distributions.
func goldenGeneration(t *testing.T, dir string) (prompt []int32, raw map[string]json.RawMessage) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "golden", "generate.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &raw))
	require.NoError(t, json.Unmarshal(raw["prompt"], &prompt))
	return prompt, raw
}

// TestGenerateGolden compares greedy continuations with Transformers.
func TestGenerateGolden(t *testing.T) {
	salamandratest.EachModel(t, func(t *testing.T, dir string) {
		prompt, raw := goldenGeneration(t, dir)
		salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
			g := generate.New(salamandratest.Load(t, b, dir), nil)
			defer g.Close()
			for key, penalty := range map[string]float64{"greedy": 1, "greedy_repetition_penalty_1.1": 1.1} {
				var want []int32
				require.NoError(t, json.Unmarshal(raw[key], &want))
				opts := generate.DefaultOptions()
				opts.MaxNewTokens, opts.RepetitionPenalty = len(want), penalty
				got, err := g.Generate(context.Background(), [][]int32{prompt}, opts)
				require.NoError(t, err)
				require.Equal(t, want, got[0].IDs, key)
			}
		})
	})
}

// TestDistributionGolden compares what sampling keeps, and how likely, with
// Transformers' logits processors.
func TestDistributionGolden(t *testing.T) {
	salamandratest.EachModel(t, func(t *testing.T, dir string) {
		prompt, raw := goldenGeneration(t, dir)
		m := salamandratest.Load(t, salamandratest.Go(t), dir)
		logits, err := m.Logits(nil, [][]int32{prompt})
		require.NoError(t, err)
		last := logits[0][len(prompt)-1]
		for key, s := range map[string]generate.Sampling{
			"distribution_rp1.1_t0.1_p0.9": {Temperature: 0.1, TopP: 0.9, RepetitionPenalty: 1.1},
			"distribution_rp1.1_t1.0_p0.9": {Temperature: 1, TopP: 0.9, RepetitionPenalty: 1.1},
			"distribution_rp1.1_t0.7_p0.5": {Temperature: 0.7, TopP: 0.5, RepetitionPenalty: 1.1},
		} {
			var want struct {
				Tokens []int32
				Probs  []float64
				Kept   int
			}
			require.NoError(t, json.Unmarshal(raw[key], &want))
			got := s.Candidates(last, prompt)
			require.Len(t, got, want.Kept, key)
			by := map[int32]float64{}
			for _, c := range got {
				by[c.ID] = c.Probability
			}
			for i, id := range want.Tokens {
				require.InDelta(t, want.Probs[i], by[id], 1e-5, "%s: token %d", key, id)
			}
		}
	})
}

// TestGenerateLaws checks that an answer does not depend on how it was computed.
func TestGenerateLaws(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		m := salamandratest.Load(t, b, dir)
		system := []int32{4, 557, 398, 134, 979, 996}
		prompts := [][]int32{
			slices.Concat(system, []int32{200, 201, 202}),
			slices.Concat(system, []int32{900}),
			slices.Concat(system, []int32{300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 329, 330, 331, 332, 333}),
			{77},
		}
		opts := generate.DefaultOptions()
		opts.MaxNewTokens = 6
		want := make([]generate.Generation, len(prompts))
		for i, p := range prompts {
			want[i].IDs = uncached(t, m, nil, p, opts.MaxNewTokens)
		}
		ask := func(prompts [][]int32, change func(*generate.Generator, *generate.Options)) []generate.Generation {
			g := generate.New(m, nil)
			defer g.Close()
			o := opts
			if change != nil {
				change(g, &o)
			}
			got, err := g.Generate(context.Background(), prompts, o)
			require.NoError(t, err)
			return answersOnly(got)
		}
		warm := func(g *generate.Generator, prefixes ...[]int32) {
			for _, p := range prefixes {
				require.NoError(t, g.Warm(context.Background(), p))
			}
		}
		for _, row := range []struct {
			name   string
			change func(*generate.Generator, *generate.Options)
		}{
			{"nothing kept", nil},
			{"a prefix of three prompts", func(g *generate.Generator, _ *generate.Options) { warm(g, system) }},
			{"two prefixes, the longest is used", func(g *generate.Generator, _ *generate.Options) {
				warm(g, system, prompts[2][:20], system[:2], prompts[3])
			}},
			{"more prompts than slots", func(g *generate.Generator, _ *generate.Options) { g.Slots = 3; warm(g, system) }},
			{"one by one", func(g *generate.Generator, _ *generate.Options) { g.Slots = 1 }},
			{"no memory for prefixes", func(g *generate.Generator, _ *generate.Options) {
				g.PrefixBytes = 0
				warm(g, system, prompts[2][:20])
			}},
		} {
			require.Equal(t, want, ask(prompts, row.change), row.name)
		}

		stop := want[0].IDs[3]
		first := slices.Index(want[0].IDs, stop)
		stopped := ask(prompts[:1], func(_ *generate.Generator, o *generate.Options) { o.StopTokens = []int32{stop} })
		require.Equal(t, generate.Generation{IDs: want[0].IDs[:first:first], Stopped: true}, stopped[0], "the stop token ends the answer and is no part of it")

		drawn := func(slots int) func(*generate.Generator, *generate.Options) {
			return func(g *generate.Generator, o *generate.Options) {
				g.Slots, o.Temperature, o.Seed = slots, 1, 7
			}
		}
		require.Equal(t, ask(prompts, drawn(1)), ask(prompts, drawn(3)), "same seed, same tokens, alone or not")
	})
}

// answersOnly leaves out how answers were computed.
func answersOnly(list []generate.Generation) []generate.Generation {
	bare := make([]generate.Generation, len(list))
	for i, a := range list {
		bare[i] = generate.Generation{IDs: a.IDs, Stopped: a.Stopped}
	}
	return bare
}

// uncached continues a prompt greedily by computing all logits anew for each
// token. The places after it are padded, so that one program does.
func uncached(t *testing.T, m *salamandra.Model, adapter salamandra.Adapter, prompt []int32, n int) []int32 {
	t.Helper()
	layout := salamandra.SharedPrefix{B: 1, S: len(prompt) + n}
	p, err := m.NewProgram("uncached", adapter, func(t salamandra.Transformer, args []*graph.Node) []*graph.Node {
		x := t.Blocks(t.Embed(args[0]), layout.Positions(args[0].Graph()), layout)
		return []*graph.Node{t.Logits(x)}
	})
	require.NoError(t, err)
	defer p.Close()
	ids := make([]int32, layout.S)
	copy(ids, prompt)
	for i := len(prompt); i < len(ids); i++ {
		tokens, err := m.Tokens(ids)
		require.NoError(t, err)
		out, err := p.Call(salamandra.Donate(tokens))
		require.NoError(t, err)
		logits, err := tensors.CopyFlatData[float32](out[0])
		require.NoError(t, err)
		require.NoError(t, out[0].FinalizeAll())
		v := m.Config.VocabSize
		last, best := logits[(i-1)*v:i*v], 0
		for id, x := range last {
			if x > last[best] {
				best = id
			}
		}
		ids[i] = int32(best)
	}
	return ids[len(prompt):]
}

// TestGenerateConstrained keeps a model of random weights to a schema, greedily
// and drawing, in a batch with free answers.
func TestGenerateConstrained(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	tok, err := tokenizer.Load(dir)
	require.NoError(t, err)
	schema := []byte(`{"type": "object", "required": ["lang", "tags"], "additionalProperties": false, "properties": {
		"lang": {"enum": ["CA", "ES", "EN"]}, "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 3}}}`)
	grammar, err := constrain.Compile(schema, constrain.DefaultOptions())
	require.NoError(t, err)
	checker, err := evalx.CompileSchema("schema", schema)
	require.NoError(t, err)
	const end = 5 // <|im_end|>
	vocabulary := constrain.TokenizerVocabulary(tok, []int32{end})
	salamandratest.OnEach(t, func(t *testing.T, b compute.Backend) {
		g := generate.New(salamandratest.Load(t, b, dir), nil)
		defer g.Close()
		for _, temperature := range []float64{0, 1.5} {
			opts := generate.DefaultOptions()
			opts.MaxNewTokens, opts.Temperature, opts.StopTokens = 40, temperature, []int32{end}
			opts.Constrain = func(row int) (*constrain.Matcher, error) {
				if row == 2 {
					return nil, nil
				}
				return grammar.Matcher(vocabulary)
			}
			answers, err := g.Generate(context.Background(), [][]int32{{10, 11}, {10, 12, 13}, {10, 14}, {10, 15}}, opts)
			require.NoError(t, err)
			for row, a := range answers {
				if row == 2 {
					continue
				}
				require.True(t, a.Stopped)
				value, err := evalx.Parse(tok.Decode(a.IDs, true))
				require.NoError(t, err)
				require.Empty(t, checker.Validate(value))
			}
			opts.MaxNewTokens = 3
			_, err = g.Generate(context.Background(), [][]int32{{10, 11}}, opts)
			require.ErrorContains(t, err, "its shortest answer")
		}
	})
}

// TestConstraintGivenUp: a request whose masks take too much work ends alone.
func TestConstraintGivenUp(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-gqa")
	tok, err := tokenizer.Load(dir)
	require.NoError(t, err)
	opts := constrain.DefaultOptions()
	opts.MaxWork = 5_000
	grammar, err := constrain.Compile([]byte(`{"type": "string", "pattern": "^[^x]{60,90}y$"}`), opts)
	require.NoError(t, err)
	g := generate.New(salamandratest.Load(t, salamandratest.Go(t), dir), nil)
	defer g.Close()
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			r := request([]int32{10, int32(i)}, 100)
			if i%2 == 0 {
				got, err := g.Do(t.Context(), r)
				assert.NoError(t, err)
				assert.Len(t, got.IDs, 100)
				return
			}
			m, err := grammar.Matcher(constrain.TokenizerVocabulary(tok, []int32{5}))
			assert.NoError(t, err)
			r.Constraint = m
			_, err = g.Do(t.Context(), r)
			assert.ErrorIs(t, err, constrain.ErrTooLarge)
		})
	}
	group.Wait()
}

func TestGenerateErrors(t *testing.T) {
	m := salamandratest.Load(t, salamandratest.Go(t), salamandratest.Reference(t, "models", "tiny-mha"))
	g := generate.New(m, nil)
	defer g.Close()
	opts := generate.DefaultOptions()
	opts.TopP, opts.MaxNewTokens = 0, 0
	_, err := g.Generate(context.Background(), [][]int32{{}, {1, 999999}, make([]int32, 9000)}, opts)
	require.Error(t, err)
	for _, part := range []string{"top-p 0", "max new tokens 0", "prompt 0", "is empty", "token 1 is id 999999", "9000 tokens"} {
		require.ErrorContains(t, err, part)
	}
	ctx, cancel := context.WithCancel(context.Background())
	opts = generate.DefaultOptions()
	opts.OnToken = func(int, int32) { cancel() }
	_, err = g.Generate(ctx, [][]int32{{1}}, opts)
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
}

// TestCandidatesByHand checks each step on numbers small enough to follow.
func TestCandidatesByHand(t *testing.T) {
	ln := func(p float64) float32 { return float32(math.Log(p)) }
	logits := []float32{ln(0.5), ln(0.25), ln(0.125), ln(0.125)}
	for _, row := range []struct {
		name    string
		s       generate.Sampling
		history []int32
		want    string
	}{
		{"all", generate.Sampling{Temperature: 1, TopP: 1, RepetitionPenalty: 1}, nil, "0:.500 1:.250 2:.125 3:.125"},
		{"temperature 0.5 squares", generate.Sampling{Temperature: 0.5, TopP: 1, RepetitionPenalty: 1}, nil, "0:.727 1:.182 2:.045 3:.045"},
		{"top-k keeps ties", generate.Sampling{Temperature: 1, TopK: 3, TopP: 1, RepetitionPenalty: 1}, nil, "0:.500 1:.250 2:.125 3:.125"},
		{"top-k", generate.Sampling{Temperature: 1, TopK: 2, TopP: 1, RepetitionPenalty: 1}, nil, "0:.667 1:.333"},
		{"top-p stops once reached", generate.Sampling{Temperature: 1, TopP: 0.7, RepetitionPenalty: 1}, nil, "0:.667 1:.333"},
		{"min-p is relative to the top", generate.Sampling{Temperature: 1, TopP: 1, MinP: 0.4, RepetitionPenalty: 1}, nil, "0:.667 1:.333"},
		{"temperature 0 is greedy", generate.Sampling{TopP: 1, RepetitionPenalty: 1}, nil, "0:1.000"},
		{"a seen token pays", generate.Sampling{TopP: 1, RepetitionPenalty: 3}, []int32{0, 0}, "1:1.000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, c := range row.s.Candidates(logits, row.history) {
				p, err := json.Marshal(math.Round(c.Probability*1000) / 1000)
				require.NoError(t, err)
				s := strings.TrimPrefix(string(p), "0")
				if !strings.Contains(s, ".") {
					s += "."
				}
				got = append(got, string(rune('0'+c.ID))+":"+s+strings.Repeat("0", 4-len(s[strings.Index(s, "."):])))
			}
			require.Equal(t, row.want, strings.Join(got, " "))
		})
	}
}
