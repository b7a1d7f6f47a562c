package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// byteTokenizer has a token for each byte, and the control tokens.
type byteTokenizer struct{}

const (
	startID = 256 + iota
	endID
	bosID
	vocabSize
)

func (byteTokenizer) EncodeText(text string, _ bool) []int32 {
	ids := make([]int32, len(text))
	for i, c := range []byte(text) {
		ids[i] = int32(c)
	}
	return ids
}

func (byteTokenizer) TokenID(token string) (int32, bool) {
	id, ok := map[string]int32{chatml.StartToken: startID, chatml.EndToken: endID, chatml.BOSToken: bosID}[token]
	return id, ok
}

func (byteTokenizer) TokenBytes(id int32) ([]byte, bool) {
	return []byte{byte(id)}, id >= 0 && id < 256
}
func (byteTokenizer) VocabSize() int { return vocabSize }

// textOf is the text of ids with control tokens left out.
func textOf(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		if id < 256 {
			b.WriteByte(byte(id))
		}
	}
	return b.String()
}

// fakeEngine answers what reply says; under a constraint, any allowed answer,
// the same one for the same prompt. It has slots places, as the generator has.
type fakeEngine struct {
	reply func(prompt string) string
	pause time.Duration // before each token
	slots chan struct{}

	running, most, warmed atomic.Int64
	canceled              atomic.Int64
	closed                atomic.Bool
	mu                    sync.Mutex
	last                  salamandra.Request
	fail                  error
}

func newFakeEngine(slots int) *fakeEngine {
	return &fakeEngine{slots: make(chan struct{}, slots), reply: func(string) string { return "hola, què tal?" }}
}

func (f *fakeEngine) Warm(_ context.Context, prefix []int32) error {
	f.warmed.Store(int64(len(prefix)))
	return nil
}

func (f *fakeEngine) Do(ctx context.Context, r salamandra.Request) (salamandra.Generation, error) {
	f.mu.Lock()
	f.last = r
	err := f.fail
	f.mu.Unlock()
	if err != nil {
		return salamandra.Generation{}, err
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return salamandra.Generation{}, ctx.Err()
	}
	for n := f.running.Add(1); n > f.most.Load(); {
		f.most.Store(n)
	}
	defer f.running.Add(-1)
	g := salamandra.Generation{PromptTokens: len(r.Prompt), CachedTokens: min(int(f.warmed.Load()), len(r.Prompt))}
	next := f.plan(r)
	for len(g.IDs) < r.MaxNewTokens {
		if f.pause > 0 {
			select {
			case <-time.After(f.pause):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			f.canceled.Add(1)
			return g, ctx.Err()
		}
		id, end, err := next(r.MaxNewTokens - len(g.IDs))
		if err != nil {
			return g, err
		}
		if end {
			g.Stopped = true
			return g, nil
		}
		g.IDs = append(g.IDs, id)
		if r.OnToken != nil {
			r.OnToken(id)
		}
	}
	g.Stopped = r.Constraint != nil && r.Constraint.Done()
	return g, nil
}

// plan returns what gives the tokens of an answer one by one.
func (f *fakeEngine) plan(r salamandra.Request) func(budget int) (id int32, end bool, err error) {
	if r.Constraint == nil {
		answer := []byte(f.reply(textOf(r.Prompt)))
		return func(int) (int32, bool, error) {
			if len(answer) == 0 {
				return 0, true, nil
			}
			id := int32(answer[0])
			answer = answer[1:]
			return id, false, nil
		}
	}
	h := fnv.New64()
	io.WriteString(h, textOf(r.Prompt))
	draw := rand.New(rand.NewPCG(h.Sum64(), 1))
	return func(budget int) (int32, bool, error) {
		if r.Constraint.Done() {
			return 0, true, nil
		}
		allowed, err := r.Constraint.Allowed(budget)
		if err != nil {
			return 0, false, err
		}
		var ids []int32
		for id := range int32(vocabSize) {
			if allowed.Has(id) {
				ids = append(ids, id)
			}
		}
		id := ids[draw.IntN(len(ids))]
		if allowed.Has('"') && draw.IntN(3) > 0 { // short texts
			id = '"'
		}
		if id == endID {
			return 0, true, r.Constraint.Accept(id)
		}
		return id, false, r.Constraint.Accept(id)
	}
}

// breakingEngine fails after a token.
type breakingEngine struct{}

func (*breakingEngine) Warm(context.Context, []int32) error { return nil }

func (*breakingEngine) Do(_ context.Context, r salamandra.Request) (salamandra.Generation, error) {
	r.OnToken('a')
	return salamandra.Generation{IDs: []int32{'a'}}, errors.New("device lost")
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
	Topic *string
	Meta  struct {
		Lang          string
		OriginalQuery string `json:"original_query"`
	}
}

func testContract() chatml.Contract {
	return chatml.Contract{
		Date: chatml.DefaultDate, DefaultSystem: true, SystemPrompt: "Parse the query to JSON.",
		Schema: json.RawMessage(testSchema), Layout: chatml.Layout{Indent: 2}, TokenizerSHA256: strings.Repeat("0", 64),
	}
}

func testOptions(engine Engine) Options {
	o := DefaultOptions()
	o.Models = []Model{{Name: "impulse", Engine: engine, Contract: testContract()}}
	o.Tokenizer = byteTokenizer{}
	o.StopTokens = []int32{endID}
	return o
}

// newTestServer makes a server that is closed with the test.
func newTestServer(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := New(o)
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
