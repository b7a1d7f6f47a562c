package evalx

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold returns a normal form of text in which case, white space and the coding
// of accents make no difference: composed letters (NFC) in lower case, words
// separated by one blank, no white space at the ends. Accents and punctuation
// count.
//
// Case goes through capitals letter by letter, as in Unicode's simple case
// folding, so that both forms of the Greek sigma are one; "ß" stays apart from
// "ss".
func Fold(s string) string {
	lower := strings.Map(func(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }, s)
	return norm.NFC.String(strings.Join(strings.Fields(lower), " "))
}

// FoldAccents is [Fold] without accents and other marks on letters: "ç" and "c"
// are one, "ñ" and "n" too. Letters of their own such as "ø" and "ł" remain.
func FoldAccents(s string) string {
	s = string([]rune(s)) // norm leaves letters after a broken one as they are
	bare := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFD.String(s))
	return Fold(bare)
}

// Words returns the words of a text in the form of [Fold], without punctuation
// at their ends: "Energia, d'hidrogen" has the words energia and d'hidrogen.
func Words(s string) []string {
	var words []string
	for word := range strings.FieldsSeq(Fold(s)) {
		word = strings.TrimFunc(word, unicode.IsPunct)
		if word != "" {
			words = append(words, word)
		}
	}
	return words
}
