package finetune_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/weights"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

const ticketSchema = `{"type": "object", "additionalProperties": false, "required": ["topic", "urgent", "question"], "properties": {
	"topic": {"enum": ["screen", "network", "other"]}, "urgent": {"type": "boolean"}, "question": {"type": "string", "maxLength": 80}}}`

// copyDir copies the files of a directory, and writes a contract beside them.
func copyDir(t testing.TB, from string, c *chatml.Contract) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(from)
	check(t, err)
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, e.Name()), data, 0o644))
	}
	if c != nil {
		check(t, c.Write(filepath.Join(dir, chatml.ContractFile)))
	}
	return dir
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contract is one of a task that is not IMPULSE, for a base.
func contract(t testing.TB, base string) chatml.Contract {
	t.Helper()
	tok, err := tokenizer.Load(base)
	check(t, err)
	sum, err := weights.Hash(t.Context(), base)
	check(t, err)
	return chatml.Contract{
		Date: chatml.DefaultDate, DefaultSystem: true, SystemPrompt: "Sort the ticket.", Schema: json.RawMessage(ticketSchema),
		RequestValues:   map[string]chatml.RequestValue{"question": chatml.Question},
		TokenizerSHA256: tok.Hash(), BaseSHA256: sum,
	}
}

// open opens a model on the Go backend and collects warnings.
func open(t testing.TB, path string, o finetune.Options) (*finetune.Model, *[]string) {
	t.Helper()
	var warnings []string
	o.Backend, o.Warn = "go", func(w string) { warnings = append(warnings, w) }
	m, err := finetune.Open(t.Context(), path, o)
	check(t, err)
	t.Cleanup(func() { check(t, m.Close()) })
	return m, &warnings
}

type ticket struct {
	Topic    string `json:"topic"`
	Urgent   *bool  `json:"urgent"`
	Question string `json:"question"`
}

// read parses an answer and checks that it keeps to the schema.
func read(t testing.TB, a finetune.Answer, question string) ticket {
	t.Helper()
	var got ticket
	d := json.NewDecoder(strings.NewReader(a.Text))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil || !a.Complete {
		t.Fatalf("%q, complete %v: %v", a.Text, a.Complete, err)
	}
	if got.Question != question || got.Urgent == nil || !strings.Contains("screen network other", got.Topic) {
		t.Errorf("%q does not answer %q", a.Text, question)
	}
	return got
}

// TestOpenAdapter: an adapter directory is all it takes to get valid JSON, in
// the layout of the contract, that repeats the question.
func TestOpenAdapter(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	c := contract(t, base)
	c.Layout = chatml.Layout{ItemSeparator: ",", KeySeparator: ":"}
	dir := copyDir(t, filepath.Join(base, "golden", "adapter-lora"), &c)
	m, warnings := open(t, dir, finetune.Options{Base: base})
	const question = `La pantalla "nova" és negra`
	a, err := m.Ask(t.Context(), question)
	check(t, err)
	got := read(t, a, question)
	want, _ := json.Marshal(got)
	if a.Text != string(want) {
		t.Errorf("%q is not laid out as %q", a.Text, want)
	}
	if a.CachedTokens == 0 || a.ForcedTokens == 0 {
		t.Errorf("no use of the prefix or of forced tokens: %+v", a)
	}
	if m.Contract().SystemPrompt != "Sort the ticket." {
		t.Errorf("contract %+v", m.Contract())
	}
	for _, w := range *warnings {
		if !strings.Contains(w, "template") {
			t.Errorf("warning %q", w)
		}
	}
}

// TestAskAllEqualsAsk: an answer does not depend on the questions beside it.
func TestAskAllEqualsAsk(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-mha")
	c := contract(t, base)
	m, _ := open(t, copyDir(t, base, &c), finetune.Options{})
	questions := []string{"a", "sin red desde ayer", "pantalla", "b c d", "x"}
	var order []int
	all, err := m.AskAll(t.Context(), questions, finetune.AskOptions{OnAnswer: func(i int, _ finetune.Answer) { order = append(order, i) }})
	check(t, err)
	if len(order) != len(questions) {
		t.Errorf("answers told in order %v", order)
	}
	for i, q := range questions {
		one, err := m.Ask(t.Context(), q)
		check(t, err)
		if one.Text != all[i].Text {
			t.Errorf("%q: %q alone, %q with others", q, one.Text, all[i].Text)
		}
	}
}

// TestOpenBase: a base without a contract answers conversations, and questions
// once it is given a schema.
func TestOpenBase(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-mha")
	m, warnings := open(t, base, finetune.Options{MaxNewTokens: 12})
	if len(*warnings) == 0 || !strings.Contains((*warnings)[0], chatml.ContractFile) {
		t.Errorf("warnings %q", *warnings)
	}
	if _, err := m.Ask(t.Context(), "hola"); !errors.Is(err, finetune.ErrNoSchema) {
		t.Errorf("a question without a schema: %v", err)
	}
	user := []chatml.Message{{Role: chatml.User, Content: "hola"}}
	var streamed strings.Builder
	free, err := m.Chat(t.Context(), user, finetune.ChatOptions{OnText: func(s string) { streamed.WriteString(s) }})
	check(t, err)
	if free.NewTokens == 0 || strings.TrimRight(free.Text, "\uFFFD") != streamed.String() {
		t.Errorf("%q, streamed %q", free.Text, streamed.String())
	}
	kept, err := m.Chat(t.Context(), user, finetune.ChatOptions{Schema: json.RawMessage(`{"enum": ["yes", "no"]}`)})
	check(t, err)
	if kept.Text != `"yes"` && kept.Text != `"no"` || !kept.Complete {
		t.Errorf("answer %q", kept.Text)
	}
	prompt := "Sort the ticket."
	n, _ := open(t, base, finetune.Options{SystemPrompt: &prompt, Schema: json.RawMessage(ticketSchema), MaxNewTokens: 200})
	a, err := n.Ask(t.Context(), "hola")
	check(t, err)
	if !json.Valid([]byte(a.Text)) {
		t.Errorf("answer %q", a.Text)
	}
}

// TestSwap: questions after a swap are answered with the new adapter, and the
// first model is as it was where both are kept.
func TestSwap(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	c := contract(t, base)
	first, second := copyDir(t, filepath.Join(base, "golden", "adapter-lora"), &c), copyDir(t, filepath.Join(base, "golden", "train-end"), &c)
	m, _ := open(t, first, finetune.Options{Base: base})
	free := func(m *finetune.Model) string {
		a, err := m.Chat(t.Context(), []chatml.Message{{Role: chatml.User, Content: "hola"}}, finetune.ChatOptions{MaxNewTokens: 16})
		check(t, err)
		return a.Text
	}
	before := free(m)
	other, err := m.With(t.Context(), second)
	check(t, err)
	want := free(other)
	check(t, other.Close())
	if want == before {
		t.Fatal("the two adapters answer alike: the test shows nothing")
	}
	check(t, m.Swap(t.Context(), second))
	if got := free(m); got != want {
		t.Errorf("after the swap %q, want %q", got, want)
	}
	check(t, m.Swap(t.Context(), first))
	if got := free(m); got != before {
		t.Errorf("swapped back %q, want %q", got, before)
	}
	if err := m.Swap(t.Context(), t.TempDir()); err == nil {
		t.Error("an empty directory was taken for an adapter")
	}
	if got := free(m); got != before {
		t.Errorf("after a swap that failed %q, want %q", got, before)
	}
}

// TestConcurrent: questions, swaps and the end may come from anywhere, and what is
// asked when the end comes gets an error.
func TestConcurrent(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	c := contract(t, base)
	dir := copyDir(t, filepath.Join(base, "golden", "adapter-lora"), &c)
	m, _ := open(t, dir, finetune.Options{Base: base, Slots: 2})
	var group sync.WaitGroup
	var ended atomic.Int32
	for range 4 {
		group.Go(func() {
			for {
				_, err := m.AskAll(context.Background(), []string{"pantalla", "a", "b", "c"}, finetune.AskOptions{})
				if errors.Is(err, finetune.ErrClosed) {
					ended.Add(1)
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		if err := m.Swap(context.Background(), dir); err != nil {
			t.Error(err)
		}
	}
	other, err := m.With(context.Background(), dir)
	check(t, err)
	check(t, m.Close())
	group.Wait()
	if ended.Load() != 4 || m.Ready() {
		t.Errorf("%d of 4 saw the end; ready %v", ended.Load(), m.Ready())
	}
	for name, ask := range map[string]func() error{
		"Ask":  func() error { return errorOf(m.Ask(t.Context(), "a")) },
		"Chat": func() error { return errorOf(m.Chat(t.Context(), nil, finetune.ChatOptions{})) },
		"Swap": func() error { return m.Swap(t.Context(), dir) },
		"With": func() error { return errorOf(m.With(t.Context(), dir)) },
		"Warm": func() error { return m.Warm(t.Context()) },
	} {
		if err := ask(); !errors.Is(err, finetune.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if _, err := other.Ask(t.Context(), "pantalla"); err != nil { // the base is still there
		t.Error(err)
	}
	check(t, other.Close())
}

// TestSwapStaysReady: a model that is warm has no cold adapter put in its place.
func TestSwapStaysReady(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	dir := filepath.Join(base, "golden", "adapter-lora")
	for _, warm := range []bool{true, false} {
		m, _ := open(t, dir, finetune.Options{Base: base, NoWarmUp: !warm})
		check(t, m.Swap(t.Context(), filepath.Join(base, "golden", "train-end")))
		if m.Ready() != warm {
			t.Errorf("opened warm %v, ready after a swap %v", warm, m.Ready())
		}
		check(t, m.Warm(t.Context()))
		if !m.Ready() {
			t.Error("not ready after Warm")
		}
	}
}

// TestOpenRefusesDrift: a tokenizer or a base that is not that of training is
// refused, unless told so.
func TestOpenRefusesDrift(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	for name, change := range map[string]func(*chatml.Contract){
		"base_sha256":      func(c *chatml.Contract) { c.BaseSHA256 = strings.Repeat("0", 64) },
		"tokenizer_sha256": func(c *chatml.Contract) { c.TokenizerSHA256 = strings.Repeat("0", 64) },
	} {
		c := contract(t, base)
		change(&c)
		dir := copyDir(t, filepath.Join(base, "golden", "adapter-lora"), &c)
		_, err := finetune.Open(t.Context(), dir, finetune.Options{Base: base, Backend: "go"})
		if !errors.Is(err, chatml.ErrDrift) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		_, warnings := open(t, dir, finetune.Options{Base: base, AllowDrift: true, NoWarmUp: true})
		if !strings.Contains(strings.Join(*warnings, "\n"), name) {
			t.Errorf("%s: warnings %q", name, *warnings)
		}
	}
}

// TestOpenRefuses: what does not belong together is refused before weights are read.
func TestOpenRefuses(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	c := contract(t, base)
	c.BaseSHA256 = ""
	long := c
	long.SystemPrompt = strings.Repeat("Sort the ticket. ", 200)
	adapter := filepath.Join(base, "golden", "adapter-lora")
	tokens, err := os.ReadFile(filepath.Join(base, "tokenizer.json"))
	check(t, err)
	other := copyDir(t, adapter, nil)
	check(t, os.WriteFile(filepath.Join(other, "tokenizer.json"), []byte(swapIDs(t, string(tokens))), 0o644))
	for name, row := range map[string]struct {
		dir, base, want string
		drift           bool
	}{
		"more ids than rows":     {dir: withConfig(t, base, &c, map[string]any{"vocab_size": 1000}), want: "do not belong together"},
		"a prompt too long":      {dir: withConfig(t, base, &long, map[string]any{"max_position_embeddings": 512}), want: "more than the model's context of 512"},
		"an adapter's tokenizer": {dir: other, base: base, want: "gives other ids", drift: true},
	} {
		var loading []string
		_, err := finetune.Open(t.Context(), row.dir, finetune.Options{Base: row.base, Backend: "go", Progress: func(phase string, _, _ int64) { loading = append(loading, phase) }})
		if err == nil || !strings.Contains(err.Error(), row.want) || errors.Is(err, chatml.ErrDrift) != row.drift {
			t.Errorf("%s: %v", name, err)
		}
		if len(loading) > 0 {
			t.Errorf("%s: told after %q", name, loading)
		}
	}
	_, warnings := open(t, other, finetune.Options{Base: base, AllowDrift: true, NoWarmUp: true})
	if !strings.Contains(strings.Join(*warnings, "\n"), "gives other ids") {
		t.Errorf("warnings %q", *warnings)
	}
	same := copyDir(t, adapter, nil)
	var compact bytes.Buffer
	check(t, json.Compact(&compact, tokens))
	check(t, os.WriteFile(filepath.Join(same, "tokenizer.json"), compact.Bytes(), 0o644))
	open(t, same, finetune.Options{Base: base, NoWarmUp: true})
}

// TestOptions: all that is out of range is reported at once, in the caller's words.
func TestOptions(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	adapter := filepath.Join(base, "golden", "adapter-lora")
	for name, row := range map[string]struct {
		dir  string
		o    finetune.Options
		want []string
	}{
		"all at once": {base, finetune.Options{Backend: "tpu", Dtype: "int4", Slots: -1, MaxRank: -2, MaxNewTokens: -3, Schema: json.RawMessage("{")}, []string{
			"--Backend: ", "--Dtype: ", "--Slots: -1", "--MaxRank", "--MaxNewTokens", "--Schema: is not JSON"}},
		"a base of a base":   {base, finetune.Options{Base: base}, []string{"--Base ", "is no adapter directory"}},
		"a base that is not": {adapter, finetune.Options{Base: "./nowhere"}, []string{"--Base: "}},
		"no base":            {adapter, finetune.Options{}, []string{"base model of the adapter", "--Base gives another", "--DownloadBase fetches"}},
		"a schema of no use": {base, finetune.Options{Schema: json.RawMessage(`{"type": "strin"}`)}, []string{"--Schema: ", "strin"}},
	} {
		if row.o.Name = func(field string) string { return "--" + field }; row.o.Backend == "" {
			row.o.Backend = "go"
		}
		_, err := finetune.Open(t.Context(), row.dir, row.o)
		for _, want := range row.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	}
}

// swapIDs gives two tokens of a tokenizer.json each other's ids.
func swapIDs(t testing.TB, text string) string {
	t.Helper()
	a, b := regexp.MustCompile(`"(e)": (\d+)`).FindStringSubmatch(text), regexp.MustCompile(`"(a)": (\d+)`).FindStringSubmatch(text)
	if a == nil || b == nil {
		t.Fatal("no such tokens")
	}
	return strings.NewReplacer(a[0], `"e": `+b[2], b[0], `"a": `+a[2]).Replace(text)
}

// TestOverride: another schema keeps the values that a request fixes where it has
// a place for them, and one that nothing is known of those of IMPULSE.
func TestOverride(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-mha")
	c := contract(t, base)
	trained := copyDir(t, base, &c)
	const longer = `{"type": "object", "additionalProperties": false, "required": ["question", "n"], "properties": {"question": {"type": "string"}, "n": {"enum": [1, 2]}}}`
	const impulse = `{"type": "object", "additionalProperties": false, "required": ["meta"], "properties": {"meta": {
		"type": "object", "additionalProperties": false, "required": ["original_query"], "properties": {"original_query": {"type": "string"}}}}}`
	for name, row := range map[string]struct {
		dir, schema string
		want        map[string]chatml.RequestValue
		warn        bool
	}{
		"place kept":    {trained, longer, map[string]chatml.RequestValue{"question": chatml.Question}, true},
		"place gone":    {trained, impulse, map[string]chatml.RequestValue{}, true},
		"nothing known": {base, impulse, map[string]chatml.RequestValue{"meta.original_query": chatml.Question}, false},
	} {
		m, warnings := open(t, row.dir, finetune.Options{Schema: json.RawMessage(row.schema), NoWarmUp: true})
		if got := m.Contract().RequestValues; !maps.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
		if strings.Contains(strings.Join(*warnings, "\n"), "schema differs") != row.warn {
			t.Errorf("%s: warnings %q", name, *warnings)
		}
	}
}

// TestUnusableSchema: a model whose schema cannot be kept to converses, and an
// adapter that has one takes no other's place.
func TestUnusableSchema(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	c := contract(t, base)
	c.Schema, c.RequestValues = json.RawMessage(`{"type": "string", "pattern": "(a|b)\\1"}`), nil
	bad := copyDir(t, filepath.Join(base, "golden", "adapter-lora"), &c)
	m, warnings := open(t, bad, finetune.Options{Base: base})
	if !strings.Contains(strings.Join(*warnings, "\n"), "cannot be kept to the schema") {
		t.Errorf("warnings %q", *warnings)
	}
	var fault *constrain.CompileError
	if _, err := m.Ask(t.Context(), "a"); !errors.As(err, &fault) || !errors.As(m.CheckAsk(), &fault) {
		t.Errorf("Ask: %v; CheckAsk: %v", err, m.CheckAsk())
	}
	if _, err := m.AskAll(t.Context(), []string{"a"}, finetune.AskOptions{Unconstrained: true, MaxNewTokens: 4}); err != nil {
		t.Error(err)
	}
	if err := m.Swap(t.Context(), bad); !errors.As(err, &fault) {
		t.Errorf("Swap: %v", err)
	}
}

// TestScore: answers are scored by the rules of any task.
func TestScore(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-mha")
	c := contract(t, base)
	m, _ := open(t, copyDir(t, base, &c), finetune.Options{})
	a, err := m.Ask(t.Context(), "pantalla")
	check(t, err)
	schema, err := evalx.CompileSchema("schema", []byte(ticketSchema))
	check(t, err)
	task := evalx.Task{Name: "tickets", Schema: schema, Fields: []evalx.Field{{Path: "topic", Compare: evalx.Exact}}}
	other := "other"
	if strings.Contains(a.Text, other) {
		other = "screen"
	}
	results, err := m.Score(t.Context(), task, []finetune.Case{
		{ID: "right", Question: "pantalla", Want: a.Text},
		{ID: "wrong", Question: "pantalla", Want: `{"topic": "` + other + `", "urgent": true, "question": ""}`},
	}, finetune.ScoreOptions{})
	check(t, err)
	if !results[0].AllCorrect || results[1].AllCorrect || !results[1].Compliant() {
		t.Errorf("results %+v", results)
	}
}
