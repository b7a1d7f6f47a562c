package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// parseRequest is the body of /parse.
type parseRequest struct {
	Query    string `json:"query"`
	Language string `json:"language"`
	Model    string `json:"model"`
	Timing   bool   `json:"timing"`
}

// parseAnswer is what /parse answers with if it is asked for timing; else the
// answer alone.
type parseAnswer struct {
	Answer json.RawMessage `json:"answer"`
	Model  string          `json:"model"`
	Timing parseTiming     `json:"timing"`
	Usage  parseUsage      `json:"usage"`
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
	q, err := s.parseQuestion(model, ask)
	if err != nil {
		return err
	}
	a, err := s.ask(r.Context(), q, nil)
	e.usage = a.usage
	if err != nil {
		return err
	}
	if !a.complete || !json.Valid([]byte(a.text)) {
		return fmt.Errorf("serve: model %s: the constrained answer is not complete JSON", model.Name)
	}
	w.Header().Set("Server-Timing", fmt.Sprintf("first;dur=%.1f, total;dur=%.1f", milliseconds(a.first), milliseconds(a.total)))
	if !ask.Timing {
		writeBytes(w, http.StatusOK, "application/json", []byte(a.text))
		return nil
	}
	writeJSON(w, http.StatusOK, parseAnswer{
		Answer: json.RawMessage(a.text), Model: model.Name, Timing: parseTiming{milliseconds(a.first), milliseconds(a.total)}, Usage: parseUsage(a.usage),
	})
	return nil
}

// parseQuestion puts a query into the prompt of training.
func (s *Server) parseQuestion(model *served, ask parseRequest) (question, error) {
	if model.grammar == nil {
		return question{}, fail(http.StatusUnprocessableEntity, "no_schema", "model", "this model has no schema to answer by; /v1/chat/completions asks it")
	}
	prompt, err := model.prompt(s.opts.Tokenizer, []chatml.Message{{Role: chatml.User, Content: ask.Query}})
	if err != nil {
		return question{}, err
	}
	constraint, err := model.constraint(s.vocabulary, ask.Query, ask.Language)
	var f *failure
	if upper := strings.ToUpper(ask.Language); errors.As(err, &f) && f.param == "language" && upper != ask.Language {
		var other *constrain.Matcher // as the schema may write it
		if other, _ = model.constraint(s.vocabulary, ask.Query, upper); other != nil {
			constraint, err = other, nil
		}
	}
	return question{model: model, field: "query", prompt: prompt, sampling: s.opts.Sampling, most: s.opts.MaxNewTokens, constraint: constraint}, err
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}
