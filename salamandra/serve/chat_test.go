package serve

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestChat(t *testing.T) {
	engine := newFakeEngine(1)
	o := testOptions(engine)
	o.Models[0].Contract.DefaultSystem = false
	s := newTestServer(t, o)
	for _, row := range []struct {
		name, body     string
		prompt, answer string
		finish         string
	}{
		{
			name: "system of training", body: `{"model": "impulse", "messages": [{"role": "user", "content": "hola"}]}`,
			prompt: "system\nParse the query to JSON.\nuser\nhola\nassistant\n", answer: "hola, què tal?", finish: "stop",
		},
		{
			name: "own system", body: `{"messages": [{"role": "developer", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "ho"}, {"type": "text", "text": "la"}]}]}`,
			prompt: "system\nBe short.\nuser\nhola\nassistant\n", answer: "hola, què tal?", finish: "stop",
		},
		{
			name: "turns, control tokens as text", body: `{"messages": [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}`,
			prompt: "system\nParse the query to JSON.\nuser\n<|im_end|>\nassistant\nb\nuser\nc\nassistant\n", answer: "hola, què tal?", finish: "stop",
		},
		{name: "length", body: `{"messages": [{"role": "user", "content": "a"}], "max_tokens": 4}`, answer: "hola", finish: "length"},
		{name: "newer length", body: `{"messages": [{"role": "user", "content": "a"}], "max_tokens": 9, "max_completion_tokens": 2}`, answer: "ho", finish: "length"},
		{name: "half a character", body: `{"messages": [{"role": "user", "content": "a"}], "max_tokens": 9}`, answer: "hola, qu\ufffd", finish: "length"},
		{name: "stop", body: `{"messages": [{"role": "user", "content": "a"}], "stop": "qu"}`, answer: "hola, ", finish: "stop"},
		{name: "stops", body: `{"messages": [{"role": "user", "content": "a"}], "stop": ["tal", "la,"]}`, answer: "ho", finish: "stop"},
		{
			name: "fields without effect", answer: "hola, què tal?", finish: "stop",
			body: `{"messages": [{"role": "user", "content": "a"}], "user": "u", "n": 1, "tools": [], "logprobs": false, "presence_penalty": 0, "frequency_penalty": 0.0, "temperature": null, "stop": null, "response_format": {"type": "text"}}`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := do(s, "POST", "/v1/chat/completions", row.body)
			require.Equal(t, http.StatusOK, w.Code, w.Body.String())
			var c completion
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &c))
			require.Equal(t, "chat.completion", c.Object)
			require.Equal(t, "impulse", c.Model)
			require.Len(t, c.Choices, 1)
			require.Equal(t, "assistant", c.Choices[0].Message.Role)
			require.Equal(t, row.answer, *c.Choices[0].Message.Content)
			require.Equal(t, row.finish, *c.Choices[0].FinishReason)
			require.Equal(t, c.Usage.Prompt+c.Usage.Completion, c.Usage.Total)
			if row.prompt != "" {
				require.Equal(t, row.prompt, textOf(engine.last.Prompt))
			}
		})
	}
}

func TestChatSampling(t *testing.T) {
	engine := newFakeEngine(1)
	s := newTestServer(t, testOptions(engine))
	const messages = `{"messages": [{"role": "user", "content": "a"}]`
	require.Equal(t, 200, do(s, "POST", "/v1/chat/completions", messages+`, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "seed": -3}`).Code)
	got := engine.last.Sampling
	require.Equal(t, []any{0.7, 0.9, 5, 0.1, 1.1, uint64(1<<64 - 3)}, []any{got.Temperature, got.TopP, got.TopK, got.MinP, got.RepetitionPenalty, got.Seed})
	require.Equal(t, 200, do(s, "POST", "/v1/chat/completions", messages+`, "temperature": 1}`).Code)
	first := engine.last.Sampling.Seed
	require.Equal(t, 200, do(s, "POST", "/v1/chat/completions", messages+`, "temperature": 1}`).Code)
	require.NotEqual(t, first, engine.last.Sampling.Seed, "without a seed draws differ")
}

func TestChatRefusals(t *testing.T) {
	o := testOptions(newFakeEngine(1))
	bare := o.Models[0]
	bare.Name, bare.Contract.Schema = "bare", nil
	o.Models = append(o.Models, bare)
	s := newTestServer(t, o)
	const a = `{"messages": [{"role": "user", "content": "a"}], `
	for _, row := range []struct {
		name, body  string
		status      int
		code, param string
		says        string // parts of the message
	}{
		{name: "no messages", body: `{"messages": []}`, status: 400, code: "invalid_value", param: "messages"},
		{name: "role", body: `{"messages": [{"role": "boss", "content": "a"}]}`, status: 400, code: "invalid_value", param: "messages", says: `messages[0]: role "boss"`},
		{name: "picture", body: `{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]}`, status: 400, code: "invalid_value", param: "messages", says: "parts of type text"},
		{name: "no content", body: `{"messages": [{"role": "user"}]}`, status: 400, code: "invalid_value", param: "messages"},
		{name: "tool calls", body: `{"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}]}`, status: 400, code: "invalid_value", param: "messages"},
		{name: "all at once", body: `{"messages": [], "max_tokens": 0, "temperature": 3, "top_p": 0}`, status: 400, code: "invalid_value", param: "messages", says: "temperature is 3"},
		{name: "tools", body: a + `"tools": [{"type": "function"}]}`, status: 400, code: "unsupported_value", param: "tools"},
		{name: "two answers", body: a + `"n": 2}`, status: 400, code: "unsupported_value", param: "n"},
		{name: "penalty", body: a + `"frequency_penalty": 0.5}`, status: 400, code: "unsupported_value", param: "frequency_penalty"},
		{name: "misspelt", body: a + `"temprature": 1}`, status: 400, code: "invalid_json", says: "temprature"},
		{name: "stops", body: a + `"stop": ["a", "b", "c", "d", "e"]}`, status: 400, code: "invalid_value", param: "stop"},
		{name: "empty stop", body: a + `"stop": ""}`, status: 400, code: "invalid_value", param: "stop"},
		{name: "stream options", body: a + `"stream_options": {"include_usage": true}}`, status: 400, code: "invalid_value", param: "stream_options"},
		{name: "model", body: a + `"model": "gpt-4o"}`, status: 404, code: "model_not_found", param: "model"},
		{name: "format", body: a + `"response_format": {"type": "xml"}}`, status: 400, code: "invalid_value", param: "response_format"},
		{name: "no schema of its own", body: a + `"model": "bare", "response_format": {"type": "json_object"}}`, status: 400, code: "no_schema", param: "response_format"},
		{name: "schema keyword", body: a + `"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "patternProperties": {}}}}}`, status: 400, code: "invalid_schema", says: "patternProperties"},
		{name: "schema from elsewhere", body: a + `"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1/s.json"}}}}`, status: 400, code: "invalid_schema"},
		{name: "schema from a file", body: a + `"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "file:///etc/passwd"}}}}`, status: 400, code: "invalid_schema"},
		{name: "type of a field", body: a + `"response_format": "json"}`, status: 400, code: "invalid_type", param: "response_format", says: "want an object, got string"},
		{name: "half a token", body: a + `"max_tokens": 1.5}`, status: 400, code: "invalid_type", param: "max_tokens", says: "want an integer of 64 bits, got number 1.5"},
		{name: "cold", body: a + `"temperature": 1e-300}`, status: 400, code: "invalid_value", param: "temperature"},
		{name: "schema of 64 KiB", body: a + schemaFormat(`{"const": "`+strings.Repeat("a", 64<<10)+`"}`), status: 422, code: "schema_too_large", param: "response_format", says: "65536"},
		{name: "schema of long texts", body: a + schemaFormat(`{"type": "string", "maxLength": 10001}`), status: 422, code: "schema_too_large", says: "10000"},
		{name: "schema of long lists", body: a + schemaFormat(`{"type": "array", "items": {"type": "null"}, "maxItems": 10001}`), status: 422, code: "schema_too_large", says: "10000"},
		{name: "schema of many states", body: a + schemaFormat(`{"type": "string", "pattern": "^(a|b)*a(a|b){20}$"}`), status: 422, code: "schema_too_large"},
		{name: "schema that branches", body: a + schemaFormat(branching(28)), status: 422, code: "schema_too_large"},
		{name: "schema that nests", body: a + schemaFormat(strings.Repeat(`{"type": "array", "items": `, 300)+`{}`+strings.Repeat(`}`, 300)), status: 400, code: "invalid_schema"},
		{name: "short budget", body: a + `"max_tokens": 3, "response_format": {"type": "json_object"}}`, status: 422, code: "answer_too_long", param: "max_tokens"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := do(s, "POST", "/v1/chat/completions", row.body)
			require.Equal(t, row.status, w.Code, w.Body.String())
			e := problem(t, w)
			require.Equal(t, row.code, e.Code)
			if row.param != "" {
				require.NotNil(t, e.Param)
				require.Equal(t, row.param, *e.Param)
			}
			require.Contains(t, e.Message, row.says)
		})
	}
}

func schemaFormat(schema string) string {
	return `"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": ` + schema + `}}}`
}

// branching is a schema of few bytes whose references double n times.
func branching(n int) string {
	var b strings.Builder
	b.WriteString(`{"$ref": "#/$defs/d0", "$defs": {`)
	for i := range n {
		fmt.Fprintf(&b, `"d%d": {"type": "array", "prefixItems": [{"$ref": "#/$defs/d%d"}, {"$ref": "#/$defs/d%d"}], "minItems": 2, "items": false}, `, i, i+1, i+1)
	}
	fmt.Fprintf(&b, `"d%d": {"type": "null"}}}`, n)
	return b.String()
}

func TestChatSchemas(t *testing.T) {
	s := newTestServer(t, testOptions(newFakeEngine(1)))
	ask := func(format string) string {
		w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], "response_format": `+format+`}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		var c completion
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &c))
		require.Equal(t, "stop", *c.Choices[0].FinishReason)
		return *c.Choices[0].Message.Content
	}
	const schema = `{"type": "json_schema", "json_schema": {"name": "city", "strict": true, "schema": {"type": "object", "properties": {"city": {"enum": ["Girona", "Lleida"]}}, "required": ["city"], "additionalProperties": false}}}`
	require.Regexp(t, `^\{\n  "city": "(Girona|Lleida)"\n\}$`, ask(schema))
	require.Regexp(t, `^\{\n  "city": "(Girona|Lleida)"\n\}$`, ask(schema), "from the cache")
	require.Len(t, s.schemas.kept, 1)
	var own testAnswer
	require.NoError(t, json.Unmarshal([]byte(ask(`{"type": "json_object"}`)), &own), "the model's own schema")
	for i := range 3 * maxSchemas {
		ask(`{"type": "json_schema", "json_schema": {"schema": {"enum": [` + strings.Repeat("1", i+1) + `]}}}`)
	}
	require.Len(t, s.schemas.kept, maxSchemas, "the cache is bounded")
}

// TestChatSchemaTooCostly: an answer whose masks take too much is given up, and
// the next one is not.
func TestChatSchemaTooCostly(t *testing.T) {
	r := newRealServer(t, 0)
	r.schemas.limits.MaxWork = 5_000
	ask := func(pattern string) *httptest.ResponseRecorder {
		return do(r, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], `+schemaFormat(`{"type": "string", "pattern": "`+pattern+`"}`),
			"Authorization", "Bearer "+adminKey)
	}
	w := ask("^[^x]{60,90}y$")
	require.Equal(t, http.StatusUnprocessableEntity, w.Code, w.Body.String())
	require.Equal(t, "schema_too_large", problem(t, w).Code)
	require.Contains(t, problem(t, w).Message, "more than 5000 steps")
	w = ask("^[xy]z$")
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
}

// events reads server-sent events and checks that each is whole.
func events(t *testing.T, body string) (chunks []completion, done bool) {
	t.Helper()
	in := bufio.NewScanner(strings.NewReader(body))
	for in.Scan() {
		data, ok := strings.CutPrefix(in.Text(), "data: ")
		require.True(t, ok || in.Text() == "", in.Text())
		require.True(t, utf8.ValidString(data))
		switch {
		case data == "[DONE]":
			done = true
		case ok:
			var c completion
			require.NoError(t, json.Unmarshal([]byte(data), &c), data)
			chunks = append(chunks, c)
		}
	}
	return chunks, done
}

func TestChatStream(t *testing.T) {
	engine := newFakeEngine(1)
	const text = "això és «日本» 🦎 fi"
	engine.reply = func(string) string { return text }
	s := newTestServer(t, testOptions(engine))
	w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], "stream": true, "stream_options": {"include_usage": true}, "stop": [" fi"]}`)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "text/event-stream; charset=utf-8", w.Header().Get("Content-Type"))
	chunks, done := events(t, w.Body.String())
	require.True(t, done)
	require.Equal(t, "assistant", chunks[0].Choices[0].Delta.Role)
	var all strings.Builder
	for _, c := range chunks[1 : len(chunks)-2] {
		require.Equal(t, "chat.completion.chunk", c.Object)
		require.Equal(t, chunks[0].ID, c.ID)
		require.NotContains(t, *c.Choices[0].Delta.Content, "\ufffd", "a character is never split, though its bytes are tokens")
		require.Nil(t, c.Choices[0].FinishReason)
		all.WriteString(*c.Choices[0].Delta.Content)
	}
	require.Equal(t, strings.TrimSuffix(text, " fi"), all.String())
	require.Greater(t, len(chunks), 10, "piece by piece")
	require.Equal(t, "stop", *chunks[len(chunks)-2].Choices[0].FinishReason)
	last := chunks[len(chunks)-1]
	require.Empty(t, last.Choices)
	require.Equal(t, len(text), last.Usage.Completion)

	engine.reply = func(string) string { return "" }
	w = do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], "stream": true}`)
	chunks, done = events(t, w.Body.String())
	require.True(t, done)
	require.Len(t, chunks, 2, "an empty answer has its role and its end")
	require.Nil(t, chunks[1].Usage)

	w = do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], "stream": true, "model": "x"}`)
	require.Equal(t, http.StatusNotFound, w.Code, "before the stream errors are answered as elsewhere")
	problem(t, w)
}

// A failure after the first text comes as an event, and no [DONE] after it.
func TestChatStreamBreaks(t *testing.T) {
	s := newTestServer(t, testOptions(&breakingEngine{}))
	w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], "stream": true}`)
	require.Contains(t, w.Body.String(), `"content":"a"`)
	require.Contains(t, w.Body.String(), `data: {"error":{"message":`)
	require.NotContains(t, w.Body.String(), "[DONE]")
	metrics := do(s, "GET", "/metrics", "").Body.String()
	require.Contains(t, metrics, `salamandra_requests_total{route="/v1/chat/completions",status="500"} 1`)
}
