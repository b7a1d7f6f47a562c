package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune"
)

// parseRequest is the body of /parse.
type parseRequest struct {
	Query    string `json:"query"`
	Language string `json:"language"`
	Model    string `json:"model"`
	Timing   bool   `json:"timing"`
	Stream   bool   `json:"stream"`
}

// parseAnswer is what /parse answers with if it is asked for timing, and the last
// event of a stream; else only the answer.
type parseAnswer struct {
	Answer json.RawMessage `json:"answer"`
	Model  string          `json:"model"`
	Timing parseTiming     `json:"timing"`
	Usage  parseUsage      `json:"usage"`
}

// parsePiece is an event of a stream: what the model wrote since the last one.
type parsePiece struct {
	Text string `json:"text"`
}

type parseTiming struct {
	FirstToken float64 `json:"first_token_ms"`
	Total      float64 `json:"total_ms"`
}

type parseUsage struct {
	Prompt int `json:"prompt_tokens"`
	Cached int `json:"cached_tokens"`
	New    int `json:"completion_tokens"`
	Forced int `json:"forced_tokens"`
}

// parse answers a query with JSON that keeps to the schema of the model.
func (s *Server) parse(w http.ResponseWriter, r *http.Request, e *entry) error {
	data, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	var ask parseRequest
	if err := decode(data, &ask); err != nil {
		return err
	}
	if strings.TrimSpace(ask.Query) == "" {
		return fail(http.StatusUnprocessableEntity, "empty_query", "query", "query is missing or blank")
	}
	model, leave, err := s.enter(ask.Model, e)
	if err != nil {
		return err
	}
	defer leave()
	if ask.Stream {
		return s.streamParse(w, r, e, model, ask)
	}
	a, err := s.ask(r.Context(), e, func(ctx context.Context) (finetune.Answer, error) {
		return s.parseAnswer(ctx, model, ask, nil)
	})
	if err == nil {
		err = complete(model, a)
	}
	if err != nil {
		return parseFailure(err)
	}
	w.Header().Set("Server-Timing", fmt.Sprintf("first;dur=%.1f, total;dur=%.1f", milliseconds(a.FirstToken), milliseconds(a.total)))
	if !ask.Timing {
		writeBytes(w, http.StatusOK, "application/json", []byte(a.Text))
		return nil
	}
	writeJSON(w, http.StatusOK, a.timed(model))
	return nil
}

// complete fails if a constrained answer is not what it has to be.
func complete(m *served, a answer) error {
	if !a.Complete || !json.Valid([]byte(a.Text)) {
		return fmt.Errorf("serve: model %s: the constrained answer is not complete JSON", m.name)
	}
	return nil
}

func (a answer) timed(m *served) parseAnswer {
	return parseAnswer{
		Answer: json.RawMessage(a.Text), Model: m.name, Timing: parseTiming{milliseconds(a.FirstToken), milliseconds(a.total)},
		Usage: parseUsage{a.PromptTokens, a.CachedTokens, a.NewTokens, a.ForcedTokens},
	}
}

// streamParse answers in server-sent events: the text piece by piece, then the
// answer with its timing.
func (s *Server) streamParse(w http.ResponseWriter, r *http.Request, e *entry, m *served, ask parseRequest) error {
	events := s.events(w)
	a, err := s.ask(r.Context(), e, func(ctx context.Context) (finetune.Answer, error) {
		ctx, onText, done := events.whileWriting(ctx, func(piece string) error { return events.send(parsePiece{piece}) })
		defer done()
		return s.parseAnswer(ctx, m, ask, func(_ int, piece string) { onText(piece) })
	})
	if err == nil {
		err = complete(m, a)
	}
	if err != nil {
		return events.fail(parseFailure(err))
	}
	return errors.Join(events.send(a.timed(m)), events.end())
}

// parseAnswer asks the model. A schema may write languages in capitals.
func (s *Server) parseAnswer(ctx context.Context, m model, ask parseRequest, onText func(int, string)) (finetune.Answer, error) {
	opts := finetune.AskOptions{Language: ask.Language, Sampling: &s.opts.Sampling, OnText: onText}
	answers, err := m.AskAll(ctx, []string{ask.Query}, opts)
	var r *finetune.RequestError
	if upper := strings.ToUpper(ask.Language); errors.As(err, &r) && r.Field == "language" && upper != ask.Language {
		opts.Language = upper
		if other, again := m.AskAll(ctx, []string{ask.Query}, opts); again == nil {
			answers, err = other, nil
		}
	}
	if err != nil {
		return finetune.Answer{}, err
	}
	return answers[0], nil
}

// parseFailure says what is wrong with a query in the words of /parse.
func parseFailure(err error) error {
	if errors.Is(err, finetune.ErrNoSchema) {
		return fail(http.StatusUnprocessableEntity, "no_schema", "model", "this model has no schema to answer by; /v1/chat/completions asks it")
	}
	return err
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}
