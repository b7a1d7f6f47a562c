package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/impulse-salamandra/finetune"
)

// tool is a function that the answer may be the call of.
type tool struct {
	Type     string `json:"type"`
	Function *struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Strict      *bool           `json:"strict"` // arguments always keep to the schema
		Parameters  json.RawMessage `json:"parameters"`
	} `json:"function"`
}

// toolChoice is which function is called: by name, or one of them.
type toolChoice struct {
	mode, name string
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *toolChoice) UnmarshalJSON(data []byte) error {
	if string(data) == "null" || json.Unmarshal(data, &c.mode) == nil {
		return nil
	}
	var named tool
	if err := json.Unmarshal(data, &named); err != nil || named.Function == nil {
		return errors.New(`tool_choice: want "required" or {"type": "function", "function": {"name"}}`)
	}
	c.name = named.Function.Name
	return nil
}

// anyObject is the schema of JSON objects.
const anyObject = `{"type": "object"}`

// call returns the function whose call the answer is, with the schema of its
// arguments; nil where the request has no tools. The choice must be the request's:
// whether to call, and which of several functions, is not asked of the model.
func (c chatRequest) call() (*toolCall, json.RawMessage, error) {
	refuse := func(param, format string, args ...any) (*toolCall, json.RawMessage, error) {
		return nil, nil, fail(http.StatusBadRequest, "unsupported_value", param, format, args...)
	}
	mode, name := c.ToolChoice.mode, c.ToolChoice.name
	if len(c.Tools) == 0 {
		if name != "" || mode != "" && mode != "none" && mode != "auto" {
			return refuse("tool_choice", "tool_choice without tools")
		}
		return nil, nil, nil
	}
	if mode == "none" {
		return nil, nil, nil
	}
	if name == "" && (mode != "required" || len(c.Tools) > 1) {
		return refuse("tool_choice", `tools are called only where the request says which one: want tool_choice {"type": "function", "function": {"name"}}, or "required" with one tool`)
	}
	i := slices.IndexFunc(c.Tools, func(t tool) bool {
		return t.Type == "function" && t.Function != nil && t.Function.Name != "" && (name == "" || t.Function.Name == name)
	})
	if i < 0 && name != "" {
		return refuse("tool_choice", "tools has no function %q", name)
	}
	if i < 0 {
		return refuse("tools", "the tool is no function with a name")
	}
	if c.ResponseFormat != nil && c.ResponseFormat.Type != "text" {
		return refuse("response_format", "response_format beside a function that is called")
	}
	f := c.Tools[i].Function
	schema := f.Parameters
	if len(schema) == 0 || string(schema) == "null" {
		schema = json.RawMessage(`{"type": "object", "additionalProperties": false}`)
	}
	return &toolCall{Type: "function", Function: &functionCall{Name: f.Name}}, schema, nil
}

// toolCall is an answer that calls a function, or a piece of one.
type toolCall struct {
	Index    *int          `json:"index,omitempty"` // in pieces
	ID       string        `json:"id,omitempty"`
	Type     string        `json:"type,omitempty"`
	Function *functionCall `json:"function"`
}

type functionCall struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

// calledText is what the model wrote when it called a function, from the message
// that a client sends back: the arguments.
func calledText(calls, content json.RawMessage) (string, bool) {
	var list []struct {
		Type     string `json:"type"`
		Function struct {
			Name      string  `json:"name"`
			Arguments *string `json:"arguments"`
		} `json:"function"`
	}
	if json.Unmarshal(calls, &list) != nil || len(list) != 1 || list[0].Type != "function" || list[0].Function.Arguments == nil {
		return "", false
	}
	return *list[0].Function.Arguments, content == nil || isNeutral(content, []any{"", []any{}})
}

// message is a complete answer: its text, or a call with that text as arguments.
func (c *toolCall) message(text, id string) *chatContent {
	if c == nil {
		return &chatContent{Role: "assistant", Content: &text}
	}
	return &chatContent{Role: "assistant", ToolCalls: []toolCall{{ID: "call_" + id, Type: c.Type, Function: &functionCall{c.Function.Name, text}}}}
}

// first is the piece that begins an answer.
func (c *toolCall) first(id string) chatContent {
	if c == nil {
		return chatContent{Role: "assistant", Content: new(string)}
	}
	return chatContent{Role: "assistant", ToolCalls: []toolCall{{Index: new(int), ID: "call_" + id, Type: c.Type, Function: &functionCall{Name: c.Function.Name}}}}
}

// piece is a piece of an answer.
func (c *toolCall) piece(text string) chatContent {
	if c == nil {
		return chatContent{Content: &text}
	}
	return chatContent{ToolCalls: []toolCall{{Index: new(int), Function: &functionCall{Arguments: text}}}}
}

// blame names tools where the schema of a function's arguments is at fault.
func (c *toolCall) blame(err error) error {
	if r := new(finetune.RequestError); c != nil && errors.As(err, &r) && r.Field == "schema" {
		f := refused(r)
		f.param = "tools"
		return f
	}
	return err
}
