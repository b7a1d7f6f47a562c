package serve

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// adapterDirs makes a directory of directories.
func adapterDirs(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	return dir
}

func TestSwapAdapter(t *testing.T) {
	first := newFakeModel(1)
	o := testOptions()
	o.Keys, o.AdminKeys, o.AdaptersDir = []string{userKey}, []string{adminKey}, adapterDirs(t, "v2", "v3", "v4", "broken")
	s := newTestServer(t, first, o)
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
	require.Equal(t, "v2", first.adapter, "the model itself has it")

	code, _ = swap(`{"adapter": "v3", "model": "next"}`)
	require.Equal(t, 200, code)
	require.Equal(t, []string{"v2", "v3"}, []string{ask("impulse"), ask("next")}, "side by side")
	require.True(t, s.models.find("next").Ready(), "warm before it is answered for")
	w := do(s, "GET", "/v1/models", "", "Authorization", "Bearer "+userKey)
	var list modelList
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
	require.Equal(t, []string{"impulse", "v2", "next", "v3"}, []string{list.Data[0].ID, list.Data[0].Adapter, list.Data[1].ID, list.Data[1].Adapter})

	for body, status := range map[string]int{
		`{"adapter": "missing"}`: 404, `{"adapter": "broken"}`: 422, `{}`: 422, `{"adapter": "../v2"}`: 422, `{"adapter": "/etc"}`: 422,
		`{"adapter": ".."}`: 422, `{"adapter": "v2", "model": "x y"}`: 422, `{"adapter": 1}`: 400,
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
	next := s.models.find("next").model.(*fakeModel)
	s.Close()
	require.True(t, next.closed.Load(), "what was loaded by name is closed")
	require.False(t, first.closed.Load(), "what the server was made of is not")
}

// A swap does not end requests that run.
func TestSwapBesideRequests(t *testing.T) {
	first := newFakeModel(1)
	first.pause = 20 * time.Millisecond
	o := testOptions()
	o.Keys, o.AdaptersDir = []string{adminKey}, adapterDirs(t, "v2")
	s := newTestServer(t, first, o)
	answered := make(chan string)
	go func() {
		w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "q"}]}`, "Authorization", "Bearer "+adminKey)
		answered <- w.Body.String()
	}()
	require.Eventually(t, func() bool { return first.running.Load() == 1 }, time.Minute, time.Millisecond)
	w := do(s, "POST", "/admin/adapter", `{"adapter": "v2"}`, "Authorization", "Bearer "+adminKey)
	require.Equal(t, 200, w.Code, "without own admin keys those of users do")
	require.Contains(t, <-answered, "hola, què tal?", "finished with what it began with")
}
