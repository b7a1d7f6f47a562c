package constrain

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return data
}

func readJSON(t testing.TB, name string, to any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(readTestdata(t, name), to))
}

// queryOf returns the part of an answer that is known from the request.
func queryOf(t testing.TB, answer string) map[string]json.RawMessage {
	t.Helper()
	var parsed struct {
		Meta struct {
			OriginalQuery json.RawMessage `json:"original_query"`
		} `json:"meta"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &parsed))
	return map[string]json.RawMessage{"meta.original_query": parsed.Meta.OriginalQuery}
}

func mustCompile(t testing.TB, schema string, opts Options) *Grammar {
	t.Helper()
	g, err := Compile([]byte(schema), opts)
	require.NoError(t, err, schema)
	return g
}

// tinyVocabulary is that of the reference model's tokenizer: 2,048 tokens, byte
// fallback, NFC, no splitting of words.
var tinyVocabulary = sync.OnceValues(func() (*tokenizer.Tokenizer, *Vocabulary) {
	tok, err := tokenizer.Load("../testdata/reference/models/tiny-gqa")
	if err != nil {
		panic(err)
	}
	end, _ := tok.TokenID("<|im_end|>")
	return tok, TokenizerVocabulary(tok, []int32{end})
})

// The older variant ties one field to another by if and then.
func TestImpulseVariant(t *testing.T) {
	schema := string(readTestdata(t, "impulse_v1.json"))
	g := mustCompile(t, schema, Options{MaxStates: 50_000})
	s := oracle(t, schema)
	const answer = `{"doc_type": "projects", "filters": {"programme": null, "funding_level": null, "year": 2020, "location": null, "location_level": null}, "organisations": [], "semantic_query": null, "metric": "%s", "metric_params": {"k": %s, "field": null, "group_by": null}, "query_rewrite": "x", "meta": {"lang": "CA", "original_query": "y"}}`
	for _, row := range []struct {
		metric, k string
		valid     bool
	}{{"top_k", "5", true}, {"top_k", "null", false}, {"list", "null", true}, {"count", "5", false}} {
		text := fmt.Appendf(nil, answer, row.metric, row.k)
		require.Equal(t, row.valid, g.Match(text), "%s %s", row.metric, row.k)
		if row.valid {
			requireValid(t, s, schema, text)
		}
	}
	for constant, valid := range map[string]bool{`"sum"`: true, `"top_k"`: true, `"mean"`: false} {
		h, err := g.With(map[string]json.RawMessage{"metric": json.RawMessage(constant), "meta.original_query": json.RawMessage(`"q"`)})
		if !valid {
			require.ErrorIs(t, err, errConstant)
			continue
		}
		require.NoError(t, err)
		requireValid(t, s, schema, decode(t, h, wordyVocabulary(), 300, worst))
	}
	_, err := g.With(map[string]json.RawMessage{"metric": json.RawMessage(`"sum"`), "metric_params.k": json.RawMessage(`3`)})
	require.ErrorIs(t, err, errConstant, "each is allowed, both together are not")
}

// Where a model writes a canonical answer with the tokenizer's tokens, it
// writes the same tokens under constraint, and forced tokens are among them.
func TestSameTokensAsUnconstrained(t *testing.T) {
	tok, v := tinyVocabulary()
	encode := func(text string) []int32 { return tok.EncodeText(text, false) }
	var answers []string
	readJSON(t, "answers.json", &answers)
	g := mustCompile(t, string(readTestdata(t, "impulse.json")), DefaultOptions())
	total, forced := 0, [2]int{}
	for _, answer := range answers {
		fixed, err := g.With(queryOf(t, answer))
		require.NoError(t, err)
		for i, grammar := range []*Grammar{g, fixed} {
			require.True(t, grammar.Match([]byte(answer)), answer)
			m, err := grammar.Matcher(v)
			require.NoError(t, err)
			want := encode(answer)
			total += len(want)
			for len(want) > 0 {
				run := m.ForcedTokens(Unlimited)
				require.LessOrEqual(t, len(run), len(want))
				require.True(t, slices.Equal(want[:len(run)], run), "forced %v, the tokenizer has %v", run, want)
				if len(run) == 0 {
					allowed, err := m.Allowed(Unlimited)
					require.NoError(t, err)
					require.True(t, allowed.Has(want[0]), "token %d of %q", want[0], answer)
					run = want[:1]
				} else {
					forced[i] += len(run)
				}
				for _, id := range run {
					require.NoError(t, m.Accept(id))
				}
				want = want[len(run):]
			}
			require.True(t, m.Done())
		}
	}
	total /= 2 // both grammars
	t.Logf("of %d tokens %d are forced, with the query known %d", total, forced[0], forced[1])
	require.Greater(t, forced[0], total/2)
	require.Greater(t, forced[1], forced[0])
}

func TestConstants(t *testing.T) {
	schema := `{"type":"object","properties":{"a":{"type":"string","maxLength":3},"b":{"type":"array","items":{"type":"object","properties":{"c":{"type":["integer","null"]}}}}}}`
	rows := []struct {
		name, path, value, want string
		err                     error
		reason                  string
	}{
		{name: "optional property", path: "a", value: `"\u003cx"`, want: `{"a": "<x"}`, reason: "a constant is always written, in canonical form"},
		{name: "items", path: "b[].c", value: `null`, want: `{"a": "", "b": [{"c": null}, {"c": null}]}`, reason: "[] are the items"},
		{name: "too long", path: "a", value: `"long"`, err: errConstant, reason: "the schema allows three characters"},
		{name: "nowhere", path: "x.y", value: `1`, err: errConstant, reason: "no such property"},
		{name: "not JSON", path: "a", value: `x`, err: errConstant, reason: "a constant is JSON"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			constants := map[string]json.RawMessage{row.path: json.RawMessage(row.value)}
			g, err := Compile([]byte(schema), Options{Constants: constants, MaxStates: 1000})
			require.True(t, errors.Is(err, row.err), "%v: %s", err, row.reason)
			if row.err == nil {
				require.True(t, g.Match([]byte(row.want)), row.reason)
			}
		})
	}
	g := mustCompile(t, schema, Options{MaxStates: 1000})
	h, err := g.With(map[string]json.RawMessage{"a": json.RawMessage(`"x"`)})
	require.NoError(t, err)
	require.True(t, g.Match([]byte(`{}`)))
	require.False(t, h.Match([]byte(`{}`)))
}
