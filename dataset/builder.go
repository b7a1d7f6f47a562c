package dataset

import (
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
	// Question is the text of all user messages, by which [Split] tells near
	// duplicates; "" if there is none.
	Question string
	IDs      []int32
	Train    []bool
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
	// Turns says which answers are trained.
	Turns chatml.Turns
	// MaxLength is the limit of an example in tokens, 1 or more.
	MaxLength int
	// Overlong says what happens to longer ones.
	Overlong OverlongPolicy
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
}

// Build encodes all records. Records without an id are called "#1" for the
// first record and so on.
//
// It fails with [ErrOption], with [ErrEmpty] if there is no record or all were
// dropped, with the template's errors, and with [Faults] that name every
// record that has an id twice ([ErrDuplicate]), is too long ([ErrOverlong]) or
// cannot be encoded (the errors of [chatml.Template.Encode], of which
// [chatml.ErrNoAnswer] means that nothing would be trained).
func (b Builder) Build(records []Record) (*Set, error) {
	if b.Tokenizer == nil || b.MaxLength < 1 {
		return nil, fmt.Errorf("dataset: %w: Builder needs a Tokenizer and MaxLength of 1 or more, got %d", ErrOption, b.MaxLength)
	}
	if _, err := b.Template.EncodePrompt(b.Tokenizer, nil); err != nil {
		return nil, err // once, not for every record
	}
	var set Set
	var faults Faults
	seen := map[string]int{}
	for i, r := range records {
		id := r.ID
		if id == "" {
			id = fmt.Sprintf("#%d", i+1)
		}
		if first, twice := seen[id]; twice {
			faults = append(faults, Fault{Record: id, Field: "id", Err: fmt.Errorf("%w: records %d and %d", ErrDuplicate, first, i+1)})
			continue
		}
		seen[id] = i + 1
		if err := b.add(&set, id, r); err != nil {
			faults = append(faults, Fault{Record: id, Err: err})
		}
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	if len(set.Examples) == 0 {
		return nil, fmt.Errorf("dataset: %w: of %d records %d were dropped", ErrEmpty, len(records), len(set.Dropped))
	}
	return &set, nil
}

func (b Builder) add(set *Set, id string, r Record) error {
	enc, err := b.Template.Encode(b.Tokenizer, r.Messages, b.Turns)
	if err != nil {
		return err
	}
	if length := len(enc.IDs); length > b.MaxLength {
		fault := fmt.Errorf("%w: %d, limit %d", ErrOverlong, length, b.MaxLength)
		switch b.Overlong {
		case OverlongDrop:
			set.Dropped = append(set.Dropped, Length{ID: id, Tokens: length})
			return nil
		case OverlongTruncate:
			if enc, err = b.truncate(r.Messages); err != nil {
				return errors.Join(fault, err)
			}
			set.Truncated = append(set.Truncated, Length{ID: id, Tokens: length})
		default:
			return fault
		}
	}
	set.Examples = append(set.Examples, Example{ID: id, Lang: r.Lang, Question: r.Question(), IDs: enc.IDs, Train: enc.Train})
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
		enc, err = b.Template.Encode(b.Tokenizer, slices.Concat(system, rest), b.Turns)
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
		return enc, errors.Join(err, errors.New("even with one character of the question"))
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
