package lang

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Unknown is what [Identify] returns for a text whose language does not show.
const Unknown = "unknown"

// Weights of what speaks for a language.
const (
	wordWeight   = 2.0  // a frequent word
	ambiguous    = 1.0  // a frequent word of two languages, for each
	endingWeight = 1.0  // a typical ending
	letterWeight = 1.5  // letters that the other languages do not have
	nameShare    = 0.25 // of the weights that count in what looks like a name
	margin       = 0.75 // by which the first has to lead
)

// Identify returns the language of a text, "CA", "ES" or "EN", or [Unknown] if
// nothing speaks for one more than for the others. Case, composed and decomposed letters, and
// typographic apostrophes make no difference, but a word with a capital inside a
// text with small letters is taken for a name and counts for less: names keep
// their language in texts of another.
func Identify(text string) string {
	var score [3]float64
	words := split(norm.NFC.String(text))
	names := false // whether capitals tell names from other words
	for _, w := range words {
		names = names || !isCapital(w)
	}
	for i, w := range words {
		weight := 1.0
		if names && i > 0 && isCapital(w) {
			weight = nameShare
		}
		for l, s := range weigh(strings.ToLower(w)) {
			score[l] += weight * s
		}
	}
	best := 0
	for l := range score {
		if score[l] > score[best] {
			best = l
		}
	}
	for l, s := range score {
		if l != best && score[best]-s < margin {
			return Unknown
		}
	}
	return codes[best]
}

var codes = [3]string{"CA", "ES", "EN"}

// split cuts a text into words: letters, the raised dot of Catalan, and an
// apostrophe as the end of an elided word or the beginning of an English ending
// ("d'" "aigua", "project" "'s").
func split(text string) []string {
	text = strings.NewReplacer("’", "'", "´", "'", "·", "·", "•", "·").Replace(text)
	var words []string
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsMark(r) && r != '\'' && r != '·' && r != '¿' && r != '¡'
	}) {
		for {
			i := strings.IndexByte(part, '\'')
			if i < 0 || i+1 == len(part) {
				break
			}
			if i > 2 { // an English ending
				words = append(words, part[:i])
				part = part[i:]
				break
			}
			words = append(words, part[:i+1])
			part = part[i+1:]
		}
		if part != "" {
			words = append(words, part)
		}
	}
	return words
}

// isCapital reports whether a word begins with a capital.
func isCapital(word string) bool {
	for _, r := range word {
		return unicode.IsUpper(r)
	}
	return false
}

// weigh returns what one word in lower case says for each language.
func weigh(word string) [3]float64 {
	var score [3]float64
	if languages, known := frequent[word]; known {
		weight := wordWeight
		if strings.Contains(languages, " ") {
			weight = ambiguous
		}
		for l, code := range codes {
			if strings.Contains(languages, code) {
				score[l] = weight
			}
		}
		return score
	}
	for l, model := range models {
		if strings.ContainsAny(word, model.letters) {
			score[l] += letterWeight
		}
		for _, pair := range model.pairs {
			if strings.Contains(word, pair) {
				score[l] += endingWeight / 2
				break
			}
		}
		for _, ending := range model.endings {
			if strings.HasSuffix(word, ending) && len(word) > len(ending)+1 {
				score[l] += endingWeight
				break
			}
		}
	}
	return score
}

// frequent has the languages of each word in the lists.
var frequent = func() map[string]string {
	words := map[string]string{}
	for l, model := range models {
		for word := range strings.FieldsSeq(model.words) {
			words[word] = strings.TrimSpace(words[word] + " " + codes[l])
		}
	}
	return words
}()
