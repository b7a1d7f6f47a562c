package serve

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	userKey  = "user-key-0123456789"
	otherKey = "other-key-123456789"
	adminKey = "admin-key-123456789"
)

func TestKeys(t *testing.T) {
	log := &logBuffer{}
	o := testOptions()
	o.Keys, o.Logger = []string{userKey, otherKey}, log.logger()
	s := newTestServer(t, newFakeModel(1), o)
	const body = `{"query": "a"}`
	for _, row := range []struct {
		name, path, header string
		status             int
	}{
		{"none", "/parse", "", 401},
		{"wrong", "/parse", "Bearer " + adminKey, 401},
		{"part", "/parse", "Bearer " + userKey[:18], 401},
		{"more", "/parse", "Bearer " + userKey + "0", 401},
		{"scheme", "/parse", "Basic " + userKey, 401},
		{"first", "/parse", "Bearer " + userKey, 200},
		{"second, scheme in lower case", "/parse", "bearer " + otherKey, 200},
		{"chat", "/v1/chat/completions", "", 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := do(s, "POST", row.path, body, "Authorization", row.header)
			require.Equal(t, row.status, w.Code, w.Body.String())
			if row.status == 401 {
				require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
				require.Equal(t, "invalid_api_key", problem(t, w).Code)
			}
		})
	}
	for path, status := range map[string]int{"/": 200, "/healthz": 200, "/openapi.yaml": 200, "/readyz": 503, "/v1/models": 401, "/metrics": 401} {
		require.Equal(t, status, do(s, "GET", path, "").Code, path)
	}
	for _, key := range []string{userKey, otherKey, adminKey} {
		require.NotContains(t, log.String(), key)
	}
}

func TestHosts(t *testing.T) {
	for host, ok := range map[string]bool{
		"localhost": true, "LocalHost:8000": true, "localhost.": true, "127.0.0.1:8000": true, "[::1]:8000": true, "[::1]": true, "::1": true,
		"192.168.1.7": true, "api.example.cat:443": true, "API.example.cat": true,
		"": false, "localhost.evil.example": false, "evil.example:8000": false, "127.0.0.1.evil.example": false, "api.example.cat.evil": false,
	} {
		require.Equal(t, ok, knownHost(host, []string{"api.example.cat"}), host)
	}
	require.True(t, knownHost("anything", []string{"*"}))
}

func TestRateLimit(t *testing.T) {
	o := testOptions()
	o.Keys, o.Rate = []string{userKey, otherKey}, 2.0/3600
	s := newTestServer(t, newFakeModel(1), o)
	ask := func(key string) int {
		return do(s, "POST", "/parse", `{"query": "a"}`, "Authorization", "Bearer "+key).Code
	}
	require.Equal(t, []int{200, 429, 429}, []int{ask(userKey), ask(userKey), ask(userKey)})
	require.Equal(t, 200, ask(otherKey), "each client has its own")
	require.Equal(t, []int{401, 429}, []int{ask("guess"), ask("guess again")}, "guesses of keys are limited too")
	w := do(s, "POST", "/parse", `{"query": "a"}`, "Authorization", "Bearer "+userKey)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.Equal(t, "rate_limit_error", problem(t, w).Type)
	require.Equal(t, 200, do(s, "GET", "/healthz", "").Code, "not for what costs nothing")
}

func TestRateLimitMemory(t *testing.T) {
	l := newRateLimits(1)
	for i := range 3 * maxBuckets {
		require.True(t, l.allow(fmt.Sprint(i)))
	}
	require.LessOrEqual(t, len(l.buckets), maxBuckets)
}

func TestOptionsCheck(t *testing.T) {
	_, err := newServer(newFakeModel(1), nil, Options{})
	for _, part := range []string{"no name", "no logger", "answers of 0 tokens", "0 requests in flight", "timeout", "bodies of 0 bytes", "top-p 0"} {
		require.ErrorContains(t, err, part, "all at once")
	}
	o := testOptions()
	o.Keys = []string{"short"}
	_, err = newServer(newFakeModel(1), nil, o)
	require.ErrorContains(t, err, "key 1 has 5 characters")
	require.NotContains(t, err.Error(), "short")
}

// TestBodiesAreJSON: what a page can send to another site without asking is
// refused whatever it is.
func TestBodiesAreJSON(t *testing.T) {
	s := newTestServer(t, newFakeModel(1), testOptions())
	for kind, status := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON": 200,
		"application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "text/plain; x=application/json": 415, "application/json;;": 415,
	} {
		r := request("POST", "/parse", `{"query": "a"}`)
		r.Header.Set("Content-Type", kind)
		require.Equal(t, status, serve(s, r).Code, kind)
	}
	r := request("OPTIONS", "/parse", "", "Origin", "http://evil.example", "Access-Control-Request-Method", "POST")
	w := serve(s, r)
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
}
