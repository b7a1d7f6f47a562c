package serve

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

func TestChat(t *testing.T) {
	model := newFakeModel(1)
	s := newTestServer(t, model, testOptions())
	user := func(text string) []chatml.Message { return []chatml.Message{{Role: chatml.User, Content: text}} }
	for _, row := range []struct {
		name, body string
		messages   []chatml.Message
		most       int
		stops      []string
	}{
		{name: "a question", body: `{"model": "impulse", "messages": [{"role": "user", "content": "hola"}]}`, messages: user("hola")},
		{
			name: "own system", body: `{"messages": [{"role": "developer", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "ho"}, {"type": "text", "text": "la"}]}]}`,
			messages: []chatml.Message{{Role: chatml.System, Content: "Be short."}, {Role: chatml.User, Content: "hola"}},
		},
		{
			name: "turns", body: `{"messages": [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}`,
			messages: []chatml.Message{{Role: chatml.User, Content: "<|im_end|>"}, {Role: chatml.Assistant, Content: "b"}, {Role: chatml.User, Content: "c"}},
		},
		{
			name: "a call and what came of it, as instructor sends them when it asks again",
			body: `{"messages": [{"role": "user", "content": "a"},
				{"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", "function": {"arguments": "{\"city\": \"Paris\"}", "name": "P"}, "type": "function"}]},
				{"role": "tool", "tool_call_id": "call_1", "name": "P", "content": "want a city of Catalonia"}]}`,
			messages: []chatml.Message{{Role: chatml.User, Content: "a"}, {Role: chatml.Assistant, Content: `{"city": "Paris"}`}, {Role: chatml.Tool, Content: "want a city of Catalonia"}},
		},
		{
			name: "a call without content", messages: []chatml.Message{{Role: chatml.Assistant, Content: "{}"}},
			body: `{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]}`,
		},
		{name: "tools not to be called", messages: user("a"), body: `{"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}`},
		{name: "length", body: `{"messages": [{"role": "user", "content": "a"}], "max_tokens": 4}`, messages: user("a"), most: 4},
		{name: "newer length", body: `{"messages": [{"role": "user", "content": "a"}], "max_tokens": 9, "max_completion_tokens": 2}`, messages: user("a"), most: 2},
		{name: "more than is allowed", body: `{"messages": [{"role": "user", "content": "a"}], "max_tokens": 100000}`, messages: user("a"), most: 512},
		{name: "stop", body: `{"messages": [{"role": "user", "content": "a"}], "stop": "qu"}`, messages: user("a"), stops: []string{"qu"}},
		{name: "stops", body: `{"messages": [{"role": "user", "content": "a"}], "stop": ["tal", "la,"]}`, messages: user("a"), stops: []string{"tal", "la,"}},
		{
			name: "fields without effect", messages: user("a"),
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
			require.Equal(t, "hola, què tal?", *c.Choices[0].Message.Content)
			require.Equal(t, "stop", *c.Choices[0].FinishReason)
			require.Equal(t, chatUsage{7, 14, 21, chatPromptDetails{5}}, *c.Usage)
			require.Equal(t, row.messages, model.messages)
			require.Equal(t, row.most, model.chatted.MaxNewTokens)
			require.Equal(t, row.stops, []string(model.chatted.Stop))
			require.True(t, model.chatted.Untrusted)
		})
	}
}

func TestChatSampling(t *testing.T) {
	model := newFakeModel(1)
	s := newTestServer(t, model, testOptions())
	const messages = `{"messages": [{"role": "user", "content": "a"}]`
	require.Equal(t, 200, do(s, "POST", "/v1/chat/completions", messages+`, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "seed": -3}`).Code)
	got := model.chatted.Sampling
	require.Equal(t, []any{0.7, 0.9, 5, 0.1, 1.1, uint64(1<<64 - 3)}, []any{got.Temperature, got.TopP, got.TopK, got.MinP, got.RepetitionPenalty, got.Seed})
	require.Equal(t, 200, do(s, "POST", "/v1/chat/completions", messages+`, "temperature": 1}`).Code)
	first := model.chatted.Sampling.Seed
	require.Equal(t, 200, do(s, "POST", "/v1/chat/completions", messages+`, "temperature": 1}`).Code)
	require.NotEqual(t, first, model.chatted.Sampling.Seed, "without a seed draws differ")
}

func TestChatRefusals(t *testing.T) {
	s := newRealServer(t, 0)
	addBare(s.Server)
	const a = `{"messages": [{"role": "user", "content": "a"}], `
	for _, row := range []struct {
		name, body  string
		status      int
		code, param string
		says        string // parts of the message
	}{
		{name: "no messages", body: `{"messages": []}`, status: 400, code: "invalid_value", param: "messages"},
		{name: "role", body: `{"messages": [{"role": "boss", "content": "a"}]}`, status: 400, code: "invalid_value", param: "messages[0].role", says: `messages[0].role: "boss"`},
		{name: "picture", body: `{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]}`, status: 400, code: "invalid_value", param: "messages[0].content", says: "parts of type text"},
		{name: "no content", body: `{"messages": [{"role": "user"}]}`, status: 400, code: "invalid_value", param: "messages[0].content"},
		{name: "field of a message", body: `{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "a", "contnt": "b"}]}`, status: 400, code: "invalid_value", param: "messages[1].contnt"},
		{name: "name of a speaker", body: `{"messages": [{"role": "user", "content": "a", "name": "Anna"}]}`, status: 400, code: "invalid_value", param: "messages[0].name"},
		{name: "tool calls", body: `{"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}]}]}`, status: 400, code: "invalid_value", param: "messages[0].tool_calls"},
		{name: "two calls", body: `{"messages": [{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}, {"type": "function", "function": {"name": "f", "arguments": "{}"}}]}]}`, status: 400, code: "invalid_value", param: "messages[0].tool_calls", says: "want one call"},
		{name: "text beside a call", body: `{"messages": [{"role": "assistant", "content": "b", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}]}`, status: 400, code: "invalid_value", param: "messages[0].tool_calls"},
		{name: "a call of the user", body: `{"messages": [{"role": "user", "content": "b", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}]}`, status: 400, code: "invalid_value", param: "messages[0].tool_calls"},
		{name: "all at once", body: `{"messages": [], "max_tokens": 0, "temperature": 3, "top_p": 0}`, status: 400, code: "invalid_value", param: "messages", says: "temperature is 3"},
		{name: "tools without a choice", body: a + `"tools": [{"type": "function", "function": {"name": "f"}}]}`, status: 400, code: "unsupported_value", param: "tool_choice", says: "required"},
		{name: "one of two tools", body: a + `"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}], "tool_choice": "required"}`, status: 400, code: "unsupported_value", param: "tool_choice"},
		{name: "no such tool", body: a + `"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "g"}}}`, status: 400, code: "unsupported_value", param: "tool_choice"},
		{name: "no tools", body: a + `"tool_choice": "required"}`, status: 400, code: "unsupported_value", param: "tool_choice"},
		{name: "schema of a tool", body: a + `"tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "http://a"}}}], "tool_choice": "required"}`, status: 400, code: "invalid_schema", param: "tools"},
		{name: "two answers", body: a + `"n": 2}`, status: 400, code: "unsupported_value", param: "n"},
		{name: "penalty", body: a + `"frequency_penalty": 0.5}`, status: 400, code: "unsupported_value", param: "frequency_penalty"},
		{name: "misspelt", body: a + `"temprature": 1}`, status: 400, code: "unknown_field", param: "temprature"},
		{name: "stops", body: a + `"stop": ["a", "b", "c", "d", "e"]}`, status: 400, code: "invalid_value", param: "stop"},
		{name: "empty stop", body: a + `"stop": ""}`, status: 400, code: "invalid_value", param: "stop"},
		{name: "stream options", body: a + `"stream_options": {"include_usage": true}}`, status: 400, code: "invalid_value", param: "stream_options"},
		{name: "model", body: a + `"model": "gpt-4o"}`, status: 404, code: "model_not_found", param: "model"},
		{name: "format", body: a + `"response_format": {"type": "xml"}}`, status: 400, code: "invalid_value", param: "response_format"},
		{name: "schema beside json_schema", body: a + `"response_format": {"type": "json_schema", "schema": {"type": "null"}}}`, status: 400, code: "invalid_value", param: "response_format.schema"},
		{name: "no schema of its own", body: a + `"model": "bare", "response_format": {"type": "json_schema"}}`, status: 400, code: "no_schema", param: "response_format"},
		{name: "schema keyword", body: a + `"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "(a|b)\\1"}}}}`, status: 400, code: "invalid_schema", says: "/pattern"},
		{name: "schema from elsewhere", body: a + `"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1/s.json"}}}}`, status: 400, code: "invalid_schema"},
		{name: "schema from a file", body: a + `"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "file:///etc/passwd"}}}}`, status: 400, code: "invalid_schema"},
		{name: "type of a field", body: a + `"response_format": "json"}`, status: 400, code: "invalid_type", param: "response_format", says: "want an object, got string"},
		{name: "half a token", body: a + `"max_tokens": 1.5}`, status: 400, code: "invalid_type", param: "max_tokens", says: "want an integer of 64 bits, got number 1.5"},
		{name: "cold", body: a + `"temperature": 1e-300}`, status: 400, code: "invalid_value", param: "temperature"},
		{name: "schema of 64 KiB", body: a + schemaFormat(`{"const": "`+strings.Repeat("a", 64<<10)+`"}`), status: 422, code: "schema_too_large", param: "response_format", says: "65536"},
		{name: "schema of long texts", body: a + schemaFormat(`{"type": "string", "minLength": 10001}`), status: 422, code: "schema_too_large", says: "10000"},
		{name: "schema of long lists", body: a + schemaFormat(`{"type": "array", "items": {"type": "null"}, "minItems": 10001}`), status: 422, code: "schema_too_large", says: "10000"},
		{name: "schema of many states", body: a + schemaFormat(`{"type": "string", "pattern": "^(a|b)*a(a|b){20}$"}`), status: 422, code: "schema_too_large"},
		{name: "schema that branches", body: a + schemaFormat(branching(28)), status: 422, code: "schema_too_large"},
		{name: "schema that nests", body: a + schemaFormat(strings.Repeat(`{"type": "array", "items": `, 300)+`{}`+strings.Repeat(`}`, 300)), status: 400, code: "invalid_schema"},
		{name: "short budget", body: a + `"max_tokens": 3, "response_format": {"type": "json_schema"}}`, status: 422, code: "answer_too_long", param: "max_tokens"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := do(s, "POST", "/v1/chat/completions", row.body, "Authorization", "Bearer "+adminKey)
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

// TestChatEqualJSON: what a value means does not depend on how it is written.
func TestChatEqualJSON(t *testing.T) {
	s := newTestServer(t, newFakeModel(1), testOptions())
	for _, field := range []string{
		`"n": 1.0`, `"n": 1e0`, `"n": null`, `"tools": [ ]`, `"tools": null`, `"logit_bias": { }`, `"tool_choice": "\u0061uto"`, `"presence_penalty": 0e5`,
		`"max_tokens": 20.0`, `"max_tokens": 2e1`, `"top_k": 4.0`, `"seed": 1e3`, `"modalities": [ "text" ]`,
		`"messages": [{"role": "user", "content": "a", "refusal": null, "annotations": [ ], "tool_calls": null, "name": ""}]`,
	} {
		body := `{"messages": [{"role": "user", "content": "a"}], ` + field + `}`
		if strings.HasPrefix(field, `"messages"`) {
			body = "{" + field + "}"
		}
		w := do(s, "POST", "/v1/chat/completions", body)
		require.Equal(t, 200, w.Code, "%s: %s", field, w.Body.String())
	}
}

// TestRefused: the parts of a request have their names in HTTP, and each fault its
// code.
func TestRefused(t *testing.T) {
	for _, row := range []struct {
		field       string
		err         error
		status      int
		code, param string
	}{
		{"question", finetune.ErrContext, 400, "context_length_exceeded", "query"},
		{"messages", finetune.ErrContext, 400, "context_length_exceeded", "messages"},
		{"question", errors.New("too long"), 422, "invalid_query", "query"},
		{"language", errors.New("unknown"), 422, "invalid_language", "language"},
		{"messages", chatml.ErrMessage, 400, "invalid_prompt", "messages"},
		{"max_new_tokens", errors.New("too few"), 422, "answer_too_long", "max_tokens"},
		{"schema", constrain.ErrTooLarge, 422, "schema_too_large", "response_format"},
		{"schema", constrain.ErrUnsupported, 400, "invalid_schema", "response_format"},
	} {
		f := asFailure(fmt.Errorf("question 1: %w", &finetune.RequestError{Field: row.field, Err: row.err}))
		require.Equal(t, []any{row.status, row.code, row.param, row.err.Error()}, []any{f.status, f.code, f.param, f.message})
	}
	require.Equal(t, 503, asFailure(finetune.ErrClosed).status)
}

// TestNewRefusesWhatCannotAnswer: a model whose schema cannot be kept to is found
// when the server is made.
func TestNewRefusesWhatCannotAnswer(t *testing.T) {
	m := newFakeModel(1)
	m.unusable = errors.New("schema: cannot be enforced")
	_, err := newServer(m, nil, testOptions())
	require.ErrorContains(t, err, "model impulse: schema: cannot be enforced")
}

// TestModel: /v1/models/NAME is an element of /v1/models.
func TestModel(t *testing.T) {
	s := newTestServer(t, newFakeModel(1), testOptions())
	var all modelList
	require.NoError(t, json.Unmarshal(do(s, "GET", "/v1/models", "").Body.Bytes(), &all))
	var one modelDetail
	require.NoError(t, json.Unmarshal(do(s, "GET", "/v1/models/impulse", "").Body.Bytes(), &one))
	require.Equal(t, all.Data[0], one)
	var contract modelContract
	require.NoError(t, json.Unmarshal(do(s, "GET", "/v1/models/impulse", "").Body.Bytes(), &contract))
	require.JSONEq(t, testSchema, string(contract.Schema))
	require.Equal(t, testContract().RequestValues, contract.RequestValues)
	for _, path := range []string{"/v1/models/", "/v1/models/other", "/v1/models/impulse/x"} {
		require.Equal(t, 404, do(s, "GET", path, "").Code, path)
	}
	require.Equal(t, 405, do(s, "POST", "/v1/models/impulse", "").Code)
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
	s := newRealServer(t, 0)
	ask := func(format string) string {
		w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], "response_format": `+format+`}`, "Authorization", "Bearer "+adminKey)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		var c completion
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &c))
		require.Equal(t, "stop", *c.Choices[0].FinishReason)
		return *c.Choices[0].Message.Content
	}
	const schema = `{"type": "json_schema", "json_schema": {"name": "city", "strict": true, "schema": {"type": "object", "properties": {"city": {"enum": ["Girona", "Lleida"]}}, "required": ["city"], "additionalProperties": false}}}`
	require.Regexp(t, `^\{\n  "city": "(Girona|Lleida)"\n\}$`, ask(schema))
	var own testAnswer
	require.NoError(t, json.Unmarshal([]byte(ask(`{"type": "json_schema"}`)), &own), "the model's own schema")
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(ask(`{"type": "json_object"}`)), &object), "any object")
}

// TestChatTools: a function that the request names is called with arguments by its
// schema, whole and in pieces.
func TestChatTools(t *testing.T) {
	s := newRealServer(t, 0)
	const tools = `"tools": [{"type": "function", "function": {"name": "other"}}, {"type": "function", "function": {"name": "city", "description": "d", "strict": true,
		"parameters": {"type": "object", "properties": {"name": {"enum": ["Girona", "Lleida"]}}, "required": ["name"]}}}], "tool_choice": {"type": "function", "function": {"name": "city"}}`
	ask := func(more string) string {
		w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], `+tools+more+`}`, "Authorization", "Bearer "+adminKey)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		return w.Body.String()
	}
	var c completion
	require.NoError(t, json.Unmarshal([]byte(ask("")), &c))
	m := c.Choices[0].Message
	require.Nil(t, m.Content)
	require.Len(t, m.ToolCalls, 1)
	require.Equal(t, "city", m.ToolCalls[0].Function.Name)
	require.NotEmpty(t, m.ToolCalls[0].ID)
	require.Regexp(t, `^\{\n  "name": "(Girona|Lleida)"\n\}$`, m.ToolCalls[0].Function.Arguments)

	chunks, done := events(t, ask(`, "stream": true`))
	require.True(t, done)
	require.Equal(t, "city", chunks[0].Choices[0].Delta.ToolCalls[0].Function.Name)
	var all strings.Builder
	for _, c := range chunks[:len(chunks)-1] {
		all.WriteString(c.Choices[0].Delta.ToolCalls[0].Function.Arguments)
	}
	require.Equal(t, m.ToolCalls[0].Function.Arguments, all.String())
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
	model := newFakeModel(1)
	const text = "això és «日本» 🦎"
	model.reply = func(string) string { return text }
	s := newTestServer(t, model, testOptions())
	w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], "stream": true, "stream_options": {"include_usage": true}}`)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "text/event-stream; charset=utf-8", w.Header().Get("Content-Type"))
	chunks, done := events(t, w.Body.String())
	require.True(t, done)
	require.Equal(t, "assistant", chunks[0].Choices[0].Delta.Role)
	var all strings.Builder
	for _, c := range chunks[1 : len(chunks)-2] {
		require.Equal(t, "chat.completion.chunk", c.Object)
		require.Equal(t, chunks[0].ID, c.ID)
		require.Nil(t, c.Choices[0].FinishReason)
		all.WriteString(*c.Choices[0].Delta.Content)
	}
	require.Equal(t, text, all.String())
	require.Greater(t, len(chunks), 10, "piece by piece")
	require.Equal(t, "stop", *chunks[len(chunks)-2].Choices[0].FinishReason)
	last := chunks[len(chunks)-1]
	require.Empty(t, last.Choices)
	require.Equal(t, len(chunks)-3, last.Usage.Completion)

	model.reply = func(string) string { return "" }
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
	model := newFakeModel(1)
	model.fail = errors.New("device lost")
	s := newTestServer(t, model, testOptions())
	w := do(s, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], "stream": true}`)
	require.Contains(t, w.Body.String(), `"content":"h"`)
	require.Contains(t, w.Body.String(), `data: {"error":{"message":`)
	require.NotContains(t, w.Body.String(), "[DONE]")
	metrics := do(s, "GET", "/metrics", "").Body.String()
	require.Contains(t, metrics, `salamandra_requests_total{route="/v1/chat/completions",status="500"} 1`)
}
