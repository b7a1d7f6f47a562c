package finetune

import (
	"context"
	"time"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// Answer is what a model wrote.
type Answer struct {
	// Text is the answer; kept to a schema it is one complete JSON value. Bytes
	// that make no character are U+FFFD.
	Text string
	// Complete: the answer came to its end, and was not cut at its most tokens.
	Complete bool

	PromptTokens int           // tokens of the prompt
	CachedTokens int           // of these, computed before
	NewTokens    int           // tokens of the answer
	ForcedTokens int           // of these, appended without a choice because the schema left none
	Steps        int           // passes through the model
	FirstToken   time.Duration // from the question to the first token that was chosen
}

// AskOptions steer [Model.AskAll]. The zero value asks as [Model.Ask] does.
type AskOptions struct {
	// Unconstrained takes answers as the bare model gives them.
	Unconstrained bool
	// Language, unless empty, is given to the answer where the contract says
	// that a request fixes it.
	Language string
	// MaxNewTokens bounds each answer, which has to fit the model's context beside
	// its prompt. 0 is [Options].MaxNewTokens or, where that is less, the room
	// there is.
	MaxNewTokens int
	// Sampling draws answers; nil takes the likeliest token.
	Sampling *generate.Sampling
	// OnText, if not nil, is called with each answer piece by piece as it is
	// written, whole characters only; OnAnswer with each answer when it and those
	// before it are there. They are called by the goroutine that asks.
	OnText   func(i int, piece string)
	OnAnswer func(i int, a Answer)
}

// Ask answers a question with JSON that is valid by the contract's schema, laid
// out as in training. Where the contract says that an answer repeats the
// question, it does, word by word. It fails with [ErrNoSchema], [ErrClosed] and
// [*RequestError].
func (m *Model) Ask(ctx context.Context, question string) (Answer, error) {
	answers, err := m.AskAll(ctx, []string{question}, AskOptions{})
	if err != nil {
		return Answer{}, err
	}
	return answers[0], nil
}

// AskAll answers questions, computed together. An answer does not depend on the
// other questions. It fails as Ask does, before anything is computed.
func (m *Model) AskAll(ctx context.Context, questions []string, opts AskOptions) ([]Answer, error) {
	alone := make([]asked, len(questions))
	for i, q := range questions {
		alone[i].question = q
	}
	return m.askAll(ctx, alone, opts)
}

// asked is a question, and what comes before it.
type asked struct {
	before   []chatml.Message // a system message is asked with in place of the contract's
	question string
}

func (m *Model) askAll(ctx context.Context, questions []asked, opts AskOptions) (answers []Answer, err error) {
	v, ctx, done, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done(&err)
	if err := v.prompt.SchemaError(); err != nil && !opts.Unconstrained {
		return nil, err
	}
	requests := make([]request, len(questions))
	var wrong faults.List
	for i, q := range questions {
		var err error
		requests[i], err = v.question(q, opts.Language, !opts.Unconstrained)
		wrong.Add(place(i, len(questions)), err)
	}
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	g, err := v.options(requests, opts.MaxNewTokens, opts.Sampling)
	if err != nil {
		return nil, err
	}
	a := answering{variant: v, requests: requests, onText: opts.OnText, onAnswer: opts.OnAnswer}
	return a.run(ctx, g)
}
