// Package prompt puts a contract to work: with a tokenizer it makes prompts, and
// the constraint that keeps an answer to the contract's schema and layout, with
// the values that a request fixes.
package prompt

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// Tokenizer is what prompts and constraints need of a tokenizer.
type Tokenizer interface {
	chatml.Tokenizer
	constrain.Tokenizer
}

// Tokens is a tokenizer with what is made of it once for all models that have
// it.
type Tokens struct {
	Tokenizer
	// Stop are the ids that end an answer.
	Stop []int32

	vocabulary *constrain.Vocabulary
}

// StopTokens returns the ids that end an answer, sorted. This is the one rule for
// it: the contract's end tokens and the model's eos ids.
func StopTokens(tok Tokenizer, c chatml.Contract, eos []int) ([]int32, error) {
	ends := c.EndTokens
	if len(ends) == 0 {
		ends = []string{chatml.EndToken}
	}
	var stop []int32
	for _, text := range ends {
		id, ok := tok.TokenID(text)
		if !ok {
			return nil, fmt.Errorf("the tokenizer has no token %q, which ends an answer", text)
		}
		stop = append(stop, id)
	}
	for _, id := range eos {
		stop = append(stop, int32(id))
	}
	slices.Sort(stop)
	return slices.Compact(stop), nil
}

// NewTokens reads the bytes of all tokens, which takes a moment for a large
// vocabulary.
func NewTokens(tok Tokenizer, stop []int32) *Tokens {
	return &Tokens{Tokenizer: tok, Stop: stop, vocabulary: constrain.TokenizerVocabulary(tok, stop)}
}

// Constrain returns what keeps an answer to a grammar.
func (t *Tokens) Constrain(g *constrain.Grammar) (*constrain.Matcher, error) {
	return g.Matcher(t.vocabulary)
}

// Prompt is a contract at work.
type Prompt struct {
	Contract chatml.Contract
	Tokens   *Tokens

	whitespace int // see [New]

	grammar   *constrain.Grammar // of the contract's schema; nil without one
	schemaErr error              // why there is none though there is a schema
	shortest  int                // tokens of the shortest answer by the schema
	prefix    []int32            // of the prompts of all questions
}

// impulseValues are the places that requests fix in contracts of version 1, if
// their schema has them.
var impulseValues = map[string]chatml.RequestValue{"meta.original_query": chatml.Question, "meta.lang": chatml.Language}

// New compiles the contract's schema and finds what all its prompts share. Where
// the contract does not say which values a request fixes (RequestValues is nil, not
// empty) they are those among likely that the schema has a place for, or with nil
// those of IMPULSE. Whitespace, if above 0, is how many bytes of white space may stand
// between the parts of an answer, in place of the contract's layout.
func New(c chatml.Contract, tokens *Tokens, likely map[string]chatml.RequestValue, whitespace int) (*Prompt, error) {
	p := &Prompt{Contract: c, Tokens: tokens, whitespace: whitespace}
	var err error
	if p.prefix, err = c.Template().EncodePrefix(tokens, p.system()); err != nil {
		return nil, err
	}
	if c.Schema == nil {
		return p, nil
	}
	if p.grammar, err = constrain.Compile(c.Schema, p.Layout(constrain.DefaultOptions())); err != nil {
		p.grammar, p.schemaErr = nil, fmt.Errorf("schema: %w", err)
		return p, nil
	}
	if c.RequestValues == nil {
		if likely == nil {
			likely = impulseValues
		}
		p.Contract.RequestValues = maps.Clone(likely)
		maps.DeleteFunc(p.Contract.RequestValues, func(path string, _ chatml.RequestValue) bool { return !p.HasPlace(path) })
	}
	var m *constrain.Matcher
	if m, p.schemaErr = p.Constraint("", ""); m != nil {
		p.shortest = m.Shortest()
	}
	return p, nil
}

// Least returns how many tokens a prompt has before any question, and the shortest
// answer to it, one token of free text.
func (p *Prompt) Least() (before, answer int) { return len(p.prefix), max(p.shortest, 1) }

// SchemaError says why answers cannot be kept to the contract's schema, [ErrNoSchema]
// where there is none; nil where they can.
func (p *Prompt) SchemaError() error {
	if p.schemaErr == nil && p.grammar == nil {
		return ErrNoSchema
	}
	return p.schemaErr
}

// Layout completes options with how answers are laid out, by the contract or free. Members that no
// schema lists are never written: a model was not trained to.
func (p *Prompt) Layout(o constrain.Options) constrain.Options {
	l := p.Contract.Layout
	o.Closed, o.Whitespace = true, p.whitespace
	o.Indent, o.ItemSeparator, o.KeySeparator = l.Indent, l.ItemSeparator, l.KeySeparator
	return o
}

// HasPlace reports whether the contract's schema has a place of this path for some string.
func (p *Prompt) HasPlace(path string) bool {
	_, err := p.grammar.With(map[string]json.RawMessage{path: json.RawMessage(`"a"`)})
	return !errors.Is(err, constrain.ErrNoPlace)
}

// system is the conversation before any question.
func (p *Prompt) system() []chatml.Message {
	if p.Contract.SystemPrompt == "" {
		return nil
	}
	return []chatml.Message{{Role: chatml.System, Content: p.Contract.SystemPrompt}}
}

// Prefix returns the ids that the prompts of all questions begin with.
func (p *Prompt) Prefix() []int32 { return p.prefix }

// Question returns the ids that ask for the answer to a question.
func (p *Prompt) Question(text string) ([]int32, error) {
	return p.Chat([]chatml.Message{{Role: chatml.User, Content: text}})
}

// Chat returns the ids that ask for the next message of a conversation. One
// without a system message gets the one of training.
func (p *Prompt) Chat(messages []chatml.Message) ([]int32, error) {
	if !slices.ContainsFunc(messages, func(m chatml.Message) bool { return m.Role == chatml.System }) {
		messages = slices.Concat(p.system(), messages)
	}
	return p.Contract.Template().EncodePrompt(p.Tokens, messages)
}

// ErrNoSchema: a constrained answer is asked of a contract without schema.
var ErrNoSchema = errors.New("the contract has no schema to keep an answer to")

// ValueError says which value of a request the schema has no room for.
type ValueError struct {
	Value  chatml.RequestValue
	Path   string // of the answer; empty if it has no place for the value
	Detail string
}

// Error names the place.
func (e *ValueError) Error() string {
	if e.Path == "" {
		return e.Detail
	}
	return fmt.Sprintf("the answer repeats the %s in %s: %s", e.Value, e.Path, e.Detail)
}

// Constraint keeps the answer to a question to the contract's schema and layout.
// The values that the request fixes are given to it; an empty language is none.
// It fails with [ErrNoSchema] and [*ValueError].
func (p *Prompt) Constraint(question, language string) (*constrain.Matcher, error) {
	if err := p.SchemaError(); err != nil {
		return nil, err
	}
	constants := map[string]json.RawMessage{}
	for path, value := range p.Contract.RequestValues {
		text := question
		if value == chatml.Language {
			text = language
		}
		if text != "" {
			constants[path], _ = json.Marshal(text) // a string
		}
	}
	if language != "" && !slices.Contains(slices.Collect(maps.Values(p.Contract.RequestValues)), chatml.Language) {
		return nil, &ValueError{chatml.Language, "", "answers of this model have no place for a language"}
	}
	if len(constants) == 0 {
		return p.Tokens.Constrain(p.grammar)
	}
	g, err := p.grammar.With(constants)
	var compile *constrain.CompileError
	if errors.As(err, &compile) {
		f := compile.Faults[0]
		return nil, &ValueError{p.Contract.RequestValues[f.Pointer], f.Pointer, f.Detail}
	}
	if err != nil {
		return nil, err
	}
	return p.Tokens.Constrain(g)
}
