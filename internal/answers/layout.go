package answers

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// Survey is how the answers of records are written.
type Survey struct {
	// Answers is the number of answers, and JSON how many of them are one JSON
	// object or array.
	Answers, JSON int
	// Layout is how most answers that are JSON are written; an indent of 2 if none is.
	Layout chatml.Layout
	// Others are the answers that are JSON in another layout.
	Others dataset.Faults
}

// String describes the survey in a line.
func (s Survey) String() string {
	if s.JSON == 0 {
		return fmt.Sprintf("none of %d answers is a JSON object or array", s.Answers)
	}
	return fmt.Sprintf("%d of %d answers are JSON, %d of them with %s", s.JSON, s.Answers, s.JSON-len(s.Others), s.Layout)
}

// Read looks at all answers of the records.
func Read(records []dataset.Record) Survey {
	var s Survey
	guesses := map[chatml.Layout]int{}
	for a := range all(records) {
		s.Answers++
		if v, ok := a.value(); ok {
			s.JSON++
			guesses[guess(a.text, v)]++
		}
	}
	s.Layout = best(records, guesses)
	if s.JSON == 0 {
		return s
	}
	for a := range all(records) {
		if v, ok := a.value(); ok {
			if err := otherwise(a.text, v, s.Layout); err != nil {
				s.Others = append(s.Others, a.fault(err))
			}
		}
	}
	return s
}

// mostGuesses is how many layouts are tried on all answers.
const mostGuesses = 8

// best returns the layout that most answers have, however they escape what is in
// strings, of those that were guessed most often.
func best(records []dataset.Record, guesses map[chatml.Layout]int) chatml.Layout {
	candidates := slices.SortedFunc(maps.Keys(guesses), func(a, b chatml.Layout) int {
		return cmp.Or(cmp.Compare(guesses[b], guesses[a]), cmp.Compare(b.Indent, a.Indent), strings.Compare(a.String(), b.String()))
	})
	chosen, most := chatml.Layout{Indent: 2, ItemSeparator: ", ", KeySeparator: ": "}, 0
	for _, l := range candidates[:min(len(candidates), mostGuesses)] {
		n := 0
		for a := range all(records) {
			if v, ok := a.value(); ok && bytes.Equal(appendValue(nil, v, l), plain(a.text)) {
				n++
			}
		}
		if n > most {
			chosen, most = l, n
		}
	}
	return chosen
}

// plain writes the strings of a JSON text without needless escapes.
func plain(text []byte) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return text
	}
	var out []byte
	for {
		start := bytes.IndexByte(text, '"')
		if start < 0 {
			return append(out, text...)
		}
		end := start + 1
		for ; text[end] != '"'; end++ {
			if text[end] == '\\' {
				end++
			}
		}
		v, _, _ := strictjson.Parse(text[start:end+1], 0, 1)
		out, text = strictjson.AppendString(append(out, text[:start]...), v.Text), text[end+1:]
	}
}

// guess reads the layout off an answer: the white space before its first member or
// item, and around the first colon and the first comma. What it does not show is
// as json.dumps has it.
func guess(text []byte, v *strictjson.Value) chatml.Layout {
	l := chatml.Layout{ItemSeparator: ", ", KeySeparator: ": "}
	parts, keys := inside(v)
	if len(parts) == 0 {
		l.Indent = 2
		return l
	}
	first := text[v.Offset+1 : parts[0].Offset]
	if len(keys) > 0 {
		first = text[v.Offset+1 : keys[0]]
	}
	if blanks, ok := bytes.CutPrefix(first, []byte("\n")); ok {
		l.Indent = len(blanks)
	}
	walk(v, func(v *strictjson.Value) bool {
		parts, keys := inside(v)
		if len(keys) > 0 {
			l.KeySeparator = around(text, parts[0].Offset, ':')
		}
		return len(keys) == 0
	})
	walk(v, func(v *strictjson.Value) bool {
		parts, keys := inside(v)
		if len(parts) < 2 {
			return true
		}
		start := parts[1].Offset
		if len(keys) > 0 {
			start = keys[1]
		}
		if l.ItemSeparator = around(text, start, ','); l.Indent > 0 { // blanks behind it do not show before a line break
			l.ItemSeparator = strings.TrimRight(l.ItemSeparator, " \n") + " "
		}
		return false
	})
	return l
}

// inside returns the values in an object or array, and the places of the keys.
func inside(v *strictjson.Value) (parts []*strictjson.Value, keys []int) {
	for i := range v.Items {
		parts = append(parts, &v.Items[i])
	}
	for i := range v.Members {
		parts, keys = append(parts, &v.Members[i].Value), append(keys, v.Members[i].Offset)
	}
	return parts, keys
}

// around returns a mark with the blanks around it, which ends at a place.
func around(text []byte, end int, mark byte) string {
	start := bytes.LastIndexByte(text[:end], mark)
	for start > 0 && text[start-1] == ' ' {
		start--
	}
	return string(text[start:end])
}

// walk visits a value and those inside it until visit says to stop.
func walk(v *strictjson.Value, visit func(*strictjson.Value) bool) bool {
	if !visit(v) {
		return false
	}
	parts, _ := inside(v)
	for _, p := range parts {
		if !walk(p, visit) {
			return false
		}
	}
	return true
}

func appendValue(dst []byte, v *strictjson.Value, l chatml.Layout) []byte {
	return strictjson.Append(dst, v, strictjson.Layout{
		Indent: l.Indent, ItemSeparator: cmp.Or(l.ItemSeparator, ", "), KeySeparator: cmp.Or(l.KeySeparator, ": "),
	})
}

// otherwise says how the text of a value is not written in a layout, nil if it is.
func otherwise(got []byte, v *strictjson.Value, l chatml.Layout) error {
	want := appendValue(nil, v, l)
	if bytes.Equal(got, want) {
		return nil
	}
	if own := guess(got, v); own != l && bytes.Equal(plain(got), appendValue(nil, v, own)) {
		return fmt.Errorf("answer: it is laid out with %s, not with %s", own, l)
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	return fmt.Errorf("answer: at byte %d it has %s, where %s is expected", at+1, excerpt(got, at), excerpt(want, at))
}

// excerpt quotes some characters from a place on.
func excerpt(text []byte, at int) string {
	const most = 12 // runes
	if at >= len(text) {
		return "its end"
	}
	runes := []rune(strings.ToValidUTF8(string(text[at:min(len(text), at+4*most)]), ""))
	return fmt.Sprintf("%q", string(runes[:min(len(runes), most)]))
}
