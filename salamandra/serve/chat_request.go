package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// chatRequest is the part of OpenAI's request that has an effect here. Fields
// that are pointers may be null, which means absent.
type chatRequest struct {
	Model               string          `json:"model"`
	Messages            []chatMessage   `json:"messages"`
	MaxTokens           *integer        `json:"max_tokens"`
	MaxCompletionTokens *integer        `json:"max_completion_tokens"`
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	TopK                *integer        `json:"top_k"`
	MinP                *float64        `json:"min_p"`
	RepetitionPenalty   *float64        `json:"repetition_penalty"`
	Seed                *integer        `json:"seed"`
	Stop                stopList        `json:"stop"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
	ResponseFormat      *responseFormat `json:"response_format"`
	Tools               []tool          `json:"tools"`
	ToolChoice          toolChoice      `json:"tool_choice"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type responseFormat struct {
	Type       string          `json:"type"`
	Schema     json.RawMessage `json:"schema"` // beside json_object, as instructor sends it
	JSONSchema *struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Strict      *bool           `json:"strict"` // answers always keep to the schema
		Schema      json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

// without are fields that mean nothing here.
var without = []string{
	"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
	"parallel_tool_calls", "verbosity",
}

// neutral are fields that would change the answer, with the values that do not;
// null never does.
var neutral = map[string][]any{
	"n": {1.0}, "best_of": {1.0}, "logprobs": {false}, "top_logprobs": {0.0}, "logit_bias": {map[string]any{}}, "echo": {false},
	"presence_penalty": {0.0}, "frequency_penalty": {0.0}, "modalities": {[]any{"text"}}, "functions": {[]any{}}, "function_call": {"none", "auto"}, "reasoning_effort": {"none"},
}

// isNeutral compares a value with those that change nothing, however it is
// written.
func isNeutral(data json.RawMessage, values []any) bool {
	var value any
	if json.Unmarshal(data, &value) != nil {
		return false
	}
	return value == nil || slices.ContainsFunc(values, func(v any) bool { return reflect.DeepEqual(v, value) })
}

// spelled lists values in JSON.
func spelled(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		text, _ := json.Marshal(v) // constants
		texts[i] = string(text)
	}
	return strings.Join(texts, " or ")
}

// maxStops bounds the stop strings and maxStop their bytes.
const (
	maxStops = 4
	maxStop  = 256
)

// readChat reads a chat request. Fields that are not known are refused by name:
// an answer that silently ignores one is not what was asked for.
func readChat(data []byte) (chatRequest, error) {
	var fields map[string]json.RawMessage
	if err := decode(data, &fields); err != nil {
		return chatRequest{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		values, ok := neutral[name]
		if !ok && !slices.Contains(without, name) {
			continue
		}
		if ok && !isNeutral(fields[name], values) {
			return chatRequest{}, fail(http.StatusBadRequest, "unsupported_value", name, "%s is not supported, except as %s", name, spelled(values))
		}
		delete(fields, name)
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return chatRequest{}, err
	}
	var c chatRequest
	return c, errors.Join(decode(rest, &c), c.check())
}

// check lists everything out of range.
func (c chatRequest) check() error {
	var faults []string
	param := ""
	check := func(ok bool, field, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
			if param == "" {
				param = field
			}
		}
	}
	check(len(c.Messages) > 0, "messages", "messages is missing or empty")
	for i, m := range c.Messages {
		check(m.fault == "", fmt.Sprintf("messages[%d].%s", i, m.field), "messages[%d].%s: %s", i, m.field, m.fault)
	}
	if n := c.newTokens(); n != nil {
		check(*n > 0, "max_tokens", "max_tokens is %d, want 1 or more", *n)
	}
	if c.Temperature != nil {
		check(*c.Temperature == 0 || *c.Temperature >= 1e-4 && *c.Temperature <= 2, "temperature", "temperature is %v, want 0, or 0.0001 to 2", *c.Temperature)
	}
	err := c.sampling(generate.Greedy()).Validate()
	check(err == nil, "top_p", "%v", err)
	check(len(c.Stop) <= maxStops, "stop", "stop has %d strings, want up to %d", len(c.Stop), maxStops)
	for _, s := range c.Stop {
		check(s != "" && len(s) <= maxStop, "stop", "stop has a string of %d bytes, want 1 to %d", len(s), maxStop)
	}
	check(c.StreamOptions == nil || c.Stream, "stream_options", "stream_options without stream")
	if len(faults) > 0 {
		return fail(http.StatusBadRequest, "invalid_value", param, "%s", strings.Join(faults, "; "))
	}
	return nil
}

func (c chatRequest) newTokens() *integer {
	if c.MaxCompletionTokens != nil {
		return c.MaxCompletionTokens
	}
	return c.MaxTokens
}

// sampling is what the request says of it, and base where it says nothing. A
// request that draws and names no seed gets one.
func (c chatRequest) sampling(base generate.Sampling) generate.Sampling {
	set(&base.Temperature, c.Temperature)
	set(&base.TopP, c.TopP)
	if c.TopK != nil {
		base.TopK = int(*c.TopK)
	}
	set(&base.MinP, c.MinP)
	set(&base.RepetitionPenalty, c.RepetitionPenalty)
	base.Seed = rand.Uint64()
	if c.Seed != nil {
		base.Seed = uint64(*c.Seed)
	}
	return base
}

func set[T any](to *T, value *T) {
	if value != nil {
		*to = *value
	}
}

// stopList is a string, a list of strings, or null.
type stopList []string

// UnmarshalJSON implements json.Unmarshaler.
func (s *stopList) UnmarshalJSON(data []byte) error {
	var one *string
	if json.Unmarshal(data, &one) == nil {
		if one != nil {
			*s = stopList{*one}
		}
		return nil
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return errors.New("stop: want a string or a list of strings")
	}
	*s = list
	return nil
}

// integer is a whole number, also where it is written with a point or an
// exponent.
type integer int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *integer) UnmarshalJSON(data []byte) error {
	if i, err := strconv.ParseInt(string(data), 10, 64); err == nil {
		*n = integer(i)
		return nil
	}
	const exact = 1 << 53 // below it a float64 holds every integer
	f, err := strconv.ParseFloat(string(data), 64)
	if err == nil && f == math.Trunc(f) && math.Abs(f) <= exact {
		*n = integer(f)
		return nil
	}
	value := "number " + string(data)
	if err != nil {
		value = "another value"
	}
	return &json.UnmarshalTypeError{Value: value, Type: reflect.TypeFor[int64]()}
}

// chatMessage is a message whose content may be in parts.
type chatMessage struct {
	chatml.Message
	field, fault string // the first field that is wrong, and how
}

// silent are fields of messages that clients send back as they got them, with
// the values that say nothing.
var silent = map[string][]any{
	"name": {""}, "tool_calls": {[]any{}}, "tool_call_id": {""}, "function_call": nil, "refusal": nil, "audio": nil, "annotations": {[]any{}},
	"reasoning_content": {""}, "reasoning": {""}, "weight": {1.0},
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *chatMessage) UnmarshalJSON(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil || fields == nil {
		return errors.New("messages: want objects with role and content")
	}
	fault := func(field, format string, args ...any) {
		if m.fault == "" {
			m.field, m.fault = field, fmt.Sprintf(format, args...)
		}
	}
	var role string
	if json.Unmarshal(fields["role"], &role) != nil {
		fault("role", "want a string")
	}
	m.Role = chatml.Role(role)
	switch m.Role {
	case chatml.System, chatml.User, chatml.Assistant, chatml.Tool:
	case "developer": // the newer name
		m.Role = chatml.System
	default:
		fault("role", "%q, want system, developer, user, assistant or tool", role)
	}
	calls := fields["tool_calls"]
	var ok bool
	if m.Role == chatml.Assistant && calls != nil && !isNeutral(calls, silent["tool_calls"]) {
		if m.Content, ok = calledText(calls, fields["content"]); !ok {
			fault("tool_calls", "want one call of a function with its arguments, and no content beside it")
		}
		delete(fields, "tool_calls")
	} else if m.Content, ok = contentText(fields["content"]); !ok {
		fault("content", "want a string, or parts of type text")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		values, known := silent[name]
		switch {
		case name == "role" || name == "content":
		case m.Role == chatml.Tool && (name == "name" || name == "tool_call_id"): // of the one call before it
		case !known:
			fault(name, "not a field of messages that is known here")
		case !isNeutral(fields[name], values):
			fault(name, "not supported")
		}
	}
	return nil
}

// contentText returns a string, or the texts of parts put together.
func contentText(data json.RawMessage) (string, bool) {
	var text *string
	if json.Unmarshal(data, &text) == nil && text != nil {
		return *text, true
	}
	var parts []struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	if json.Unmarshal(data, &parts) != nil || parts == nil {
		return "", false
	}
	var all strings.Builder
	for _, p := range parts {
		if p.Type != "text" || p.Text == nil {
			return "", false
		}
		all.WriteString(*p.Text)
	}
	return all.String(), true
}

// chatMessages are the messages without what only reading needs.
func (c chatRequest) chatMessages() []chatml.Message {
	list := make([]chatml.Message, len(c.Messages))
	for i, m := range c.Messages {
		list[i] = m.Message
	}
	return list
}
