package dataset

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Record is one conversation of a data set.
type Record struct {
	ID       string
	Messages []chatml.Message
	Lang     string
	// VariantOf is the id of the record that this one is a variant of, which it
	// follows in [Split]; "" for none. Files have it under "variant_of".
	VariantOf string
	// Extra holds the keys of the record that do not touch the conversation, such
	// as notes, with their JSON values. Those of messages are "messages[].key",
	// with the value of the first message that has the key.
	Extra map[string]json.RawMessage
	// Warnings are what is odd about the record and does not stop it from being
	// used, as its [Format] says.
	Warnings Faults
	// File and Line are where the record was read; "" and 0 if it was not.
	File string
	Line int
}

// Question returns the text of all user messages, one after the other on lines
// of their own: what near duplicates are recognised by.
func (r Record) Question() string {
	var parts []string
	for _, m := range r.Messages {
		if m.Role == chatml.User {
			parts = append(parts, m.Content)
		}
	}
	return strings.Join(parts, "\n")
}

// Answer returns the text of the last answer, "" if there is none.
func (r Record) Answer() string {
	for _, m := range slices.Backward(r.Messages) {
		if m.Role == chatml.Assistant {
			return m.Content
		}
	}
	return ""
}

// WithSystem returns the record with a system prompt before its other messages,
// "" for none. It fails if the record has another one.
func (r Record) WithSystem(prompt string) (Record, error) {
	switch {
	case prompt == "":
	case len(r.Messages) == 0 || r.Messages[0].Role != chatml.System:
		r.Messages = slices.Insert(slices.Clone(r.Messages), 0, chatml.Message{Role: chatml.System, Content: prompt})
	case r.Messages[0].Content != prompt:
		return r, errors.New("the record has a system prompt of its own")
	}
	return r, nil
}
