package chatml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Errors of message checks. They come wrapped with the message's index.
var (
	// ErrRole: a role is empty, holds a line break or a control token.
	ErrRole = errors.New("bad role")
	// ErrUTF8: text is not valid UTF-8, so it has no well-defined tokens.
	ErrUTF8 = errors.New("not valid UTF-8")
)

// Role says who speaks. The four constants are those the models were trained
// with; any other name of one line is passed on as it is.
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
}

// CheckMessages reports every message that cannot be encoded: an empty role
// ([ErrRole]), a role with a line break or one of the control tokens
// ([ErrRole]), and text that is not UTF-8 ([ErrUTF8]). Content may be empty
// and may hold control tokens: they stay text.
func CheckMessages(messages []Message) error {
	var faults []error
	for i, m := range messages {
		if err := checkRole(m.Role); err != nil {
			faults = append(faults, fmt.Errorf("chatml: messages[%d].role: %w", i, err))
		}
		if !utf8.ValidString(m.Content) {
			faults = append(faults, fmt.Errorf("chatml: messages[%d].content: %w", i, ErrUTF8))
		}
	}
	return errors.Join(faults...)
}

func checkRole(r Role) error {
	s := string(r)
	switch {
	case s == "":
		return fmt.Errorf("%w: empty, want a name such as %q", ErrRole, User)
	case !utf8.ValidString(s):
		return ErrUTF8
	case strings.ContainsAny(s, "\r\n"):
		return fmt.Errorf("%w: %q has a line break, want one line", ErrRole, s)
	case strings.Contains(s, StartToken), strings.Contains(s, EndToken):
		return fmt.Errorf("%w: %q holds a control token", ErrRole, s)
	}
	return nil
}
