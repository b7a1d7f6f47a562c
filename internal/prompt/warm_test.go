package prompt_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/prompt"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// fakeEngine notes what it is asked to do.
type fakeEngine struct {
	programs int           // that Compile compiles
	takes    time.Duration // each answer
	fail     error

	mu    sync.Mutex
	calls []string
	last  generate.Request
}

func (f *fakeEngine) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fakeEngine) Warm(_ context.Context, prefix []int32) error {
	f.note("warm")
	return nil
}

func (f *fakeEngine) Compile(_ context.Context, progress func(phase string, done, total int64)) error {
	f.note("compile")
	for i := range f.programs {
		progress("compiling", int64(i+1), int64(f.programs))
	}
	return nil
}

func (f *fakeEngine) Do(ctx context.Context, r generate.Request) (generate.Generation, error) {
	f.note("do")
	f.mu.Lock()
	f.last = r
	f.mu.Unlock()
	select {
	case <-time.After(f.takes):
		return generate.Generation{}, f.fail
	case <-ctx.Done():
		return generate.Generation{}, ctx.Err()
	}
}

// TestWarm: the prefix, then the programs, then an answer within the schema and the
// context. Where nothing is compiled, one
// short answer does. A slow engine is warm as well, and a broken one is reported.
func TestWarm(t *testing.T) {
	tok, err := tokenizer.Load(salamandratest.Reference(t, "models", "tiny-gqa"))
	if err != nil {
		t.Fatal(err)
	}
	c := chatml.Contract{SystemPrompt: "Answer in JSON.", Schema: []byte(`{"type":"object","required":["a"],"properties":{"a":{"type":"boolean"}}}`)}
	p, err := prompt.New(c, prompt.NewTokens(tok, []int32{5}), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("device lost")
	for _, row := range []struct {
		name   string
		engine *fakeEngine
		want   string
		tokens int
		err    error
	}{
		{"compiled", &fakeEngine{programs: 2}, "warm compile do", 64, nil},
		{"nothing to compile", &fakeEngine{}, "warm compile do", 2, nil},
		{"slow", &fakeEngine{programs: 2, takes: time.Hour}, "warm compile do", 64, nil},
		{"broken", &fakeEngine{programs: 2, fail: broken}, "warm compile do", 64, broken},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				progress := 0
				begun := time.Now()
				err := p.Warm(t.Context(), row.engine, prompt.Warming{Context: 512, MaxNewTokens: 64, Progress: func(string, int64, int64) { progress++ }})
				if !errors.Is(err, row.err) {
					t.Errorf("%v, want %v", err, row.err)
				}
				if got := strings.Join(row.engine.calls, " "); got != row.want {
					t.Errorf("%s, want %s", got, row.want)
				}
				r := row.engine.last
				if r.MaxNewTokens != row.tokens || (r.Constraint != nil) != (row.tokens > 2) || progress != row.engine.programs {
					t.Errorf("%d tokens, constraint %v, %d programs", r.MaxNewTokens, r.Constraint != nil, progress)
				}
				if took := time.Since(begun); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Warm(ctx, &fakeEngine{programs: 1, takes: time.Hour}, prompt.Warming{Context: 512, MaxNewTokens: 64}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}
