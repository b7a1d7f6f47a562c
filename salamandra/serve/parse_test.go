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
	s := newTestServer(t, newFakeModel(4), testOptions())
	const query = `projectes d'«hidrogen» "verd" \ 日本`
	w := do(s, "POST", "/parse", `{"query": `+quote(query)+`, "language": "es"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Regexp(t, `^first;dur=[0-9.]+, total;dur=[0-9.]+$`, w.Header().Get("Server-Timing"))
	var a testAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	require.Equal(t, query, a.Meta.OriginalQuery, "known from the request")
	require.Equal(t, "ES", a.Meta.Lang, "given, in the schema's case")

	w = do(s, "POST", "/parse", `{"query": "a", "timing": true, "model": "impulse"}`)
	var timed parseAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &timed), w.Body.String())
	require.NoError(t, json.Unmarshal(timed.Answer, &a))
	require.Equal(t, "a", a.Meta.OriginalQuery)
	require.Positive(t, timed.Usage.New)
	require.Positive(t, timed.Usage.Prompt)
	require.Equal(t, "impulse", timed.Model)
}

// TestParseStream: the pieces of a stream are the answer that its last event holds,
// laid out as the model wrote it.
func TestParseStream(t *testing.T) {
	model := newFakeModel(1)
	s := newTestServer(t, model, testOptions())
	w := do(s, "POST", "/parse", `{"query": "hidrogen \"verd\"", "stream": true}`)
	events := strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n")
	last := len(events) - 1
	if got := w.Header().Get("Content-Type"); got != "text/event-stream; charset=utf-8" || events[last] != "data: [DONE]" {
		t.Fatalf("%s: %s", got, w.Body)
	}
	var text strings.Builder
	for _, e := range events[:last-1] {
		var piece parsePiece
		if err := json.Unmarshal([]byte(strings.TrimPrefix(e, "data: ")), &piece); err != nil {
			t.Fatal(err)
		}
		text.WriteString(piece.Text)
	}
	var all parseAnswer
	if err := json.Unmarshal([]byte(strings.TrimPrefix(events[last-1], "data: ")), &all); err != nil {
		t.Fatal(err)
	}
	require.Contains(t, text.String(), "\n  \"meta\": {", "as the model lays it out")
	require.JSONEq(t, text.String(), string(all.Answer))
	if all.Usage.New != last-1 || all.Model != "impulse" {
		t.Errorf("%d pieces, %d tokens of %s", last-1, all.Usage.New, all.Model)
	}

	w = do(s, "POST", "/parse", `{"query": "a", "stream": true, "language": "xx"}`)
	if w.Code != 422 || problem(t, w).Param == nil {
		t.Errorf("%d %s: what fails before the first text is answered as elsewhere", w.Code, w.Body)
	}
	model.fail = errors.New("broken")
	w = do(s, "POST", "/parse", `{"query": "a", "stream": true}`)
	if text := w.Body.String(); w.Code != 200 || !strings.Contains(text, `"code":"internal_error"`) || strings.Contains(text, "[DONE]") {
		t.Errorf("%d %s: what fails later comes as an event", w.Code, text)
	}
}

func quote(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// addBare puts a model without a schema beside the first.
func addBare(s *Server) {
	bare := newFakeModel(1)
	bare.contract.Schema = nil
	s.models.add(&served{model: bare, name: "bare"})
}

// TestRefusals: what is wrong with a request is answered as JSON, with the status
// that says whose fault it is, before anything is computed.
func TestRefusals(t *testing.T) {
	model := newFakeModel(1)
	o := testOptions()
	o.MaxBody = 4000
	s := newTestServer(t, model, o)
	addBare(s)
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
		{name: "unknown", method: "POST", path: "/parse", body: `{"query": "a", "top": 1}`, status: 400, code: "unknown_field"},
		{name: "not UTF-8", method: "POST", path: "/parse", body: "{\"query\": \"\xff\"}", status: 400, code: "invalid_json"},
		{name: "twice", method: "POST", path: "/parse", body: `{"query": "a", "query": "b"}`, status: 400, code: "invalid_json", param: "query"},
		{name: "twice inside", method: "POST", path: "/v1/chat/completions", body: `{"messages": [{"role": "user", "content": "a", "content": "b"}]}`, status: 400, code: "invalid_json", param: "messages[0].content"},
		{name: "half a character", method: "POST", path: "/parse", body: `{"query": "\ud800"}`, status: 400, code: "invalid_json", param: "query"},
		{name: "deep", method: "POST", path: "/parse", body: `{"query": ` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + "}", status: 400, code: "invalid_json"},
		{name: "after a byte-order mark", method: "POST", path: "/parse", body: "\ufeff{}", status: 422, code: "empty_query", param: "query"},
		{name: "no query", method: "POST", path: "/parse", body: `{}`, status: 422, code: "empty_query", param: "query"},
		{name: "blank", method: "POST", path: "/parse", body: `{"query": " \n"}`, status: 422, code: "empty_query", param: "query"},
		{name: "language", method: "POST", path: "/parse", body: `{"query": "a", "language": "FR"}`, status: 422, code: "invalid_language", param: "language"},
		{name: "model", method: "POST", path: "/parse", body: `{"query": "a", "model": "gpt"}`, status: 404, code: "model_not_found", param: "model"},
		{name: "no schema", method: "POST", path: "/parse", body: `{"query": "a", "model": "bare"}`, status: 422, code: "no_schema", param: "model"},
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
	require.Zero(t, model.most.Load(), "nothing was computed")
	require.Zero(t, s.inFlight.Load(), "no place is kept")
}

// A model that fails is the server's fault: the client learns no more, the log
// is.
func TestParseInternalError(t *testing.T) {
	model, log := newFakeModel(1), &logBuffer{}
	model.fail = errors.New("device lost: secret place")
	o := testOptions()
	o.Logger = log.logger()
	s := newTestServer(t, model, o)
	w := do(s, "POST", "/parse", `{"query": "a private question"}`)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), "secret")
	require.Equal(t, "server_error", problem(t, w).Type)
	require.Contains(t, log.String(), "secret place")
	require.Contains(t, log.String(), w.Header().Get("X-Request-Id"), "so that one leads to the other")
	require.NotContains(t, log.String(), "private")
}

func TestParseTimeout(t *testing.T) {
	model := newFakeModel(1)
	model.pause = time.Minute
	o := testOptions()
	o.Timeout = 20 * time.Millisecond
	w := do(newTestServer(t, model, o), "POST", "/parse", `{"query": "a"}`)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "timeout", problem(t, w).Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.EqualValues(t, 1, model.canceled.Load(), "the model was told")
}

// A panic answers 500 and leaves no place taken.
func TestPanic(t *testing.T) {
	log := &logBuffer{}
	o := testOptions()
	o.Logger = log.logger()
	s := newTestServer(t, newFakeModel(1), o)
	s.routes["/parse"].methods["POST"] = func(http.ResponseWriter, *http.Request, *entry) error { panic("a fault") }
	w := do(s, "POST", "/parse", `{}`)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), "a fault")
	require.Contains(t, log.String(), "a fault")
}
