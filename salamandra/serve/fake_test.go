package serve

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// fakeModel answers conversations with what reply says, character by character,
// and questions with an answer of testSchema. It has slots places, as a generator
// has.
type fakeModel struct {
	reply    func(prompt string) string
	pause    time.Duration // before each character
	slots    chan struct{}
	fail     error // of every answer, after the first character
	contract chatml.Contract
	unusable error // its schema is

	running, most, canceled atomic.Int64
	closed, compiled        atomic.Bool
	mu                      sync.Mutex
	messages                []chatml.Message
	asked                   finetune.AskOptions
	chatted                 finetune.ChatOptions
	adapter                 string
}

func newFakeModel(slots int) *fakeModel {
	return &fakeModel{slots: make(chan struct{}, slots), reply: func(string) string { return "hola, què tal?" }, contract: testContract()}
}

// write gives an answer out piece by piece.
func (f *fakeModel) write(ctx context.Context, text string, give func(string)) (finetune.Answer, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return finetune.Answer{}, context.Cause(ctx)
	}
	for n := f.running.Add(1); n > f.most.Load(); {
		f.most.Store(n)
	}
	defer f.running.Add(-1)
	a := finetune.Answer{Complete: true, PromptTokens: 7, CachedTokens: 5}
	for _, c := range text {
		if f.pause > 0 {
			select {
			case <-time.After(f.pause):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			f.canceled.Add(1)
			return finetune.Answer{}, context.Cause(ctx)
		}
		a.Text += string(c)
		if a.NewTokens++; give != nil {
			give(string(c))
		}
		if f.fail != nil {
			return finetune.Answer{}, f.fail
		}
	}
	return a, nil
}

func (f *fakeModel) AskAll(ctx context.Context, questions []string, opts finetune.AskOptions) ([]finetune.Answer, error) {
	f.mu.Lock()
	f.asked = opts
	f.mu.Unlock()
	switch {
	case f.contract.Schema == nil:
		return nil, finetune.ErrNoSchema
	case !slices.Contains([]string{"", "CA", "ES", "EN"}, opts.Language):
		return nil, &finetune.RequestError{Field: "language", Err: errors.New("not one of CA, ES, EN")}
	}
	var a testAnswer
	a.Meta.Lang, a.Meta.OriginalQuery = cmp.Or(opts.Language, "CA"), questions[0]
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return nil, err
	}
	var give func(string)
	if opts.OnText != nil {
		give = func(piece string) { opts.OnText(0, piece) }
	}
	answer, err := f.write(ctx, string(text), give)
	return []finetune.Answer{answer}, err
}

func (f *fakeModel) Chat(ctx context.Context, messages []chatml.Message, opts finetune.ChatOptions) (finetune.Answer, error) {
	f.mu.Lock()
	f.messages, f.chatted = messages, opts
	f.mu.Unlock()
	if opts.Schema != nil {
		return f.constant(ctx, opts)
	}
	return f.write(ctx, f.reply(messages[len(messages)-1].Content), opts.OnText)
}

// constant answers by a schema that leaves one answer.
func (f *fakeModel) constant(ctx context.Context, opts finetune.ChatOptions) (finetune.Answer, error) {
	if _, err := constrain.Compile(opts.Schema, constrain.UntrustedOptions()); err != nil {
		return finetune.Answer{}, &finetune.RequestError{Field: "schema", Err: err}
	}
	var schema struct{ Const json.RawMessage }
	if err := json.Unmarshal(opts.Schema, &schema); err != nil {
		return finetune.Answer{}, err
	}
	return f.write(ctx, string(schema.Const), opts.OnText)
}

func (f *fakeModel) CheckAsk() error {
	if f.contract.Schema == nil {
		return finetune.ErrNoSchema
	}
	return f.unusable
}

func (f *fakeModel) Contract() chatml.Contract  { return f.contract }
func (f *fakeModel) Effect() string             { return "" }
func (f *fakeModel) Ready() bool                { return f.compiled.Load() }
func (f *fakeModel) Warm(context.Context) error { f.compiled.Store(true); return nil }
func (f *fakeModel) Close() error               { f.closed.Store(true); return nil }

// Swap has the model answer with the adapter's name.
func (f *fakeModel) Swap(_ context.Context, dir string) error {
	name := filepath.Base(dir)
	if name == "broken" {
		return errors.New("adapter.safetensors: cut short")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.adapter, f.reply = name, func(string) string { return name }
	return nil
}

// testSchema is a small one of IMPULSE's shape.
const testSchema = `{
  "type": "object",
  "properties": {
    "topic": {"type": ["string", "null"], "minLength": 1, "maxLength": 40},
    "meta": {
      "type": "object",
      "properties": {"lang": {"enum": ["CA", "ES", "EN"]}, "original_query": {"type": "string"}},
      "required": ["lang", "original_query"], "additionalProperties": false
    }
  },
  "required": ["topic", "meta"], "additionalProperties": false
}`

type testAnswer struct {
	Topic *string `json:"topic"`
	Meta  struct {
		Lang          string `json:"lang"`
		OriginalQuery string `json:"original_query"`
	} `json:"meta"`
}

func testContract() chatml.Contract {
	return chatml.Contract{
		Date: chatml.DefaultDate, DefaultSystem: true, SystemPrompt: "Parse the query to JSON.",
		Schema: json.RawMessage(testSchema), Layout: chatml.Layout{Indent: 2}, TokenizerSHA256: strings.Repeat("0", 64),
		RequestValues: map[string]chatml.RequestValue{"meta.original_query": chatml.Question, "meta.lang": chatml.Language},
	}
}

func testOptions() Options {
	o := DefaultOptions()
	o.Name = "impulse"
	return o
}

// newTestServer makes a server that is closed with the test. Adapters are put on
// fakes.
func newTestServer(t *testing.T, m model, o Options) *Server {
	t.Helper()
	s, err := newServer(m, func(ctx context.Context, dir string) (model, error) {
		other := newFakeModel(4)
		return other, other.Swap(ctx, dir)
	}, o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// request is one to a handler, with JSON if there is a body.
func request(method, path, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "localhost:8000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func do(s http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	return serve(s, request(method, path, body, header...))
}

func serve(s http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// problem reads the error of an answer.
func problem(t *testing.T, w *httptest.ResponseRecorder) errorDetail {
	t.Helper()
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var b errorBody
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &b), w.Body.String())
	require.NotEmpty(t, b.Error.Message)
	return b.Error
}

// logBuffer is a log that a test reads.
type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logBuffer) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(data)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
