package chatml

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors of encoding.
var (
	// ErrControlToken: the tokenizer has no id for a token the template needs.
	ErrControlToken = errors.New("control token missing in the tokenizer")
	// ErrNoAnswer: nothing would be trained, since the conversation has no
	// assistant turn or the answer to train is blank.
	ErrNoAnswer = errors.New("no answer to train")
)

// Tokenizer is what this package needs of a tokenizer.
type Tokenizer interface {
	// EncodeText returns the ids of plain text, in which the spelling of a
	// special token is text like any other. No BOS or EOS is added; first says
	// that the text begins the sequence, which matters to tokenizers that put
	// a space there.
	EncodeText(text string, first bool) []int32
	// TokenID returns the id of a token by its spelling.
	TokenID(token string) (int32, bool)
}

// Turns says which answers of a conversation are trained.
type Turns int

const (
	// AllTurns trains every assistant turn.
	AllTurns Turns = iota
	// LastTurn trains the last assistant turn only; earlier ones are context.
	LastTurn
)

// Encoding is a conversation as ids. Train has one entry per id: true for the
// tokens of trained answers and the [EndToken] after each, false for all else,
// the newline after that token included.
type Encoding struct {
	IDs   []int32
	Train []bool
}

// Encode returns the training ids of a conversation. For each assistant turn i
// the ids start with those that [Template.EncodePrompt] gives for messages[:i].
//
// It fails with [ErrTemplate], [ErrControlToken], the errors of
// [CheckMessages], and [ErrNoAnswer] if there is no assistant turn or a trained
// one is blank; all faults are reported together.
func (t Template) Encode(tok Tokenizer, messages []Message, turns Turns) (Encoding, error) {
	e, err := t.newEncoder(tok)
	err = errors.Join(err, CheckMessages(messages), checkAnswers(messages, turns))
	if err != nil {
		return Encoding{}, err
	}
	messages = t.withDefaultSystem(messages)
	for i, m := range messages {
		e.turn(m, turns.train(messages, i))
	}
	return e.out, nil
}

// EncodePrompt returns the ids that ask the model for the next answer: the
// conversation and the header of an assistant turn. It fails with
// [ErrTemplate], [ErrControlToken] and the errors of [CheckMessages].
func (t Template) EncodePrompt(tok Tokenizer, messages []Message) ([]int32, error) {
	e, err := t.newEncoder(tok)
	if err := errors.Join(err, CheckMessages(messages)); err != nil {
		return nil, err
	}
	for _, m := range t.withDefaultSystem(messages) {
		e.turn(m, false)
	}
	e.add(false, e.start)
	e.text(header(Assistant))
	return e.out.IDs, nil
}

// train says whether message i is an answer to train.
func (turns Turns) train(messages []Message, i int) bool {
	isAnswer := func(m Message) bool { return m.Role == Assistant }
	return isAnswer(messages[i]) && (turns == AllTurns || !slices.ContainsFunc(messages[i+1:], isAnswer))
}

func checkAnswers(messages []Message, turns Turns) error {
	var faults []error
	answers := 0
	for i, m := range messages {
		if !turns.train(messages, i) {
			continue
		}
		answers++
		if strings.TrimSpace(m.Content) == "" {
			faults = append(faults, fmt.Errorf("chatml: messages[%d].content: %w: blank", i, ErrNoAnswer))
		}
	}
	if answers == 0 {
		return fmt.Errorf("chatml: %w: no message has role %q", ErrNoAnswer, Assistant)
	}
	return errors.Join(faults...)
}

// encoder appends ids and their mask together, so that they cannot get out of
// step.
type encoder struct {
	tok        Tokenizer
	start, end int32
	out        Encoding
}

// newEncoder resolves the control tokens and puts BOS if the template says so.
func (t Template) newEncoder(tok Tokenizer) (*encoder, error) {
	err := t.Validate()
	id := func(token string) int32 {
		id, ok := tok.TokenID(token)
		if !ok {
			err = errors.Join(err, fmt.Errorf("chatml: %w: %q", ErrControlToken, token))
		}
		return id
	}
	e := &encoder{tok: tok, start: id(StartToken), end: id(EndToken)}
	if t.BOS {
		e.add(false, id(BOSToken))
	}
	return e, err
}

func (e *encoder) add(train bool, ids ...int32) {
	e.out.IDs = append(e.out.IDs, ids...)
	e.out.Train = append(e.out.Train, slices.Repeat([]bool{train}, len(ids))...)
}

// text adds untrained text. A control token always comes before it, so it
// never begins the sequence.
func (e *encoder) text(s string) { e.add(false, e.tok.EncodeText(s, false)...) }

func (e *encoder) turn(m Message, train bool) {
	e.add(false, e.start)
	if m.Role == Assistant {
		e.text(header(Assistant))
		e.add(train, e.answer(m.Content)...)
	} else {
		e.text(header(m.Role) + m.Content)
	}
	e.add(train, e.end)
	e.text("\n")
}

// answer returns the ids of an answer as it continues the assistant header,
// whose own ids stay as they are. Encoding the answer alone would not do: some
// tokenizers put a space before any text. So it is encoded behind the header
// and, where a token would straddle the border, behind the role alone.
func (e *encoder) answer(text string) []int32 {
	for _, before := range []string{header(Assistant), string(Assistant)} {
		head := e.tok.EncodeText(before, false)
		joint := e.tok.EncodeText(before+text, false)
		if len(joint) >= len(head) && slices.Equal(joint[:len(head)], head) {
			return joint[len(head):]
		}
	}
	return e.tok.EncodeText(text, false)
}

// Visualize returns the text of an encoding with the trained spans between
// "[[" and "]]", one glance showing what a model will learn from it. decode
// turns ids into text with control tokens written out.
func (e Encoding) Visualize(decode func(ids []int32) string) string {
	var b strings.Builder
	n := min(len(e.IDs), len(e.Train))
	for from, to := 0, 0; from < n; from = to {
		for to = from + 1; to < n && e.Train[to] == e.Train[from]; to++ {
		}
		if span := decode(e.IDs[from:to]); e.Train[from] {
			b.WriteString("[[" + span + "]]")
		} else {
			b.WriteString(span)
		}
	}
	return b.String()
}
