package templatecheck

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Verdict is what a check found.
type Verdict int

// Verdicts.
const (
	// None: the directory has no chat template.
	None Verdict = iota
	// Same: all conversations tried are written alike.
	Same
	// Different: one is written otherwise, or the template refuses it.
	Different
	// Unknown: the template cannot be rendered here.
	Unknown
)

// String returns "none", "same", "different" or "unknown".
func (v Verdict) String() string {
	switch v {
	case None:
		return "none"
	case Same:
		return "same"
	case Different:
		return "different"
	}
	return "unknown"
}

// Report is the outcome of a check.
type Report struct {
	Verdict Verdict
	// Source is the file that holds the template, without directory; empty
	// with None.
	Source string
	// Known names a published template whose text this is; empty for others.
	Known string
	// Reason says in one line what differs or why it is unknown; empty with
	// None and Same.
	Reason string
	// Diff shows the first line that differs, quoted: "line 2", then
	// "- chatml:" and "+ template:" lines. Empty unless both wrote something.
	Diff string
	// Notes are remarks that hold with any verdict, such as that the template
	// reads the clock.
	Notes []string
}

// Warn tells whether a user should see the report: the template differs, is
// unknown, or there are notes.
func (r Report) Warn() bool {
	return r.Verdict == Different || r.Verdict == Unknown || r.Notes != nil
}

// String returns the report for people: a line, the difference, the notes.
func (r Report) String() string {
	var b strings.Builder
	switch r.Verdict {
	case None:
		b.WriteString("the model has no chat template")
	case Same:
		b.WriteString(r.Source + ": the chat template writes the same prompts")
	case Different:
		b.WriteString(r.Source + ": the chat template writes other prompts: " + r.Reason)
	default:
		b.WriteString(r.Source + ": the chat template cannot be compared: " + r.Reason)
	}
	if r.Diff != "" {
		b.WriteString("\n" + r.Diff)
	}
	for _, n := range r.Notes {
		b.WriteString("\nnote: " + n)
	}
	return b.String()
}

// known maps the SHA-256 of a template's text, by normalize, to its name.
var known = map[string]string{
	"c1c7e6e4e1e126c5c8bcdce5ba1afa3ba3b9fc8a9ef9d6efbd397828d860fc3a": "Salamandra instructed models",
}

// normalize removes what does not change the meaning of a template.
func normalize(text string) string {
	return strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
}

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

// Check compares the chat template in dir with t. What is compared is the
// template named default where there are several; a chat_template.jinja goes
// before tokenizer_config.json, and chat_template.json comes last, as in
// Transformers. If t has a Date, the template is given it as date_string.
//
// It fails if a file cannot be read or is not in its form, and with
// [chatml.ErrTemplate] if t is not valid; whatever the template itself does is
// in the report.
func Check(dir string, t chatml.Template) (Report, error) {
	if err := t.Validate(); err != nil {
		return Report{}, fmt.Errorf("templatecheck: %w", err)
	}
	m, err := readModel(dir)
	if err != nil {
		return Report{}, fmt.Errorf("templatecheck: %w", err)
	}
	r := Report{Source: m.source, Notes: m.notes}
	if m.source == "" {
		return r, nil
	}
	if m.problem != "" {
		r.Verdict, r.Reason = Unknown, m.problem
		return r, nil
	}
	sum := sha256.Sum256([]byte(normalize(m.template)))
	r.Known = known[hex.EncodeToString(sum[:])]
	j, err := compile(m.template, m.tokens)
	if err != nil {
		r.Verdict, r.Reason = Unknown, err.Error()
		return r, nil
	}
	compare(&r, j, m, t)
	return r, nil
}

// compare runs the probes up to the first that is not alike.
func compare(r *Report, j *engine, m model, t chatml.Template) {
	r.Verdict = Same
	clock := false
	for _, p := range probes() {
		out := j.render(p.messages, p.prompt, t.Date)
		clock = clock || out.clock
		want := t.Render(p.messages, p.prompt)
		switch {
		case out.refused != "":
			r.Verdict, r.Reason = Different, fmt.Sprintf("%s: it refuses the conversation: %q", p.name, out.refused)
		case out.err != nil:
			r.Verdict, r.Reason = Unknown, fmt.Sprintf("%s: %v", p.name, out.err)
		case out.text != want:
			r.Verdict, r.Reason = Different, p.name+": "+explain(want, out.text, m.tokens["bos_token"])
			r.Diff = diff(want, out.text)
		}
		if r.Verdict != Same {
			break
		}
	}
	if clock {
		r.Notes = append(r.Notes, "it reads the clock (strftime_now), so its prompts change from day to day")
	}
	if t.Date == "" || t.NoDefaultSystem || r.Verdict != Same {
		return
	}
	ask := []chatml.Message{{Role: chatml.User, Content: "?"}}
	if out := j.render(ask, true, ""); out.err == nil && out.text != t.Render(ask, true) {
		r.Notes = append(r.Notes, fmt.Sprintf("it writes the date %s only if it is given as date_string", t.Date))
	}
}
