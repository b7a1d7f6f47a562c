package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// completion is an answer in OpenAI's shape, or a piece of one.
type completion struct {
	ID                string      `json:"id"`
	Object            string      `json:"object"`
	Created           int64       `json:"created"`
	Model             string      `json:"model"`
	SystemFingerprint string      `json:"system_fingerprint"`
	Choices           []choice    `json:"choices"`
	Usage             *chatUsage  `json:"usage,omitempty"`
	Timing            *chatTiming `json:"timing,omitempty"`
}

type choice struct {
	Index        int          `json:"index"`
	Message      *chatContent `json:"message,omitempty"`
	Delta        *chatContent `json:"delta,omitempty"`
	Logprobs     *struct{}    `json:"logprobs"`
	FinishReason *string      `json:"finish_reason"`
}

type chatContent struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

type chatUsage struct {
	Prompt     int               `json:"prompt_tokens"`
	Completion int               `json:"completion_tokens"`
	Total      int               `json:"total_tokens"`
	Details    chatPromptDetails `json:"prompt_tokens_details"`
}

type chatPromptDetails struct {
	Cached int `json:"cached_tokens"`
}

// chatTiming is not in OpenAI's shape; its clients ignore it.
type chatTiming = parseTiming

func (a answer) chatUsage() *chatUsage {
	u := a.usage
	return &chatUsage{u.Prompt, u.New, u.Prompt + u.New, chatPromptDetails{u.Cached}}
}

func (a answer) finishReason() *string {
	reason := "length"
	if a.complete {
		reason = "stop"
	}
	return &reason
}

// chat answers a conversation.
func (s *Server) chat(w http.ResponseWriter, r *http.Request, e *entry) error {
	data, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	ask, err := readChat(data)
	if err != nil {
		return err
	}
	model, leave, err := s.enter(ask.Model, e)
	if err != nil {
		return err
	}
	defer leave()
	q, err := s.chatQuestion(model, ask)
	if err != nil {
		return err
	}
	head := completion{ID: "chatcmpl-" + e.id, Object: "chat.completion", Created: time.Now().Unix(), Model: model.Name, SystemFingerprint: model.fingerprint()}
	if ask.Stream {
		return s.stream(w, r, e, q, head, ask.StreamOptions != nil && ask.StreamOptions.IncludeUsage)
	}
	a, err := s.ask(r.Context(), q, nil)
	e.usage = a.usage
	if err != nil {
		return err
	}
	head.Choices = []choice{{Message: &chatContent{"assistant", &a.text}, FinishReason: a.finishReason()}}
	head.Usage, head.Timing = a.chatUsage(), &chatTiming{milliseconds(a.first), milliseconds(a.total)}
	writeJSON(w, http.StatusOK, head)
	return nil
}

// fingerprint changes when the model behind a name does.
func (v *served) fingerprint() string { return "fp_" + v.since.UTC().Format("20060102150405.000") }

// chatQuestion puts a conversation into the model's template.
func (s *Server) chatQuestion(model *served, ask chatRequest) (question, error) {
	q := question{model: model, field: "messages", sampling: ask.sampling(s.opts.Sampling), most: s.opts.MaxNewTokens, stops: ask.Stop}
	if n := ask.newTokens(); n != nil {
		q.most = min(*n, q.most)
	}
	var err error
	if q.prompt, err = model.prompt(s.opts.Tokenizer, ask.chatMessages()); err != nil {
		return q, err
	}
	q.constraint, err = s.formatConstraint(model, ask.ResponseFormat)
	return q, err
}

// formatConstraint is what response_format asks for.
func (s *Server) formatConstraint(model *served, f *responseFormat) (*constrain.Matcher, error) {
	switch {
	case f == nil || f.Type == "text":
		return nil, nil
	case f.Type == "json_object":
		if model.grammar == nil {
			return nil, fail(http.StatusBadRequest, "no_schema", "response_format", "this model has no schema of its own; give one as json_schema")
		}
		return model.grammar.Matcher(s.vocabulary)
	case f.Type == "json_schema" && f.JSONSchema != nil && len(f.JSONSchema.Schema) > 0:
		g, err := s.schemas.compile(f.JSONSchema.Schema, model.Contract.Layout.Indent)
		if err != nil {
			return nil, err
		}
		return g.Matcher(s.vocabulary)
	}
	return nil, fail(http.StatusBadRequest, "invalid_value", "response_format", `response_format: want {"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", "json_schema": {"name", "schema"}}`)
}

// stream answers in server-sent events. Until the first text is there, an error
// is answered as elsewhere; after it, as an event.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, e *entry, q question, head completion, withUsage bool) error {
	head.Object = "chat.completion.chunk"
	events := &eventStream{w: w, control: http.NewResponseController(w), patience: s.opts.BodyTimeout}
	send := func(delta chatContent, finish *string) error {
		c := head
		c.Choices = []choice{{Delta: &delta, FinishReason: finish}}
		return events.send(c)
	}
	begin := func() error {
		if events.begun {
			return nil
		}
		return send(chatContent{"assistant", new(string)}, nil)
	}
	emit := func(piece string) error {
		if err := begin(); err != nil {
			return err
		}
		return send(chatContent{Content: &piece}, nil)
	}
	a, err := s.ask(r.Context(), q, emit)
	e.usage = a.usage
	if err != nil {
		if events.begun {
			_ = events.send(asFailure(err).body())
		}
		return err
	}
	if err := errors.Join(begin(), send(chatContent{}, a.finishReason())); err != nil {
		return err
	}
	if withUsage {
		c := head
		c.Choices, c.Usage = []choice{}, a.chatUsage()
		if err := events.send(c); err != nil {
			return err
		}
	}
	return events.write([]byte("data: [DONE]\n\n"))
}

// eventStream writes server-sent events.
type eventStream struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	begun    bool
}

func (s *eventStream) send(value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.write(append(append([]byte("data: "), data...), "\n\n"...))
}

// write sends one event; a client that does not take it in time has gone.
func (s *eventStream) write(data []byte) error {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		s.w.Header().Set("X-Accel-Buffering", "no") // proxies pass events on at once
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(s.patience))
	_, err := s.w.Write(data)
	if err == nil {
		err = s.control.Flush()
	}
	_ = s.control.SetWriteDeadline(time.Time{})
	if err != nil {
		return &failure{status: statusGone, code: "client_gone", message: "the client took no more", cause: err}
	}
	return nil
}
