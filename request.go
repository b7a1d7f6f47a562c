package finetune

import (
	"errors"
	"fmt"
	"slices"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/prompt"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// ErrContext: a prompt and its answer do not fit the model's context together.
var ErrContext = errors.New("context too short")

// RequestError says which part of a request the model cannot answer, and why.
type RequestError struct {
	// Field is "question", "language", "messages", "schema" or "max_new_tokens".
	Field string
	// Err is the reason; [ErrContext] is one.
	Err error
}

// Error returns "FIELD: ERR".
func (e *RequestError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *RequestError) Unwrap() error { return e.Err }

// request is a question or a conversation on its way to the generator.
type request struct {
	field      string // of a RequestError
	prompt     []int32
	constraint *constrain.Matcher // nil for free text
}

// question is the request of a question.
func (v *variant) question(q asked, language string, constrained bool) (r request, err error) {
	r.field = "question"
	messages := slices.Concat(q.before, []chatml.Message{{Role: chatml.User, Content: q.question}})
	if r.prompt, err = v.prompt.Chat(messages); err != nil {
		return r, &RequestError{r.field, err}
	}
	if constrained {
		r.constraint, err = v.prompt.Constraint(q.question, language)
	}
	var value *prompt.ValueError
	if errors.As(err, &value) {
		err = &RequestError{r.field, value}
		if value.Value == chatml.Language {
			err = &RequestError{"language", value}
		}
	}
	return r, err
}

// options are those of requests that are computed together. Most is how many new
// tokens an answer may have, 0 for what the model's options say; what is asked for
// has to fit, the default takes the room there is.
func (v *variant) options(requests []request, most int, sampling *generate.Sampling) (generate.Options, error) {
	g := generate.DefaultOptions()
	if sampling != nil {
		g.Sampling = *sampling
	}
	g.StopTokens, g.MaxNewTokens = v.prompt.Tokens.Stop, v.base.opts.MaxNewTokens
	if most != 0 {
		g.MaxNewTokens = most
	}
	if g.MaxNewTokens < 0 {
		return g, &RequestError{"max_new_tokens", fmt.Errorf("%d, want 1 or more, or 0 for %d", most, v.base.opts.MaxNewTokens)}
	}
	var wrong faults.List
	for i, r := range requests {
		wrong.Add(place(i, len(requests)), r.fits(v.base.context()-len(r.prompt), g.MaxNewTokens, most != 0))
	}
	g.Constrain = func(i int) (*constrain.Matcher, error) { return requests[i].constraint, nil }
	return g, wrong.Err()
}

// fits refuses a request that room does not suffice for, or whose shortest answer
// is longer than it may be.
func (r request) fits(room, most int, asked bool) error {
	shortest := 1
	if r.constraint != nil {
		shortest = r.constraint.Shortest()
	}
	switch {
	case shortest > room, asked && most > room:
		needed := shortest
		if asked {
			needed = max(most, shortest)
		}
		return &RequestError{r.field, fmt.Errorf("%w: the prompt has %d tokens, which leaves room for %d; the answer may take %d", ErrContext, len(r.prompt), max(0, room), needed)}
	case shortest > most:
		return &RequestError{"max_new_tokens", fmt.Errorf("the shortest answer that keeps to the schema takes up to %d tokens, more than the %d allowed", shortest, most)}
	}
	return nil
}

// place says which of several requests has a fault.
func place(i, n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf("question %d", i+1)
}
