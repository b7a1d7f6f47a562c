package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	s := newTestServer(t, testOptions(newFakeEngine(4)))
	const query = `projectes d'«hidrogen» "verd" \ 日本`
	w := do(s, "POST", "/parse", `{"query": `+quote(query)+`, "language": "es"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Regexp(t, `^first;dur=[0-9.]+, total;dur=[0-9.]+$`, w.Header().Get("Server-Timing"))
	var a testAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	require.Equal(t, query, a.Meta.OriginalQuery, "known from the request")
	require.Equal(t, "ES", a.Meta.Lang, "given, in the schema's case")
	require.Contains(t, w.Body.String(), "{\n  \"topic\": ", "the layout of training")

	w = do(s, "POST", "/parse", `{"query": "a", "timing": true, "model": "impulse"}`)
	var timed parseAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &timed), w.Body.String())
	require.NoError(t, json.Unmarshal(timed.Answer, &a))
	require.Equal(t, "a", a.Meta.OriginalQuery)
	require.Positive(t, timed.Usage.New)
	require.Positive(t, timed.Usage.Prompt)
	require.Equal(t, "impulse", timed.Model)
}

func TestParsePrompt(t *testing.T) {
	engine := newFakeEngine(1)
	s := newTestServer(t, testOptions(engine))
	require.NoError(t, s.Warm(t.Context()))
	require.Equal(t, http.StatusOK, do(s, "POST", "/parse", `{"query": "sensors"}`).Code)
	want := "system\nParse the query to JSON.\nuser\nsensors\nassistant\n"
	require.Equal(t, want, textOf(engine.last.Prompt), "the prompt of training")
	require.Equal(t, len("system\nParse the query to JSON.\nuser\n")+3, int(engine.warmed.Load()), "all that comes before a query, with its control tokens")
}

func quote(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// TestRefusals: what is wrong with a request is told as JSON, with the status
// that says whose fault it is, before anything is computed.
func TestRefusals(t *testing.T) {
	engine := newFakeEngine(1)
	o := testOptions(engine)
	o.MaxBody, o.MaxNewTokens, o.Context = 4000, 300, 2000
	bare := o.Models[0]
	bare.Name, bare.Contract.Schema = "bare", nil
	o.Models = append(o.Models, bare)
	s := newTestServer(t, o)
	for _, row := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code, param              string
	}{
		{name: "no path", method: "GET", path: "/nothing", status: 404, code: "not_found"},
		{name: "dots", method: "GET", path: "/../etc/passwd", status: 404, code: "not_found"},
		{name: "method", method: "GET", path: "/parse", status: 405, code: "method_not_allowed"},
		{name: "options", method: "OPTIONS", path: "/parse", status: 405, code: "method_not_allowed"},
		{name: "no content type", method: "POST", path: "/parse", body: `{"query": "a"}`, header: []string{"Content-Type", ""}, status: 415, code: "unsupported_media_type"},
		{name: "a form", method: "POST", path: "/parse", body: `{"query": "a"}`, header: []string{"Content-Type", "text/plain"}, status: 415, code: "unsupported_media_type"},
		{name: "packed", method: "POST", path: "/parse", body: `{"query": "a"}`, header: []string{"Content-Encoding", "gzip"}, status: 415, code: "unsupported_encoding"},
		{name: "empty", method: "POST", path: "/parse", body: " ", status: 400, code: "invalid_json"},
		{name: "cut", method: "POST", path: "/parse", body: `{"query": "a"`, status: 400, code: "invalid_json"},
		{name: "two", method: "POST", path: "/parse", body: `{"query": "a"} {}`, status: 400, code: "invalid_json"},
		{name: "list", method: "POST", path: "/parse", body: `["a"]`, status: 400, code: "invalid_type"},
		{name: "type", method: "POST", path: "/parse", body: `{"query": 3}`, status: 400, code: "invalid_type", param: "query"},
		{name: "unknown", method: "POST", path: "/parse", body: `{"query": "a", "top": 1}`, status: 400, code: "invalid_json"},
		{name: "not UTF-8", method: "POST", path: "/parse", body: "{\"query\": \"\xff\"}", status: 400, code: "invalid_json"},
		{name: "no query", method: "POST", path: "/parse", body: `{}`, status: 422, code: "empty_query", param: "query"},
		{name: "blank", method: "POST", path: "/parse", body: `{"query": " \n"}`, status: 422, code: "empty_query", param: "query"},
		{name: "language", method: "POST", path: "/parse", body: `{"query": "a", "language": "FR"}`, status: 422, code: "invalid_language", param: "language"},
		{name: "model", method: "POST", path: "/parse", body: `{"query": "a", "model": "gpt"}`, status: 404, code: "model_not_found", param: "model"},
		{name: "no schema", method: "POST", path: "/parse", body: `{"query": "a", "model": "bare"}`, status: 422, code: "no_schema", param: "model"},
		{name: "long prompt", method: "POST", path: "/parse", body: `{"query": "` + strings.Repeat("a", 1800) + `"}`, status: 400, code: "context_length_exceeded", param: "query"},
		{name: "long answer", method: "POST", path: "/parse", body: `{"query": "` + strings.Repeat("a", 300) + `"}`, status: 422, code: "answer_too_long", param: "max_tokens"},
		{name: "long body", method: "POST", path: "/parse", body: `{"query": "` + strings.Repeat("a", 5000) + `"}`, status: 413, code: "body_too_large"},
		{name: "another host", method: "GET", path: "/", header: []string{"Host", "evil.example"}, status: 421, code: "unknown_host"},
		{name: "another site", method: "POST", path: "/parse", body: `{"query": "a"}`, header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, code: "cross_origin"},
		{name: "another origin", method: "POST", path: "/parse", body: `{"query": "a"}`, header: []string{"Origin", "http://evil.example"}, status: 403, code: "cross_origin"},
		{name: "admin is off", method: "POST", path: "/admin/adapter", body: `{"adapter": "a"}`, status: 404, code: "not_found"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := request(row.method, row.path, row.body, row.header...)
			if h := r.Header.Get("Host"); h != "" {
				r.Host = h
			}
			w := serve(s, r)
			require.Equal(t, row.status, w.Code, w.Body.String())
			e := problem(t, w)
			require.Equal(t, row.code, e.Code)
			if row.param != "" {
				require.NotNil(t, e.Param)
				require.Equal(t, row.param, *e.Param)
			}
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
			require.Equal(t, row.status == 405, w.Header().Get("Allow") != "")
		})
	}
	require.Zero(t, engine.most.Load(), "nothing was computed")
	require.Zero(t, s.inFlight.Load(), "no place is kept")
}

// A model that fails is the server's fault: the client is told no more, the log
// is.
func TestParseInternalError(t *testing.T) {
	engine, log := newFakeEngine(1), &logBuffer{}
	engine.fail = errors.New("device lost: secret place")
	o := testOptions(engine)
	o.Logger = log.logger()
	s := newTestServer(t, o)
	w := do(s, "POST", "/parse", `{"query": "a private question"}`)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), "secret")
	require.Equal(t, "server_error", problem(t, w).Type)
	require.Contains(t, log.String(), "secret place")
	require.Contains(t, log.String(), w.Header().Get("X-Request-Id"), "so that one leads to the other")
	require.NotContains(t, log.String(), "private")
}

func TestParseTimeout(t *testing.T) {
	engine := newFakeEngine(1)
	engine.pause = time.Minute
	o := testOptions(engine)
	o.Timeout = 20 * time.Millisecond
	w := do(newTestServer(t, o), "POST", "/parse", `{"query": "a"}`)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "timeout", problem(t, w).Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.EqualValues(t, 1, engine.canceled.Load(), "the engine was told")
}

// A panic answers 500 and leaves no place taken.
func TestPanic(t *testing.T) {
	log := &logBuffer{}
	o := testOptions(newFakeEngine(1))
	o.Logger = log.logger()
	s := newTestServer(t, o)
	s.routes["/parse"].methods["POST"] = func(http.ResponseWriter, *http.Request, *entry) error { panic("a fault") }
	w := do(s, "POST", "/parse", `{}`)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), "a fault")
	require.Contains(t, log.String(), "a fault")
}
