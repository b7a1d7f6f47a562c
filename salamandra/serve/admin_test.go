package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeLoader makes models whose engines answer with the adapter's name.
type fakeLoader struct {
	mu      sync.Mutex
	engines []*fakeEngine
}

func (l *fakeLoader) load(_ context.Context, name string) (Model, error) {
	if name == "missing" {
		return Model{}, fail(http.StatusNotFound, "adapter_not_found", "adapter", "no adapter is called %s", name)
	}
	if name == "broken" {
		return Model{}, errors.New("adapter.safetensors: cut short")
	}
	e := newFakeEngine(4)
	e.reply = func(string) string { return name }
	l.mu.Lock()
	l.engines = append(l.engines, e)
	l.mu.Unlock()
	c := testContract()
	c.SystemPrompt = "Prompt of " + name + "."
	return Model{Engine: e, Contract: c, Close: func() { e.closed.Store(true) }}, nil
}

func TestSwapAdapter(t *testing.T) {
	loader, first := &fakeLoader{}, newFakeEngine(1)
	o := testOptions(first)
	o.Keys, o.AdminKeys, o.Load = []string{userKey}, []string{adminKey}, loader.load
	o.Models[0].Close = func() { first.closed.Store(true) }
	s := newTestServer(t, o)
	swap := func(body string) (int, string) {
		w := do(s, "POST", "/admin/adapter", body, "Authorization", "Bearer "+adminKey)
		return w.Code, w.Body.String()
	}
	ask := func(model string) string {
		w := do(s, "POST", "/v1/chat/completions", `{"model": `+quote(model)+`, "messages": [{"role": "user", "content": "q"}]}`, "Authorization", "Bearer "+userKey)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		var c completion
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &c))
		return *c.Choices[0].Message.Content
	}
	code, body := swap(`{"adapter": "v2"}`)
	require.Equal(t, 200, code, body)
	require.Contains(t, body, `"model":"impulse","adapter":"v2"`)
	require.Equal(t, "v2", ask("impulse"))
	require.Equal(t, "system\nPrompt of v2.\nuser\nq\nassistant\n", textOf(loader.engines[0].last.Prompt), "the prompt of the adapter comes with it")
	require.Positive(t, loader.engines[0].warmed.Load(), "its prefix was computed before")
	require.True(t, first.closed.Load(), "nobody used the old one")

	code, _ = swap(`{"adapter": "v3", "model": "next"}`)
	require.Equal(t, 200, code)
	require.Equal(t, []string{"v2", "v3"}, []string{ask("impulse"), ask("next")}, "side by side")
	w := do(s, "GET", "/v1/models", "", "Authorization", "Bearer "+userKey)
	var list modelList
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
	require.Equal(t, []string{"impulse", "v2", "next", "v3"}, []string{list.Data[0].ID, list.Data[0].Adapter, list.Data[1].ID, list.Data[1].Adapter})

	for body, status := range map[string]int{
		`{"adapter": "missing"}`: 404, `{"adapter": "broken"}`: 500, `{}`: 422, `{"adapter": "../v2"}`: 422, `{"adapter": "/etc"}`: 422,
		`{"adapter": ".."}`: 422, `{"adapter": "a", "model": "x y"}`: 422, `{"adapter": 1}`: 400,
	} {
		code, text := swap(body)
		require.Equal(t, status, code, text)
	}
	require.Equal(t, "v2", ask("impulse"), "a failed swap changes nothing")
	w = do(s, "POST", "/admin/adapter", `{"adapter": "v2"}`, "Authorization", "Bearer "+userKey)
	require.Equal(t, 401, w.Code, "users are no admins")
	for i := range maxModels {
		code, _ = swap(`{"adapter": "v4", "model": "m` + string(rune('a'+i)) + `"}`)
	}
	require.Equal(t, 422, code, "the number of models is bounded")
	require.True(t, loader.engines[len(loader.engines)-1].closed.Load(), "the one too many is freed")
}

// A request that runs keeps its model until it ends; only then is it closed.
func TestSwapWaitsForRequests(t *testing.T) {
	loader, first := &fakeLoader{}, newFakeEngine(1)
	first.pause = 20 * time.Millisecond
	o := testOptions(first)
	o.Keys, o.Load = []string{adminKey}, loader.load
	o.Models[0].Close = func() { first.closed.Store(true) }
	s := newTestServer(t, o)
	answered := make(chan string)
	go func() {
		w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "q"}]}`, "Authorization", "Bearer "+adminKey)
		answered <- w.Body.String()
	}()
	require.Eventually(t, func() bool { return first.running.Load() == 1 }, time.Minute, time.Millisecond)
	w := do(s, "POST", "/admin/adapter", `{"adapter": "v2"}`, "Authorization", "Bearer "+adminKey)
	require.Equal(t, 200, w.Code, "without own admin keys those of users do")
	require.False(t, first.closed.Load(), "still in use")
	require.Contains(t, <-answered, "hola, què tal?", "finished with what it began with")
	require.Eventually(t, first.closed.Load, time.Minute, time.Millisecond)
}
