package augment

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// span is a part of a question, in bytes.
type span struct{ start, end int }

// needs is what a question has to keep for its answer.
type needs struct {
	text  string     // of the question
	spans []span     // of what stays as it is, rising, apart
	lists [][]string // texts whose order stays, of the items of an array
}

// needsOf finds what an answer needs of its question.
func needsOf(question string, answer *strictjson.Value) needs {
	n := needs{text: question}
	f := newFolded(question)
	var found []span
	var walk func(v *strictjson.Value) (first span, ok bool)
	walk = func(v *strictjson.Value) (first span, ok bool) {
		var list []span
		for i := range v.Items {
			if s, ok := walk(&v.Items[i]); ok {
				list = append(list, s)
			}
		}
		if slices.IsSortedFunc(list, func(a, b span) int { return a.start - b.start }) && len(list) > 1 {
			n.lists = append(n.lists, textsOf(question, list))
		}
		for i := range v.Members {
			if s, there := walk(&v.Members[i].Value); there && !ok {
				first, ok = s, true
			}
		}
		if v.Kind == strictjson.String || v.Kind == strictjson.Number {
			places := f.find(v.Text)
			found = append(found, places...)
			if len(places) > 0 {
				return places[0], true
			}
		}
		if len(list) > 0 {
			return list[0], true
		}
		return first, ok
	}
	walk(answer)
	n.spans = union(append(found, withDigits(question)...))
	return n
}

func textsOf(question string, spans []span) []string {
	texts := make([]string, len(spans))
	for i, s := range spans {
		texts[i] = question[s.start:s.end]
	}
	return texts
}

// missing says what a text lacks, "" for nothing.
func (n needs) missing(text string) string {
	counts := map[string]int{}
	for _, s := range n.spans {
		counts[n.text[s.start:s.end]]++
	}
	for _, s := range n.spans {
		part := n.text[s.start:s.end]
		if countWords(text, part) < counts[part] {
			return fmt.Sprintf("%q is missing", part)
		}
	}
	if given, had := len(withDigits(text)), len(withDigits(n.text)); given > had {
		return "a number is new"
	}
	for _, list := range n.lists {
		if !inOrder(text, list) {
			return fmt.Sprintf("%q and %q have changed places", list[0], list[1])
		}
	}
	return ""
}

// inOrder reports whether parts come one after the other, by their first places.
func inOrder(text string, parts []string) bool {
	at := -1
	for _, p := range parts {
		next := strings.Index(text, p)
		if next < at {
			return false
		}
		at = next
	}
	return true
}

// countWords counts the places where part stands in text and no word goes on at
// its ends.
func countWords(text, part string) int {
	n := 0
	for from := 0; ; {
		at := strings.Index(text[from:], part)
		if at < 0 || part == "" {
			return n
		}
		at += from
		if isBoundary(text, at) && isBoundary(text, at+len(part)) {
			n++
		}
		from = at + len(part)
	}
}

// isBoundary reports whether no word goes on across a place in a text.
func isBoundary(text string, at int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:at])
	after, _ := utf8.DecodeRuneInString(text[at:])
	return at == 0 || at == len(text) || !isWord(before) || !isWord(after)
}

func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.M, r)
}

// withDigits are the words of a text with digits in them, and what joins these:
// numbers, dates, codes.
func withDigits(text string) []span {
	var spans []span
	start, digits := -1, false
	end := func(at int) {
		if start >= 0 && digits {
			trimmed := strings.TrimRight(text[start:at], ".,:/-")
			spans = append(spans, span{start, start + len(trimmed)})
		}
		start, digits = -1, false
	}
	for i, r := range text {
		switch {
		case isWord(r):
			if start < 0 {
				start = i
			}
			digits = digits || unicode.IsNumber(r)
		case start >= 0 && digits && strings.ContainsRune(".,:/-", r):
		default:
			end(i)
		}
	}
	end(len(text))
	return spans
}

// union joins spans that overlap or touch, in the order of the text.
func union(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	var all []span
	for _, s := range spans {
		if last := len(all) - 1; last >= 0 && s.start <= all[last].end {
			all[last].end = max(all[last].end, s.end)
		} else {
			all = append(all, s)
		}
	}
	return all
}

// folded is a text without case and accents, by character, with the place of each
// in the text.
type folded struct {
	text   string
	runes  []rune
	places []int // and the end of the text
}

func newFolded(text string) folded {
	f := folded{text: text}
	for i, r := range text {
		for _, c := range norm.NFKD.String(string(r)) {
			if !unicode.Is(unicode.Mn, c) {
				f.runes, f.places = append(f.runes, unicode.ToLower(c)), append(f.places, i)
			}
		}
	}
	f.places = append(f.places, len(text))
	return f
}

// find returns where a value stands as whole words.
func (f folded) find(value string) []span {
	wanted := newFolded(strings.TrimSpace(value)).runes
	if len(wanted) == 0 || !slices.ContainsFunc(wanted, isWord) {
		return nil
	}
	var found []span
	for i := 0; i+len(wanted) <= len(f.runes); i++ {
		s := span{f.places[i], f.places[i+len(wanted)]}
		if slices.Equal(f.runes[i:i+len(wanted)], wanted) && s.start < s.end && isBoundary(f.text, s.start) && isBoundary(f.text, s.end) {
			found = append(found, s)
			i += len(wanted) - 1
		}
	}
	return found
}
