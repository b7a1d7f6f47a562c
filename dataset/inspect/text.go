package inspect

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/lengths"
	"github.com/impulse-salamandra/finetune/internal/page"
)

// Fact is a line that the caller adds to a report, such as an estimated time.
type Fact struct{ Name, Value string }

// WriteOptions say what is shown of a report.
type WriteOptions struct {
	// Title is the page's title.
	Title string
	// Conversations is how many examples are shown, from the shortest to the
	// longest and in equal steps between them; all if there are not so many.
	Conversations int
	// Colour marks trained tokens in a text by a colour instead of brackets.
	Colour bool
	// Facts are added to what the report says.
	Facts []Fact
}

// Most things of each kind that are listed; the rest is counted.
const (
	mostFaults = 20
	mostGroups = 10
)

// WriteText prints the report. Characters of the data that are not printable,
// escape sequences and direction marks among them, are printed as escapes.
func (r *Report) WriteText(w io.Writer, opts WriteOptions) error {
	t := &text{}
	r.writeFaults(t)
	r.writeLengths(t)
	r.writeLanguages(t)
	r.writeGroups(t)
	if r.Train != nil {
		t.line("training on %s", r.Train)
	}
	if r.Eval != nil {
		t.line("evaluating on %s", r.Eval)
	}
	for _, f := range opts.Facts {
		t.line("%s: %s", f.Name, f.Value)
	}
	// All so far is printable or a line feed; colours come below.
	out := page.PrintableLines(t.String())
	for i, e := range r.conversations(opts.Conversations) {
		out += r.conversation(e, opts.Colour, i == 0)
	}
	_, err := io.WriteString(w, out)
	return err
}

type text struct{ strings.Builder }

// line adds a line, which ends in one line feed and has no other: data are not
// to begin lines of their own.
func (t *text) line(format string, args ...any) {
	t.WriteString(strings.TrimSuffix(fmt.Sprintf(format, args...), "\n") + "\n")
}

func (r *Report) writeFaults(t *text) {
	t.line("%d records, %d of them can be trained on", r.Records, len(r.Examples))
	t.faults(r.Faults)
	if len(r.Extra) > 0 {
		t.line("keys that are not trained: %s", oneLine(r.extraKeys()))
	}
	list(t, fmt.Sprintf("%d answers that the schema refuses:", len(r.Answers)), len(r.Answers), mostFaults, func(i int) string { return oneLine(r.Answers[i].Error()) })
	list(t, fmt.Sprintf("%d records of more than %d tokens, %d of them shortened:", len(r.Overlong), r.opts.Builder.MaxLength, len(r.Truncated)), len(r.Overlong), mostFaults, func(i int) string {
		return oneLine(sizeOf(r.Overlong[i]))
	})
}

// extraKeys are the keys that do not touch conversations, with their numbers.
func (r *Report) extraKeys() string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(r.Extra)) {
		parts = append(parts, fmt.Sprintf("%s (%d)", key, r.Extra[key]))
	}
	return strings.Join(parts, ", ")
}

// list prints a heading and the first of n things, or nothing if there are none.
func list(t *text, heading string, n, most int, of func(int) string) {
	if n == 0 {
		return
	}
	t.line("%s", heading)
	for i := range min(n, most) {
		t.line("  %s", of(i))
	}
	if n > most {
		t.line("  and %d more", n-most)
	}
}

// faults writes a line for each cause.
func (t *text) faults(list dataset.Faults) {
	if len(list) == 0 {
		return
	}
	causes := strings.Split(list.Error(), "\n")
	if len(causes) > 1 {
		causes = causes[1:] // the first is their number
	}
	t.line("%s:", plural(len(list), "fault"))
	for _, cause := range causes {
		t.line("  %s", oneLine(strings.TrimSpace(cause)))
	}
}

// plural returns the number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// oneLine keeps a text of a record on a line.
func oneLine(s string) string { return page.Printable(s) }

func (r *Report) writeLengths(t *text) {
	if len(r.Examples) == 0 {
		return
	}
	w := tabwriter.NewWriter(t, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "tokens\tleast\t5 %\tmedian\tmean\t95 %\t99 %\tmost\tall\t")
	for _, row := range r.lengthRows() {
		fmt.Fprintf(w, "%s\t%s\t\n", row.name, strings.Join(row.cells, "\t"))
	}
	w.Flush() // into memory
	bins := r.all.Histogram(lengths.MostBins)
	top := 0
	for _, b := range bins {
		top = max(top, b.Count)
	}
	for _, b := range bins {
		t.line("%6d to %6d tokens %7d %s", b.From, b.To-1, b.Count, strings.Repeat("#", (40*b.Count+top-1)/top))
	}
}

type lengthRow struct {
	name  string
	cells []string
}

// lengthRows are the table of lengths: least, percentiles, most and sum.
func (r *Report) lengthRows() []lengthRow {
	var rows []lengthRow
	for _, l := range []struct {
		name string
		lengths.Lengths
	}{{"examples", r.all}, {"before the answer", r.prompts}, {"trained", r.trained}} {
		var cells []string
		for _, v := range []any{l.Min, l.Percentile(5), l.Percentile(50), int(l.Mean() + 0.5), l.Percentile(95), l.Percentile(99), l.Max, l.Total} {
			cells = append(cells, fmt.Sprint(v))
		}
		rows = append(rows, lengthRow{l.name, cells})
	}
	return rows
}

func (r *Report) writeLanguages(t *text) {
	for _, l := range r.languages {
		t.line("language %s: %d examples (%.1f %%), %d of them held out, %d tokens", oneLine(cmp.Or(l.lang, "not known")), l.examples,
			100*float64(l.examples)/float64(len(r.Examples)), l.held, l.tokens)
	}
	list(t, fmt.Sprintf("%d examples whose question looks like another language:", len(r.mismatches)), len(r.mismatches), mostGroups, func(i int) string {
		m := r.mismatches[i]
		return fmt.Sprintf("%s: %s, looks like %s", oneLine(m.id), oneLine(m.lang), oneLine(m.looks))
	})
}

func (r *Report) writeGroups(t *text) {
	for _, k := range []struct {
		name   string
		groups []group
	}{{"questions that stand more than once", r.equal}, {"groups of questions that resemble one another", r.near}} {
		list(t, fmt.Sprintf("%d %s:", len(k.groups), k.name), len(k.groups), mostGroups, func(i int) string { return k.groups[i].String() })
	}
	if r.variants > 0 {
		t.line("%d examples are variants of others, with which they are held out", r.variants)
	}
	if r.noQuestion > 0 {
		t.line("%d examples have no user message", r.noQuestion)
	}
}

// String gives a group in one printable line.
func (g group) String() string {
	const most = 6 // ids
	ids := strings.Join(g.ids[:min(len(g.ids), most)], ", ")
	if len(g.ids) > most {
		ids += fmt.Sprintf(" and %d more", len(g.ids)-most)
	}
	return page.Printable(fmt.Sprintf("%s (%s): %s", ids, g.answersText(), shorten(g.question, 80)))
}

// answersText says how many there are.
func (g group) answersText() string {
	if g.answers == 1 {
		return "the same answer"
	}
	return fmt.Sprintf("%d different answers", g.answers)
}

func shorten(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// Marks of what is trained and what all examples share.
const (
	trainedColour, sharedColour, noColour = "\x1b[32m", "\x1b[2m", "\x1b[0m"
	trainedOpen, trainedClose             = "⟦", "⟧"
)

// conversation prints an example with its trained tokens marked, and what all
// examples begin with if shared is set.
func (r *Report) conversation(e dataset.Example, colour, shared bool) string {
	var b strings.Builder
	spans := r.spans(e)
	fmt.Fprintf(&b, "\n== %s: %d tokens, %d trained\n", page.Printable(e.ID), len(e.IDs), trainedTokens(spans))
	for _, s := range spans {
		text := page.PrintableLines(s.Text)
		if s.Shared && !shared {
			text = fmt.Sprintf("(%d tokens as above) ", s.Tokens)
		}
		switch {
		case colour && s.Trained:
			text = trainedColour + text + noColour
		case colour && s.Shared:
			text = sharedColour + text + noColour
		case s.Trained:
			text = trainedOpen + text + trainedClose
		}
		b.WriteString(text)
	}
	return strings.TrimSuffix(b.String(), "\n") + "\n"
}

func trainedTokens(spans []span) int {
	n := 0
	for _, s := range spans {
		if s.Trained {
			n += s.Tokens
		}
	}
	return n
}

// sizeOf says how long a record is.
func sizeOf(l dataset.Length) string {
	return fmt.Sprintf("%s: %d tokens, %d of them of its system message", l.ID, l.Tokens, l.Instruction)
}
