package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/impulse-salamandra/finetune"
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
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
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
	return &chatUsage{a.PromptTokens, a.NewTokens, a.PromptTokens + a.NewTokens, chatPromptDetails{a.CachedTokens}}
}

func (a answer) finishReason() *string {
	reason := "length"
	if a.Complete {
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
	opts, call, err := s.chatOptions(model, ask)
	if err != nil {
		return err
	}
	head := completion{ID: "chatcmpl-" + e.id, Object: "chat.completion", Created: time.Now().Unix(), Model: model.name, SystemFingerprint: model.fingerprint()}
	if ask.Stream {
		return s.stream(w, r, e, model, ask, opts, call, head)
	}
	a, err := s.ask(r.Context(), e, func(ctx context.Context) (finetune.Answer, error) {
		return model.Chat(ctx, ask.chatMessages(), opts)
	})
	if err != nil {
		return call.blame(err)
	}
	head.Choices = []choice{{Message: call.message(a.Text, e.id), FinishReason: a.finishReason()}}
	head.Usage, head.Timing = a.chatUsage(), &chatTiming{milliseconds(a.FirstToken), milliseconds(a.total)}
	writeJSON(w, http.StatusOK, head)
	return nil
}

// chatOptions are what a request says of its answer, and the function that it
// calls, if any. A json_schema that is not given is the model's own.
func (s *Server) chatOptions(m model, ask chatRequest) (finetune.ChatOptions, *toolCall, error) {
	sampling := ask.sampling(s.opts.Sampling)
	opts := finetune.ChatOptions{Sampling: &sampling, Stop: ask.Stop, Untrusted: true}
	if n := ask.newTokens(); n != nil {
		opts.MaxNewTokens = int(min(*n, integer(s.opts.MaxNewTokens)))
	}
	call, parameters, err := ask.call()
	f := ask.ResponseFormat
	switch {
	case err != nil || call != nil:
		opts.Schema = parameters
	case f == nil:
	case len(f.Schema) > 0 && f.Type != "json_object":
		err = fail(http.StatusBadRequest, "invalid_value", "response_format.schema", "response_format.schema: want it in json_schema")
	case f.Type == "text":
	case f.Type == "json_object" && len(f.Schema) > 0:
		opts.Schema = f.Schema
	case f.Type == "json_object":
		opts.Schema = json.RawMessage(anyObject)
	case f.Type == "json_schema" && f.JSONSchema != nil && len(f.JSONSchema.Schema) > 0:
		opts.Schema = f.JSONSchema.Schema
	case f.Type == "json_schema" && f.JSONSchema == nil:
		if opts.Schema, opts.Untrusted = m.Contract().Schema, false; opts.Schema == nil {
			err = fail(http.StatusBadRequest, "no_schema", "response_format", "this model has no schema of its own; give one in json_schema")
		}
	default:
		err = fail(http.StatusBadRequest, "invalid_value", "response_format", `response_format: want {"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", "json_schema": {"name", "schema"}}`)
	}
	return opts, call, err
}

// stream answers in server-sent events. Until the first text is there, an error
// is answered as elsewhere; after it, as an event.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, e *entry, m model, ask chatRequest, opts finetune.ChatOptions, call *toolCall, head completion) error {
	head.Object = "chat.completion.chunk"
	events := s.events(w)
	send := func(delta chatContent, finish *string) error {
		c := head
		c.Choices = []choice{{Delta: &delta, FinishReason: finish}}
		return events.send(c)
	}
	begin := func() error {
		if events.begun {
			return nil
		}
		return send(call.first(e.id), nil)
	}
	a, err := s.ask(r.Context(), e, func(ctx context.Context) (finetune.Answer, error) {
		ctx, onText, done := events.whileWriting(ctx, func(piece string) error {
			return errors.Join(begin(), send(call.piece(piece), nil))
		})
		defer done()
		opts.OnText = onText
		return m.Chat(ctx, ask.chatMessages(), opts)
	})
	if err != nil {
		return events.fail(call.blame(err))
	}
	if err := errors.Join(begin(), send(chatContent{}, a.finishReason())); err != nil {
		return err
	}
	if ask.StreamOptions != nil && ask.StreamOptions.IncludeUsage {
		c := head
		c.Choices, c.Usage = []choice{}, a.chatUsage()
		if err := events.send(c); err != nil {
			return err
		}
	}
	return events.end()
}
