package chatml

import (
	"fmt"
	"strings"
	"time"
)

// Control tokens of the template, as the tokenizer's vocabulary names them.
const (
	startToken = "<|im_start|>"
	EndToken   = "<|im_end|>"
	bosToken   = "<s>"
)

// DefaultDate is the date that Salamandra's published chat template writes
// into its default system message when it is given none.
const DefaultDate = "2024-09-30"

// Template is Salamandra's chat template with its two choices, the date and
// the BOS token. The zero value is the template as published.
//
// Source: chat_template in tokenizer_config.json of the BSC-LT instructed
// models.
type Template struct {
	// Date goes into the default system message, as yyyy-mm-dd; empty means
	// [DefaultDate].
	Date string
	// BOS puts "<s>" before the first turn. Published chat templates put
	// none; set it for adapters that were trained with one.
	BOS bool
	// NoDefaultSystem leaves a conversation without a system message as it
	// is, which plain ChatML models such as SmolLM2 need. Otherwise the system
	// text "system message. Today Date: " and Date are put first.
	NoDefaultSystem bool
}

// Validate fails if Date is not empty and not a day written as yyyy-mm-dd.
func (t Template) Validate() error {
	if _, err := time.Parse(time.DateOnly, t.date()); err != nil {
		return fmt.Errorf("date of the chat template is %q, want yyyy-mm-dd such as %q", t.Date, DefaultDate)
	}
	return nil
}

// Render returns the conversation as text, for people to read:
//
//	<|im_start|>role
//	content<|im_end|>
//
// for each message, and with addGenerationPrompt the header of the answer to
// come. It equals what Transformers renders from the published template. Do
// not tokenize it: in the text, control tokens and typed ones look the same.
func (t Template) Render(messages []Message, addGenerationPrompt bool) string {
	var b strings.Builder
	if t.BOS {
		b.WriteString(bosToken)
	}
	for _, m := range t.withDefaultSystem(messages) {
		b.WriteString(startToken + header(m.Role) + m.Content + EndToken + "\n")
	}
	if addGenerationPrompt {
		b.WriteString(startToken + header(Assistant))
	}
	return b.String()
}

// Jinja returns the template in the language of Hugging Face's chat_template.
// Transformers renders with it what [Template.Render] does.
func (t Template) Jinja() string {
	turn := func(role, content string) string {
		return "{{ '" + startToken + "' + " + role + ` + '\n' + ` + content + " + '" + EndToken + `' + '\n' }}`
	}
	var b strings.Builder
	if t.BOS {
		b.WriteString("{{ '" + bosToken + "' }}")
	}
	if !t.NoDefaultSystem {
		b.WriteString("{% if messages[0]['role'] != 'system' %}" + turn("'system'", "'system message. Today Date: "+t.date()+"'") + "{% endif %}")
	}
	b.WriteString("{% for message in messages %}" + turn("message['role']", "message['content']") + "{% endfor %}")
	b.WriteString("{% if add_generation_prompt %}{{ '" + startToken + `assistant\n' }}{% endif %}`)
	return b.String()
}

func header(r Role) string { return string(r) + "\n" }

func (t Template) date() string {
	if t.Date == "" {
		return DefaultDate
	}
	return t.Date
}

// withDefaultSystem never changes the caller's slice.
func (t Template) withDefaultSystem(messages []Message) []Message {
	if t.NoDefaultSystem || len(messages) > 0 && messages[0].Role == System {
		return messages
	}
	system := Message{Role: System, Content: "system message. Today Date: " + t.date()}
	return append([]Message{system}, messages...)
}
