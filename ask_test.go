package finetune_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// withConfig is a copy of a model with some keys of config.json changed.
func withConfig(t testing.TB, from string, c *chatml.Contract, change map[string]any) string {
	t.Helper()
	dir := copyDir(t, from, c)
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	check(t, err)
	var config map[string]any
	check(t, json.Unmarshal(text, &config))
	maps.Copy(config, change)
	text, err = json.Marshal(config)
	check(t, err)
	check(t, os.WriteFile(path, text, 0o644))
	return dir
}

// openTickets opens a model that answers by ticketSchema, with a context of so many
// tokens.
func openTickets(t testing.TB, context int) *finetune.Model {
	t.Helper()
	base := salamandratest.Reference(t, "models", "tiny-mha")
	c := contract(t, base)
	m, _ := open(t, withConfig(t, base, &c, map[string]any{"max_position_embeddings": context}), finetune.Options{})
	return m
}

// TestAskFillsTheContext: an answer takes the room that its own question leaves,
// whatever is asked beside it; one that was asked to be longer is refused.
func TestAskFillsTheContext(t *testing.T) {
	m := openTickets(t, 300)
	short, long := "a", strings.Repeat("pantalla ", 15)
	free := finetune.AskOptions{Unconstrained: true}
	alone, err := m.AskAll(t.Context(), []string{short}, free)
	check(t, err)
	both, err := m.AskAll(t.Context(), []string{short, long}, free)
	check(t, err)
	if alone[0].Text != both[0].Text || alone[0].NewTokens <= both[1].NewTokens {
		t.Errorf("%d tokens alone, %d beside a question that leaves %d", alone[0].NewTokens, both[0].NewTokens, both[1].NewTokens)
	}
	for _, a := range both {
		if !a.Complete && a.PromptTokens+a.NewTokens != 300 {
			t.Errorf("%d and %d tokens in a context of 300", a.PromptTokens, a.NewTokens)
		}
	}
	for name, row := range map[string]struct {
		question string
		opts     finetune.AskOptions
		field    string
		context  bool
	}{
		"longer than there is room":     {short, finetune.AskOptions{MaxNewTokens: 299}, "question", true},
		"a question that fills it":      {strings.Repeat("pantalla ", 300), free, "question", true},
		"no room for the schema":        {strings.Repeat("pantalla ", 28), finetune.AskOptions{}, "question", false},
		"shorter than the schema needs": {short, finetune.AskOptions{MaxNewTokens: 5}, "max_new_tokens", false},
		"less than nothing":             {short, finetune.AskOptions{MaxNewTokens: -1}, "max_new_tokens", false},
		"no place for a language":       {short, finetune.AskOptions{Language: "CA"}, "language", false},
	} {
		_, err := m.AskAll(t.Context(), []string{row.question}, row.opts)
		var r *finetune.RequestError
		if !errors.As(err, &r) || r.Field != row.field || row.context && !errors.Is(err, finetune.ErrContext) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.AskAll(t.Context(), []string{short, "b"}, finetune.AskOptions{MaxNewTokens: 5}); err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "question 1") {
		t.Errorf("equal faults of two questions: %v", err)
	}
}

// TestAskTellsPieces: pieces are the answer, answers come in order, and a reader
// that takes its time gets the same.
func TestAskTellsPieces(t *testing.T) {
	m := openTickets(t, 8192)
	questions := []string{"sin red «desde» ayer", "b", "日本", "d"}
	pieces, order := make([]string, len(questions)), []int(nil)
	answers, err := m.AskAll(t.Context(), questions, finetune.AskOptions{
		OnText: func(i int, piece string) {
			if strings.Contains(piece, "\uFFFD") {
				t.Errorf("half a character in %q", piece)
			}
			pieces[i] += piece
		},
		OnAnswer: func(i int, a finetune.Answer) {
			if order = append(order, i); a.Text != pieces[i] {
				t.Errorf("%q, in pieces %q", a.Text, pieces[i])
			}
		},
	})
	check(t, err)
	if !slices.Equal(order, []int{0, 1, 2, 3}) {
		t.Errorf("answers in order %v", order)
	}
	for i, a := range answers {
		read(t, a, questions[i])
	}
}

// TestChatStops: a text that ends the answer is not part of it, nor is anything
// after it, wherever tokens are cut.
func TestChatStops(t *testing.T) {
	base := salamandratest.Reference(t, "models", "tiny-gqa")
	m, _ := open(t, base, finetune.Options{MaxNewTokens: 40})
	ask := func(o finetune.ChatOptions) finetune.Answer {
		a, err := m.Chat(t.Context(), []chatml.Message{{Role: chatml.User, Content: "hola"}}, o)
		check(t, err)
		return a
	}
	whole := ask(finetune.ChatOptions{})
	runes := []rune(strings.TrimRight(whole.Text, "\uFFFD"))
	if len(runes) < 12 {
		t.Fatalf("%q is too short to cut", whole.Text)
	}
	stop := string(runes[6:9])
	want, _, _ := strings.Cut(whole.Text, stop)
	var told strings.Builder
	a := ask(finetune.ChatOptions{Stop: []string{stop, "no such text"}, OnText: func(s string) { told.WriteString(s) }})
	if a.Text != want || told.String() != want || !a.Complete || a.NewTokens > whole.NewTokens {
		t.Errorf("%+v, told %q, want %q of %q", a, told.String(), want, whole.Text)
	}
	cut := ask(finetune.ChatOptions{MaxNewTokens: 3})
	if cut.Complete || cut.NewTokens != 3 || !strings.HasPrefix(whole.Text, strings.TrimRight(cut.Text, "\uFFFD")) {
		t.Errorf("cut at 3 tokens: %+v of %q", cut, whole.Text)
	}
	drawn := generate.Sampling{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: 7}
	if x, y := ask(finetune.ChatOptions{Sampling: &drawn}), ask(finetune.ChatOptions{Sampling: &drawn}); x.Text != y.Text {
		t.Errorf("one seed, two answers: %q and %q", x.Text, y.Text)
	}
}

// TestChatSystem: a conversation without a system message has the contract's.
func TestChatSystem(t *testing.T) {
	m := openTickets(t, 8192)
	ask := func(messages ...chatml.Message) finetune.Answer {
		a, err := m.Chat(t.Context(), messages, finetune.ChatOptions{MaxNewTokens: 12})
		check(t, err)
		return a
	}
	user := chatml.Message{Role: chatml.User, Content: "hola"}
	with := ask(chatml.Message{Role: chatml.System, Content: "Sort the ticket."}, user)
	if got := ask(user); got.Text != with.Text || got.PromptTokens != with.PromptTokens {
		t.Errorf("%+v, want %+v", got, with)
	}
	other := ask(chatml.Message{Role: chatml.System, Content: "Be short, and kind, and right."}, user)
	if other.PromptTokens == with.PromptTokens {
		t.Errorf("another system message has the same %d tokens", other.PromptTokens)
	}
}

// TestChatRefuses: what is wrong with a conversation or a schema is a RequestError.
func TestChatRefuses(t *testing.T) {
	m := openTickets(t, 8192)
	user := []chatml.Message{{Role: chatml.User, Content: "hola"}}
	for name, row := range map[string]struct {
		messages []chatml.Message
		opts     finetune.ChatOptions
		field    string
		cause    error
	}{
		"a role of two lines": {[]chatml.Message{{Role: "a\nb", Content: "a"}}, finetune.ChatOptions{}, "messages", chatml.ErrMessage},
		"no schema at all":    {user, finetune.ChatOptions{Schema: json.RawMessage(`{"type": "strin"}`)}, "schema", constrain.ErrMalformed},
		"nothing valid":       {user, finetune.ChatOptions{Schema: json.RawMessage(`{"enum": []}`)}, "schema", nil},
		"a stranger's too large": {user, finetune.ChatOptions{
			Schema: json.RawMessage(`{"const": "` + strings.Repeat("a", 64<<10) + `"}`), Untrusted: true}, "schema", constrain.ErrTooLarge},
		"too long": {user, finetune.ChatOptions{MaxNewTokens: 8190}, "messages", finetune.ErrContext},
	} {
		_, err := m.Chat(t.Context(), row.messages, row.opts)
		var r *finetune.RequestError
		if !errors.As(err, &r) || r.Field != row.field || row.cause != nil && !errors.Is(err, row.cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCanceled: a request ends with the reason for which its context did.
func TestCanceled(t *testing.T) {
	m := openTickets(t, 8192)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := m.Chat(ctx, []chatml.Message{{Role: chatml.User, Content: "hola"}}, finetune.ChatOptions{
		OnText: func(string) { cancel(reason) },
	})
	if !errors.Is(err, reason) {
		t.Errorf("%v, want %v", err, reason)
	}
}
