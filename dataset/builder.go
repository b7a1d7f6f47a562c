package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Example is one encoded record. Train has one entry per id and is true for
// the tokens to learn.
type Example struct {
	ID   string
	Lang string
	// VariantOf is the id of the example that this one is a variant of, "" for none.
	VariantOf string
	// Question is the text of all user messages, by which [Split] recognises near
	// duplicates; "" if there is none.
	Question string
	// Answer is the text of the last answer.
	Answer string
	IDs    []int32
	Train  []bool
}

// OverlongPolicy says what happens to records with more than MaxLength tokens.
type OverlongPolicy int

const (
	// OverlongError refuses the records, naming each with its length.
	OverlongError OverlongPolicy = iota
	// OverlongDrop leaves them out and lists them in [Set.Dropped].
	OverlongDrop
	// OverlongTruncate shortens the prompt and lists them in [Set.Truncated].
	// The system message and the last answer are never cut. First the oldest
	// turns go, each a user message with all that follows it up to the next one,
	// answers included; then characters from the front of the last question, of
	// which one must stay. A record that is still too long is refused. The model
	// then learns from prompts that were cut: whoever serves it should cut long
	// conversations in the same way.
	OverlongTruncate
)

// Builder encodes records.
type Builder struct {
	Tokenizer chatml.Tokenizer
	Template  chatml.Template
	// MaxLength is the limit of an example in tokens, 1 or more.
	MaxLength int
	// Overlong says what happens to longer ones.
	Overlong OverlongPolicy
	// Vocabulary is the number of tokens that the model knows, the rows of its
	// embedding; records with a token beyond are refused. 0 means not known.
	Vocabulary int
}

// Set is what a [Builder] made, examples in the order of the records.
type Set struct {
	Examples []Example
	// Dropped and Truncated are the records over the limit that were left out
	// or cut.
	Dropped, Truncated []Length
}

// Length is the number of tokens of a record as it came.
type Length struct {
	ID     string
	Tokens int
	// Instruction counts the tokens of the system message among them, if the
	// record is too long.
	Instruction int
}

// NoRoomError reports records whose system message by itself is as long as the
// limit of an example.
type NoRoomError struct {
	Records     int // with such a system message
	Limit       int // in tokens
	Instruction int // tokens of the longest system message
	Longest     int // tokens of the longest record
}

// Error says how long the system message is, and what would be enough.
func (e *NoRoomError) Error() string {
	return fmt.Sprintf("the system message by itself takes %d tokens of a limit of %d: no room for a question and an answer in %d records, the longest of which has %d tokens",
		e.Instruction, e.Limit, e.Records, e.Longest)
}

// join adds the records of another error.
func (e *NoRoomError) join(other *NoRoomError) *NoRoomError {
	if e == nil {
		return other
	}
	return &NoRoomError{e.Records + other.Records, e.Limit, max(e.Instruction, other.Instruction), max(e.Longest, other.Longest)}
}

// Build encodes all records. Records without an id are called "#1" for the
// first record and so on.
//
// It fails if there is no record or all were dropped, or if the template or the
// limit is not as it must be; with [NoRoomError] if there are records whose system
// message is too long, unless these are dropped and others are not; and with
// [Faults] that name every record that has an id twice, is too long, or cannot be
// encoded (see [Builder.Encode]).
func (b Builder) Build(records []Record) (*Set, error) {
	if err := b.Validate(); err != nil {
		return nil, err // once, not for every record
	}
	var set Set
	var faults Faults
	var full *NoRoomError
	seen := map[string]int{}
	for i, r := range records {
		r.ID = cmp.Or(r.ID, fmt.Sprintf("#%d", i+1))
		if first, twice := seen[r.ID]; twice {
			faults = append(faults, r.fault("id", fmt.Errorf("%q is the id of records %d and %d", r.ID, first, i+1)))
			continue
		}
		seen[r.ID] = i + 1
		example, length, err := b.Encode(r)
		var noRoom *NoRoomError
		switch {
		case errors.As(err, &noRoom):
			full = full.join(noRoom)
			continue
		case err != nil:
			faults = append(faults, r.fault("", err))
			continue
		case example == nil:
			set.Dropped = append(set.Dropped, length)
			continue
		case length.Tokens > b.MaxLength:
			set.Truncated = append(set.Truncated, length)
		}
		set.Examples = append(set.Examples, *example)
	}
	if err := faults.err(); full != nil {
		return nil, errors.Join(full, err)
	} else if err != nil {
		return nil, err
	}
	if len(set.Examples) == 0 {
		for _, l := range set.Dropped {
			if noRoom := b.noRoom(l); noRoom != nil {
				full = full.join(noRoom)
			}
		}
		if full != nil {
			return nil, full
		}
		return nil, fmt.Errorf("no examples: of %d records %d were dropped, since they have more than %d tokens", len(records), len(set.Dropped), b.MaxLength)
	}
	return &set, nil
}

// fault is one of the record.
func (r Record) fault(field string, err error) Fault {
	return Fault{File: r.File, Line: r.Line, Record: r.ID, Field: field, Err: err}
}

// Validate fails if the builder lacks a tokenizer, the tokenizer lacks a token of
// the template, or a field is out of range.
func (b Builder) Validate() error {
	if b.Tokenizer == nil || b.MaxLength < 1 {
		return fmt.Errorf("to build examples takes a tokenizer and a length limit of 1 or more, not %d", b.MaxLength)
	}
	_, err := b.Template.EncodePrompt(b.Tokenizer, nil)
	return err
}

// Encode encodes one record, whose length is as it came. The example is nil if it
// is too long and left out. It fails if that is refused or cannot be cut, with
// [NoRoomError] if the system message is to blame, as [chatml.Template.Encode]
// does, and if a token is beyond the vocabulary.
func (b Builder) Encode(r Record) (example *Example, length Length, err error) {
	length.ID = r.ID
	enc, err := b.Template.Encode(b.Tokenizer, r.Messages)
	if err != nil {
		return nil, length, err
	}
	if length.Tokens = len(enc.IDs); length.Tokens > b.MaxLength {
		if length.Instruction, err = b.instruction(r.Messages); err == nil {
			enc, err = b.shorten(r.Messages, length)
		}
		if err != nil || enc.IDs == nil {
			return nil, length, err
		}
	}
	if err := b.checkVocabulary(enc.IDs); err != nil {
		return nil, length, err
	}
	return &Example{ID: r.ID, Lang: r.Lang, VariantOf: r.VariantOf, Question: r.Question(), Answer: r.Answer(), IDs: enc.IDs, Train: enc.Train}, length, nil
}

// instruction counts the tokens of the system message.
func (b Builder) instruction(messages []chatml.Message) (int, error) {
	n := 0
	if messages[0].Role == chatml.System {
		n = 1
	}
	ids, err := b.Template.EncodePrefix(b.Tokenizer, messages[:n])
	return len(ids) - 1, err // without the token that opens the next turn
}

// shorten does with messages that are too long what the policy says. To leave
// them out gives no ids.
func (b Builder) shorten(messages []chatml.Message, length Length) (enc chatml.Encoding, err error) {
	if b.Overlong == OverlongDrop {
		return enc, nil
	}
	if full := b.noRoom(length); full != nil {
		return enc, full
	}
	fault := fmt.Errorf("too many tokens: %d, limit %d", length.Tokens, b.MaxLength)
	if b.Overlong != OverlongTruncate {
		return enc, fault
	}
	if enc, err = b.truncate(messages); err != nil {
		return enc, fmt.Errorf("%w, %w", fault, err)
	}
	return enc, nil
}

// noRoom returns an error of a record whose system message leaves no room.
func (b Builder) noRoom(l Length) *NoRoomError {
	if l.Instruction < b.MaxLength {
		return nil
	}
	return &NoRoomError{1, b.MaxLength, l.Instruction, l.Tokens}
}

// checkVocabulary refuses ids that the model has no row for.
func (b Builder) checkVocabulary(ids []int32) error {
	for _, id := range ids {
		if b.Vocabulary == 0 || id >= 0 && int(id) < b.Vocabulary {
			continue
		}
		name := ""
		if tok, ok := b.Tokenizer.(interface{ Token(id int32) (string, bool) }); ok {
			text, _ := tok.Token(id)
			name = fmt.Sprintf(" %q", text)
		}
		return fmt.Errorf("token%s has id %d, and the model knows ids from 0 to %d: the tokenizer is not the model's, or tokens were added and the embedding was not resized", name, id, b.Vocabulary-1)
	}
	return nil
}

// truncate encodes messages that are too long after shortening them, as
// [OverlongTruncate] says.
func (b Builder) truncate(messages []chatml.Message) (chatml.Encoding, error) {
	var system []chatml.Message
	if messages[0].Role == chatml.System {
		system, messages = messages[:1], messages[1:]
	}
	var enc chatml.Encoding
	var err error
	fits := func(rest []chatml.Message) bool {
		enc, err = b.Template.Encode(b.Tokenizer, slices.Concat(system, rest))
		return err == nil && len(enc.IDs) <= b.MaxLength
	}
	users := questions(messages)
	if len(users) == 0 {
		return enc, errors.New("and there is no question to shorten")
	}
	for _, u := range users {
		if fits(messages[u:]) {
			return enc, nil
		}
	}
	messages = slices.Clone(messages[users[len(users)-1]:])
	text := []rune(messages[0].Content)
	cut := func(n int) []chatml.Message {
		messages[0].Content = string(text[n:])
		return messages
	}
	n := 1 + sort.Search(len(text)-1, func(i int) bool { return fits(cut(i + 1)) })
	if n >= len(text) || !fits(cut(n)) {
		return enc, cmp.Or(err, errors.New("even with one character of the question"))
	}
	return enc, nil
}

// questions returns the places of the user messages before the last answer.
func questions(messages []chatml.Message) []int {
	var users []int
	n := 0 // of users before the last answer seen
	for i, m := range messages {
		switch m.Role {
		case chatml.User:
			users = append(users, i)
		case chatml.Assistant:
			n = len(users)
		}
	}
	return users[:n]
}
