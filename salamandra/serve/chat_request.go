package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// chatRequest is the part of OpenAI's request that has an effect here. Fields
// that are pointers may be null, which means absent.
type chatRequest struct {
	Model               string          `json:"model"`
	Messages            []chatMessage   `json:"messages"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	Temperature         *float64        `json:"temperature"`
	TopP                *float64        `json:"top_p"`
	TopK                *int            `json:"top_k"`
	MinP                *float64        `json:"min_p"`
	RepetitionPenalty   *float64        `json:"repetition_penalty"`
	Seed                *int64          `json:"seed"`
	Stop                stopList        `json:"stop"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
	ResponseFormat      *responseFormat `json:"response_format"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type responseFormat struct {
	Type       string `json:"type"`
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

// neutral are fields that would change the answer, with the values that do not.
var neutral = map[string][]string{
	"n": {"1"}, "best_of": {"1"}, "logprobs": {"false"}, "top_logprobs": {"0"}, "logit_bias": {"{}"}, "echo": {"false"},
	"presence_penalty": {"0", "0.0"}, "frequency_penalty": {"0", "0.0"}, "modalities": {`["text"]`}, "tools": {"[]"},
	"tool_choice": {`"none"`, `"auto"`}, "functions": {"[]"}, "function_call": {`"none"`, `"auto"`}, "reasoning_effort": {`"none"`},
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
		value := string(fields[name])
		if !ok && !slices.Contains(without, name) {
			continue
		}
		if ok && value != "null" && !slices.Contains(values, value) {
			return chatRequest{}, fail(http.StatusBadRequest, "unsupported_value", name, "%s is not supported, but as %s", name, strings.Join(values, " or "))
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
		check(m.fault == "", "messages", "messages[%d]: %s", i, m.fault)
	}
	if n := c.newTokens(); n != nil {
		check(*n > 0, "max_tokens", "max_tokens is %d, want 1 or more", *n)
	}
	if c.Temperature != nil {
		check(*c.Temperature == 0 || *c.Temperature >= 1e-4 && *c.Temperature <= 2, "temperature", "temperature is %v, want 0, or 0.0001 to 2", *c.Temperature)
	}
	err := c.sampling(salamandra.Greedy()).Validate()
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

func (c chatRequest) newTokens() *int {
	if c.MaxCompletionTokens != nil {
		return c.MaxCompletionTokens
	}
	return c.MaxTokens
}

// sampling is what the request says of it, and base where it says nothing. A
// request that draws and names no seed gets one.
func (c chatRequest) sampling(base salamandra.Sampling) salamandra.Sampling {
	set(&base.Temperature, c.Temperature)
	set(&base.TopP, c.TopP)
	set(&base.TopK, c.TopK)
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

// chatMessage is a message whose content may be in parts.
type chatMessage struct {
	chatml.Message
	fault string
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *chatMessage) UnmarshalJSON(data []byte) error {
	var raw struct {
		Role      string          `json:"role"`
		Content   json.RawMessage `json:"content"`
		ToolCalls json.RawMessage `json:"tool_calls"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return errors.New("messages: want objects with role and content")
	}
	m.Role = chatml.Role(raw.Role)
	switch m.Role {
	case chatml.System, chatml.User, chatml.Assistant, chatml.Tool:
	case "developer": // the newer name
		m.Role = chatml.System
	default:
		m.fault = fmt.Sprintf("role %q, want system, developer, user, assistant or tool", raw.Role)
	}
	if t := string(raw.ToolCalls); t != "" && t != "null" && t != "[]" {
		m.fault = "tool_calls are not supported"
	}
	text, ok := contentText(raw.Content)
	if !ok {
		m.fault = "content: want a string, or parts of type text"
	}
	m.Content = text
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
