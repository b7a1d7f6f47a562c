package chatml

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tokenizer is what this package needs of a tokenizer.
type Tokenizer interface {
	// EncodeText returns the ids of plain text, in which the spelling of a
	// special token is text like any other. No BOS or EOS is added; first is set
	// for the text that begins the sequence, which matters to tokenizers that put
	// a space there.
	EncodeText(text string, first bool) []int32
	// TokenID returns the id of a token by its spelling.
	TokenID(token string) (int32, bool)
}

// Encoding is a conversation as ids. Train has one entry per id: true for the
// tokens of trained answers and the [EndToken] after each, false for all else,
// the newline after that token included.
type Encoding struct {
	IDs   []int32
	Train []bool
}

// Encode returns the training ids of a conversation. For each assistant turn i
// the ids start with those that [Template.EncodePrompt] gives for messages[:i].
// Every assistant turn is trained, but for those that are [Message.Untrained].
//
// It fails as EncodePrompt does, and if no answer is to be trained or one of
// these is blank; all faults are reported together.
func (t Template) Encode(tok Tokenizer, messages []Message) (Encoding, error) {
	e, err := t.newEncoder(tok)
	if err = errors.Join(err, checkMessages(messages), checkAnswers(messages)); err != nil {
		return Encoding{}, err
	}
	for _, m := range t.withDefaultSystem(messages) {
		e.turn(m)
	}
	return e.out, e.err
}

// EncodePrompt returns the ids that ask the model for the next answer: the
// conversation and the header of an assistant turn. It fails with [ErrMessage],
// with the error of [Template.Validate], and if the tokenizer lacks a control
// token.
func (t Template) EncodePrompt(tok Tokenizer, messages []Message) ([]int32, error) {
	e, err := t.newPrompt(tok, messages)
	if err != nil {
		return nil, err
	}
	e.text(header(Assistant))
	return e.out.IDs, e.err
}

// EncodePrefix returns the ids that [Template.EncodePrompt] gives first for every
// conversation that begins with these messages, of which there may be none, and
// goes on: the messages, and the token that opens the next turn. It fails as
// EncodePrompt does.
func (t Template) EncodePrefix(tok Tokenizer, messages []Message) ([]int32, error) {
	e, err := t.newPrompt(tok, messages)
	if err != nil {
		return nil, err
	}
	return e.out.IDs, e.err
}

// newPrompt encodes messages and opens a turn.
func (t Template) newPrompt(tok Tokenizer, messages []Message) (*encoder, error) {
	e, err := t.newEncoder(tok)
	if err := errors.Join(err, checkMessages(messages)); err != nil {
		return nil, err
	}
	for _, m := range t.withDefaultSystem(messages) {
		m.Untrained = true
		e.turn(m)
	}
	e.add(false, e.start)
	return e, nil
}

func checkAnswers(messages []Message) error {
	var faults []error
	answers, trained := 0, 0
	for i, m := range messages {
		if m.Role != Assistant {
			continue
		}
		if answers++; m.Untrained {
			continue
		}
		if trained++; strings.TrimSpace(m.Content) == "" {
			faults = append(faults, fmt.Errorf("nothing to train: messages[%d].content is blank", i))
		}
	}
	switch {
	case answers == 0:
		return fmt.Errorf("nothing to train: no message has role %q", Assistant)
	case trained == 0:
		return fmt.Errorf("nothing to train: every message of role %q has weight 0", Assistant)
	}
	return errors.Join(faults...)
}

// encoder appends ids and their mask together, so that they cannot get out of
// step.
type encoder struct {
	tok        Tokenizer
	start, end int32
	controls   []int32 // ids that no text may get
	out        Encoding
	err        error // of text that cannot be encoded
}

// newEncoder resolves the control tokens and puts BOS if the template says so.
func (t Template) newEncoder(tok Tokenizer) (*encoder, error) {
	err := t.Validate()
	e := &encoder{tok: tok}
	id := func(token string, needed bool) int32 {
		id, ok := tok.TokenID(token)
		switch {
		case ok:
			e.controls = append(e.controls, id)
		case needed:
			err = errors.Join(err, fmt.Errorf("the tokenizer has no token %q, which the chat template needs", token))
		}
		return id
	}
	bos := id(bosToken, t.BOS)
	e.start, e.end = id(startToken, true), id(EndToken, true)
	if t.BOS {
		e.add(false, bos)
	}
	return e, err
}

func (e *encoder) add(train bool, ids ...int32) {
	e.out.IDs = append(e.out.IDs, ids...)
	e.out.Train = append(e.out.Train, slices.Repeat([]bool{train}, len(ids))...)
}

// text adds untrained text.
func (e *encoder) text(s string) { e.add(false, e.encode(s)...) }

func (e *encoder) turn(m Message) {
	e.add(false, e.start)
	train := m.Role == Assistant && !m.Untrained
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
// whose own ids stay as they are. Encoding the answer by itself would not do:
// some tokenizers put a space before any text. So it is encoded behind the header
// and, where a token would straddle the border, behind the role.
func (e *encoder) answer(text string) []int32 {
	for _, before := range []string{header(Assistant), string(Assistant)} {
		head := e.encode(before)
		joint := e.encode(before + text)
		if len(joint) >= len(head) && slices.Equal(joint[:len(head)], head) {
			return joint[len(head):]
		}
	}
	return e.encode(text)
}

// encode returns the ids of text, which never begins the sequence: a control
// token comes before it. What text spells stays text: a tokenizer may take a
// turn mark in it for the mark, if its file does not call that token special.
// There the text is cut inside the mark.
func (e *encoder) encode(text string) []int32 {
	ids := e.tok.EncodeText(text, false)
	if !slices.ContainsFunc(ids, func(id int32) bool { return slices.Contains(e.controls, id) }) {
		return ids
	}
	cut := insideMark(text)
	if cut == len(text) {
		e.err = fmt.Errorf("%w: the tokenizer gives a control token for the text %q", ErrMessage, text)
		return nil
	}
	return slices.Concat(e.encode(text[:cut]), e.encode(text[cut:]))
}

// insideMark returns a place inside the first mark that text spells. A tokenizer
// that normalizes may find marks in other spellings, which are found by halves.
func insideMark(text string) int {
	first := len(text)
	for _, mark := range []string{startToken, EndToken, bosToken} {
		if at := strings.Index(text, mark); at >= 0 {
			first = min(first, at+1)
		}
	}
	if first < len(text) {
		return first
	}
	cut := len(text) / 2
	for cut < len(text) && !utf8.RuneStart(text[cut]) {
		cut++
	}
	if cut == 0 {
		return len(text)
	}
	return cut
}
