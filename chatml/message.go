package chatml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrMessage: a message cannot be encoded. The error says which and why.
var ErrMessage = errors.New("bad message")

// Role is the speaker of a message. The four constants are those the models were
// trained with; any other name of one line is passed on as it is.
type Role string

// Roles of the ChatML template.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
	Tool      Role = "tool"
)

// Message is one turn of a conversation, in the shape used by chat data sets
// and HTTP APIs.
type Message struct {
	Role    Role   `json:"role"`
	Content string `json:"content"`
	// Untrained makes an answer part of the context: [Template.Encode] trains no
	// token of it. Messages that are not answers are never trained.
	Untrained bool `json:"-"`
}

// checkMessages fails with [ErrMessage] and lists every message that cannot be
// encoded: a role that is empty, has a line break or holds a control token, and
// text that is not UTF-8. Content may be empty and may spell control tokens: they
// stay text.
func checkMessages(messages []Message) error {
	var faults []string
	for i, m := range messages {
		if fault := roleFault(string(m.Role)); fault != "" {
			faults = append(faults, fmt.Sprintf("messages[%d].role %s", i, fault))
		}
		if !utf8.ValidString(m.Content) {
			faults = append(faults, fmt.Sprintf("messages[%d].content is not valid UTF-8", i))
		}
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrMessage, strings.Join(faults, "; "))
}

// roleFault is what is wrong with a role, "" if nothing is.
func roleFault(role string) string {
	switch {
	case role == "":
		return fmt.Sprintf("is empty, want a name such as %q", User)
	case !utf8.ValidString(role):
		return "is not valid UTF-8"
	case strings.ContainsAny(role, "\r\n"):
		return fmt.Sprintf("%q has a line break, want one line", role)
	case strings.Contains(role, startToken), strings.Contains(role, EndToken):
		return fmt.Sprintf("%q holds a control token", role)
	}
	return ""
}
