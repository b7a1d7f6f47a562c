package augment

import (
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Templates are the ways to vary a question without a model.
const (
	Accents    = "accents"    // accents dropped
	Typos      = "typos"      // letters left out, doubled or exchanged, in one word of eight
	Case       = "case"       // all in small letters without a final stop, or in capitals
	Order      = "order"      // the last sentence first or, in a single one, what follows its comma
	Politeness = "politeness" // a greeting, "please" or thanks, in Catalan, Spanish or English
)

// paraphrase is how variants by a model are marked.
const paraphrase = "paraphrase"

var templates = map[string]func(q question, r *rand.Rand) string{
	Accents:    func(q question, _ *rand.Rand) string { return q.free(dropAccents) },
	Typos:      typos,
	Case:       changeCase,
	Order:      changeOrder,
	Politeness: bePolite,
}

// question is a question to vary, of a language in small letters, "" if it is not
// known.
type question struct {
	needs
	lang string
}

// free changes what is not needed.
func (q question) free(change func(string) string) string {
	var b strings.Builder
	at := 0
	for _, s := range q.spans {
		b.WriteString(change(q.text[at:s.start]))
		b.WriteString(q.text[s.start:s.end])
		at = s.end
	}
	b.WriteString(change(q.text[at:]))
	return b.String()
}

func dropAccents(text string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(text) {
		if !unicode.Is(unicode.Mn, r) {
			b.WriteRune(r)
		}
	}
	return norm.NFC.String(b.String())
}

// typos spoils one long word of eight, at least one.
func typos(q question, r *rand.Rand) string {
	var long []span
	for _, s := range words(q.text) {
		needed := slices.ContainsFunc(q.spans, func(n span) bool { return n.start < s.end && s.start < n.end })
		if !needed && utf8.RuneCountInString(q.text[s.start:s.end]) >= 5 {
			long = append(long, s)
		}
	}
	r.Shuffle(len(long), func(i, j int) { long[i], long[j] = long[j], long[i] })
	long = long[:min(len(long), len(long)/8+1)]
	slices.SortFunc(long, func(a, b span) int { return b.start - a.start }) // from the back: places before stay
	text := q.text
	for _, s := range long {
		text = text[:s.start] + spoil(text[s.start:s.end], r) + text[s.end:]
	}
	return text
}

// spoil leaves out, doubles or exchanges a letter, not the first nor the last.
func spoil(word string, r *rand.Rand) string {
	letters := []rune(word)
	at := 1 + r.IntN(len(letters)-2)
	switch r.IntN(3) {
	case 0:
		letters = slices.Delete(letters, at, at+1)
	case 1:
		letters = slices.Insert(letters, at, letters[at])
	default:
		letters[at], letters[at-1] = letters[at-1], letters[at]
	}
	return string(letters)
}

// words are the runs of letters of a text.
func words(text string) []span {
	var list []span
	start := -1
	for i, r := range text + " " {
		switch {
		case isWord(r) && start < 0:
			start = i
		case !isWord(r) && start >= 0:
			list = append(list, span{start, i})
			start = -1
		}
	}
	return list
}

func changeCase(q question, r *rand.Rand) string {
	if r.IntN(4) == 0 {
		return q.free(strings.ToUpper)
	}
	return strings.TrimRight(q.free(strings.ToLower), ".")
}

// changeOrder puts the last sentence first or, of a single sentence with one
// comma, what follows it.
func changeOrder(q question, _ *rand.Rand) string {
	text := strings.TrimSpace(q.text)
	if cut := strings.LastIndex(strings.TrimRight(text, ".!?"), ". "); cut >= 0 && endsSentence(text[:cut]) {
		return withStop(text[cut+2:]) + " " + text[:cut+1]
	}
	first, last, ok := strings.Cut(text, ", ")
	if !ok || strings.Contains(last, ", ") {
		return q.text
	}
	stop := last[len(strings.TrimRight(last, ".!?")):]
	return q.capital(strings.TrimSuffix(last, stop)) + ", " + q.small(first) + stop
}

// endsSentence reports whether a stop after a text is no abbreviation's, such as
// "Dr." or "núm.".
func endsSentence(text string) bool {
	last := words(text)
	if len(last) == 0 || last[len(last)-1].end != len(text) {
		return true
	}
	word := text[last[len(last)-1].start:]
	return utf8.RuneCountInString(word) > 3 || strings.ContainsFunc(word, unicode.IsNumber)
}

func withStop(text string) string {
	if strings.HasSuffix(text, "!") || strings.HasSuffix(text, "?") || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

// capital and small change the first letter of a part, unless it is needed.
func (q question) capital(part string) string { return q.first(part, unicode.ToUpper) }

func (q question) small(part string) string {
	if second := []rune(part); len(second) > 1 && unicode.IsUpper(second[1]) {
		return part // an abbreviation
	}
	return q.first(part, unicode.ToLower)
}

func (q question) first(part string, change func(rune) rune) string {
	at := strings.Index(q.text, part)
	if part == "" || slices.ContainsFunc(q.spans, func(s span) bool { return s.start <= at && at < s.end }) {
		return part
	}
	r, size := utf8.DecodeRuneInString(part)
	return string(change(r)) + part[size:]
}

// politeness is what can come before and after a question, by language.
var politeness = map[string]struct{ before, after []string }{
	"ca": {[]string{"Bon dia,", "Hola,", "Si us plau,"}, []string{"Gràcies.", "Moltes gràcies."}},
	"es": {[]string{"Buenos días,", "Hola,", "Por favor,"}, []string{"Gracias.", "Muchas gracias."}},
	"en": {[]string{"Good morning,", "Hello,", "Please,"}, []string{"Thank you.", "Many thanks."}},
}

func bePolite(q question, r *rand.Rand) string {
	words, ok := politeness[q.lang]
	if !ok {
		return q.text
	}
	text := strings.TrimSpace(q.text)
	choice := r.IntN(len(words.before) + len(words.after))
	if choice < len(words.before) {
		return words.before[choice] + " " + q.small(text)
	}
	return withStop(text) + " " + words.after[choice-len(words.before)]
}
