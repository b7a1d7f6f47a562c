package templatecheck

import (
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
)

// probe is a conversation to try.
type probe struct {
	name     string
	messages []chatml.Message
	prompt   bool
}

// probes are ordered so that the plainest difference is reported.
func probes() []probe {
	system := chatml.Message{Role: chatml.System, Content: "Answer in JSON."}
	ask := chatml.Message{Role: chatml.User, Content: "Which projects are about hydrogen?"}
	answer := chatml.Message{Role: chatml.Assistant, Content: "{\n  \"topic\": \"hydrogen\"\n}"}
	odd := func(r chatml.Role) chatml.Message {
		return chatml.Message{Role: r, Content: "\n  a <b> & 'c' \"d\" {{ e }} l·l 東京 \n\n"}
	}
	return []probe{
		{"system message and question", []chatml.Message{system, ask}, true},
		{"several turns", []chatml.Message{system, ask, answer, ask}, true},
		{"finished conversation", []chatml.Message{system, ask, answer}, false},
		{"white space and marks", []chatml.Message{odd(chatml.System), odd(chatml.User), odd(chatml.Assistant), odd(chatml.User)}, true},
		{"question without system message", []chatml.Message{ask}, true},
		{"several turns without system message", []chatml.Message{ask, answer, ask}, true},
		{"finished conversation without system message", []chatml.Message{ask, answer}, false},
	}
}

// Check compares the chat template in a model's directory with t. It returns a
// warning for people, "" if both write the same or the directory has no template.
// If t has a Date, the template is given it as date_string.
//
// It fails if a file cannot be read or is not in its form, and if t is not valid.
// A template that cannot be rendered here is warned of.
func Check(dir string, t chatml.Template) (warning string, err error) {
	if err := t.Validate(); err != nil {
		return "", err
	}
	m, err := readModel(dir)
	if err != nil || m.source == "" {
		return "", err
	}
	notes := m.notes
	fault, clock := m.differs(func(p probe) outcome { return outcome{text: t.Render(p.messages, p.prompt)} }, t.Date)
	if clock {
		notes = append(notes, "it reads the clock (strftime_now), so its prompts change from day to day")
	}
	if fault == "" && m.ignoresDate(t) {
		notes = append(notes, fmt.Sprintf("it writes the date %s only if it is given as date_string", t.Date))
	}
	switch {
	case fault != "":
		return m.source + ": the chat template " + strings.Join(append([]string{fault}, notes...), "; "), nil
	case notes != nil:
		return m.source + ": the chat template writes the prompts of training, but " + strings.Join(notes, "; "), nil
	}
	return "", nil
}

// Compare compares the chat templates in two directories. It returns what differs
// in a line, "" if both write the same or the first has none.
func Compare(dir, other string) (difference string, err error) {
	m, err := readModel(dir)
	if err != nil || m.source == "" {
		return "", err
	}
	o, err := readModel(other)
	if err != nil {
		return "", err
	}
	if m.template == o.template && m.problem == o.problem {
		return "", nil
	}
	theirs, err := o.engine()
	if err != nil {
		return fmt.Sprintf("%s in %s cannot be rendered: %v", o.source, other, err), nil
	}
	fault, _ := m.differs(func(p probe) outcome { return theirs.render(p.messages, p.prompt, "") }, "")
	if fault != "" {
		return m.source + ": the chat template " + fault, nil
	}
	return "", nil
}

// Read returns the chat template in a directory, "" if there is none. It is the
// one named default where there are several; a chat_template.jinja goes before
// tokenizer_config.json, and chat_template.json comes last, as in Transformers.
func Read(dir string) (string, error) {
	m, err := readModel(dir)
	return m.template, err
}

func (m model) engine() (*engine, error) {
	if m.problem != "" {
		return nil, fmt.Errorf("%s", m.problem)
	}
	return compile(m.template, m.tokens)
}

// differs runs the probes up to the first that is not written as wanted, and says
// how. clock reports whether the template read it.
func (m model) differs(want func(probe) outcome, date string) (fault string, clock bool) {
	e, err := m.engine()
	if err != nil {
		return fmt.Sprintf("cannot be compared: %v", err), false
	}
	for _, p := range probes() {
		out := e.render(p.messages, p.prompt, date)
		clock = clock || out.clock
		wanted := want(p)
		switch {
		case out.refused != "" && wanted.refused != "":
		case out.refused != "":
			return fmt.Sprintf("refuses a conversation (%s): %q", p.name, out.refused), clock
		case out.err != nil:
			return fmt.Sprintf("cannot be compared (%s): %v", p.name, out.err), clock
		case wanted.err != nil:
			return fmt.Sprintf("cannot be compared (%s): %v", p.name, wanted.err), clock
		case out.text != wanted.text:
			return fmt.Sprintf("writes other prompts (%s): %s", p.name, difference(out.text, wanted.text)), clock
		}
	}
	return "", clock
}

// ignoresDate reports whether the template writes another date than t where it is
// given none.
func (m model) ignoresDate(t chatml.Template) bool {
	e, err := m.engine()
	if err != nil || t.Date == "" || t.NoDefaultSystem {
		return false
	}
	ask := []chatml.Message{{Role: chatml.User, Content: "?"}}
	out := e.render(ask, true, "")
	return out.err == nil && out.text != t.Render(ask, true)
}

// difference shows the first line in which two texts differ.
func difference(got, want string) string {
	gs, ws := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	n := 0
	for n < len(gs) && n < len(ws) && gs[n] == ws[n] {
		n++
	}
	line := func(lines []string) string {
		if n >= len(lines) || lines[n] == "" {
			return "nothing"
		}
		return fmt.Sprintf("%q", shorten(lines[n]))
	}
	return fmt.Sprintf("line %d is %s, not %s", n+1, line(gs), line(ws))
}

// shorten cuts a long text.
func shorten(s string) string {
	const most = 120 // runes
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
