package finetune

import (
	"context"
	"encoding/json"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// ChatOptions steer [Model.Chat].
type ChatOptions struct {
	// Schema, if not nil, is a JSON Schema that the answer is kept to, in the
	// layout of the contract unless [Options].Whitespace is set.
	Schema json.RawMessage
	// Untrusted bounds what Schema may cost, for one that comes from a stranger;
	// see [constrain.UntrustedOptions].
	Untrusted bool
	// MaxNewTokens bounds the answer, which has to fit the model's context beside
	// its prompt. 0 is [Options].MaxNewTokens or, where that is less, the room
	// there is.
	MaxNewTokens int
	// Sampling draws the answer; nil takes the likeliest token.
	Sampling *generate.Sampling
	// Stop are texts that end the answer; they are not part of it.
	Stop []string
	// OnText, if not nil, is called with the answer piece by piece as it is
	// written, whole characters only, by the goroutine that called Chat.
	OnText func(piece string)
}

// Chat answers a conversation, in free text or kept to a schema of one's own. A
// conversation without a system message has the contract's. It fails with
// [ErrClosed] and [*RequestError]; a schema that cannot be kept to gives one that
// wraps a [*constrain.CompileError].
func (m *Model) Chat(ctx context.Context, messages []chatml.Message, opts ChatOptions) (answer Answer, err error) {
	v, ctx, done, err := m.begin(ctx)
	if err != nil {
		return Answer{}, err
	}
	defer done(&err)
	r := request{field: "messages"}
	if r.prompt, err = v.prompt.Chat(messages); err != nil {
		return Answer{}, &RequestError{r.field, err}
	}
	if opts.Schema != nil {
		if r.constraint, err = v.constraint(opts.Schema, opts.Untrusted); err != nil {
			return Answer{}, &RequestError{"schema", err}
		}
	}
	g, err := v.options([]request{r}, opts.MaxNewTokens, opts.Sampling)
	if err != nil {
		return Answer{}, err
	}
	a := answering{variant: v, requests: []request{r}, stops: opts.Stop}
	if opts.OnText != nil {
		a.onText = func(_ int, piece string) { opts.OnText(piece) }
	}
	answers, err := a.run(ctx, g)
	if err != nil {
		return Answer{}, err
	}
	return answers[0], nil
}

// constraint keeps an answer to a schema in the layout of the contract.
func (v *variant) constraint(schema json.RawMessage, untrusted bool) (*constrain.Matcher, error) {
	limits := constrain.DefaultOptions()
	if untrusted {
		limits = constrain.UntrustedOptions()
	}
	g, err := v.base.schemas.compile(schema, v.prompt.Layout(limits))
	if err != nil {
		return nil, err
	}
	return v.prompt.Tokens.Constrain(g)
}
