package finetune

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// TestSchemaCache: a schema is compiled once for each layout and limit, those used
// last are kept, and there are never many.
func TestSchemaCache(t *testing.T) {
	var c schemaCache
	compile := func(schema string, opts constrain.Options) *constrain.Grammar {
		t.Helper()
		g, err := c.compile(json.RawMessage(schema), opts)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	trusted, stranger := constrain.DefaultOptions(), constrain.UntrustedOptions()
	line := trusted
	line.Indent = 0
	first := compile(`{"enum": [0]}`, trusted)
	if compile(`{"enum": [0]}`, trusted) != first {
		t.Error("compiled twice")
	}
	if compile(`{"enum": [0]}`, stranger) == first || compile(`{"enum": [0]}`, line) == first {
		t.Error("limits and layouts are mixed up")
	}
	for i := range 3 * maxSchemas {
		compile(fmt.Sprintf(`{"enum": [%d]}`, i), trusted)
		if len(c.kept) > maxSchemas {
			t.Fatalf("%d schemas are kept", len(c.kept))
		}
		if compile(`{"enum": [0]}`, trusted) != first {
			t.Fatalf("the one used last was dropped at %d", i)
		}
	}
	if _, err := c.compile(json.RawMessage(`{"type": "strin"}`), trusted); err == nil || len(c.kept) != maxSchemas {
		t.Errorf("%v, %d kept", err, len(c.kept))
	}
}

// TestCostlyAnswer: an answer whose masks take too much is given up by itself: the
// next one is not.
func TestCostlyAnswer(t *testing.T) {
	m, err := Open(t.Context(), salamandratest.Reference(t, "models", "tiny-mha"), Options{Backend: "go", MaxNewTokens: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ask := func(pattern string) error {
		t.Helper()
		v, ctx, done, err := m.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer done(&err)
		limits := v.prompt.Layout(constrain.UntrustedOptions())
		limits.MaxWork = 5_000
		grammar, err := m.base.schemas.compile(json.RawMessage(fmt.Sprintf(`{"type": "string", "pattern": %q}`, pattern)), limits)
		if err != nil {
			t.Fatal(err)
		}
		r := request{field: "messages"}
		if r.prompt, err = v.prompt.Chat([]chatml.Message{{Role: chatml.User, Content: "a"}}); err != nil {
			t.Fatal(err)
		}
		if r.constraint, err = v.prompt.Tokens.Constrain(grammar); err != nil {
			t.Fatal(err)
		}
		g, err := v.options([]request{r}, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&answering{variant: v, requests: []request{r}}).run(ctx, g)
		return err
	}
	var r *RequestError
	if err := ask("^[^x]{60,90}y$"); !errors.As(err, &r) || r.Field != "schema" || !errors.Is(err, constrain.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if err := ask("^[xy]z$"); err != nil {
		t.Error(err)
	}
}

// TestFreeWhitespace: with white space free an answer is still by its schema, also of
// a budget that just suffices; the option is checked.
func TestFreeWhitespace(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	for _, wrong := range []int{-1, 1001} {
		if _, err := Open(t.Context(), dir, Options{Backend: "go", Whitespace: wrong}); err == nil {
			t.Errorf("white space of %d is taken", wrong)
		}
	}
	m, err := Open(t.Context(), dir, Options{Backend: "go", Whitespace: 12})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const schema = `{"type":"object","required":["a","b"],"properties":{"a":{"type":"array","items":{"type":"integer"},"minItems":2},"b":{"enum":["x"]}},"additionalProperties":false}`
	strict, err := constrain.Compile([]byte(schema), constrain.Options{MaxStates: 1000, Whitespace: 12})
	if err != nil {
		t.Fatal(err)
	}
	for _, budget := range []int{40, 200} {
		for seed := range uint64(3) {
			a, err := m.Chat(t.Context(), []chatml.Message{{Role: chatml.User, Content: "hola"}}, ChatOptions{
				Schema: json.RawMessage(schema), MaxNewTokens: budget, Sampling: &generate.Sampling{Temperature: 2, TopP: 1, RepetitionPenalty: 1, Seed: seed}})
			if err != nil {
				t.Fatal(err)
			}
			if !a.Complete || !strict.Match([]byte(a.Text)) {
				t.Errorf("%q", a.Text)
			}
		}
	}
}

// TestFreeWhitespaceOfContract: white space is free in answers to questions too, by the
// schema that the model has.
func TestFreeWhitespaceOfContract(t *testing.T) {
	dir := salamandratest.Reference(t, "models", "tiny-mha")
	const schema = `{"type":"object","required":["a","b"],"properties":{"a":{"type":"array","items":{"type":"integer"},"minItems":2},"b":{"enum":["x"]}},"additionalProperties":false}`
	m, err := Open(t.Context(), dir, Options{Backend: "go", Schema: json.RawMessage(schema), Whitespace: 12})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	free, fixed := constrain.Options{MaxStates: 1000, Whitespace: 12}, constrain.Options{MaxStates: 1000, Indent: 2}
	var matches [2]int
	for seed := range uint64(4) {
		answers, err := m.AskAll(t.Context(), []string{"hola"}, AskOptions{MaxNewTokens: 200, Sampling: &generate.Sampling{Temperature: 2, TopP: 1, RepetitionPenalty: 1, Seed: seed}})
		if err != nil {
			t.Fatal(err)
		}
		for i, opts := range []constrain.Options{free, fixed} {
			g, err := constrain.Compile([]byte(schema), opts)
			if err != nil {
				t.Fatal(err)
			}
			if answers[0].Complete && g.Match([]byte(answers[0].Text)) {
				matches[i]++
			}
		}
	}
	if matches[0] != 4 || matches[1] == 4 {
		t.Errorf("%d of 4 answers have free white space, %d the contract's layout", matches[0], matches[1])
	}
}
