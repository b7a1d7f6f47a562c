package tokenizer

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGPT2Word(t *testing.T) {
	for _, row := range []struct{ text, want, reason string }{
		{"Hello  world 's", "Hello| | world| '|s", "the last of two spaces goes with the word; so does one before the quote"},
		{"it's we'll I'd 'tis", "it|'s| we|'ll| I|'d| '|tis", "contractions come first, where they begin a word"},
		{"'S'LL'x", "'|S|'|LL|'|x", "contractions are in lower case"},
		{"!'s", "!'|s", "the quote belongs to a run of other characters"},
		{"a1²b", "a|1²|b", "letters and numbers part; U+00B2 is a number"},
		{"x   ", "x|   ", "white space at the end stays whole"},
		{"x \n y", "x| \n| y", "all white space but the last character"},
		{"x\ny", "x|\n|y", "white space that is no space goes with nothing"},
		{"\u00a0\u3000z", "\u00a0|\u3000|z", "white space of Unicode"},
		{" ", " ", "one space"},
		{"'", "'", "one quote"},
		{"日本 ¿é?", "日本| ¿|é|?", "letters of any script"},
	} {
		var words []string
		for rest := row.text; rest != ""; {
			n := gpt2Word([]byte(rest))
			words = append(words, rest[:n])
			rest = rest[n:]
		}
		require.Equal(t, row.want, strings.Join(words, "|"), row.reason)
	}
}

func TestByteRune(t *testing.T) {
	seen := map[rune]bool{}
	for b := range 256 {
		r := byteRune(byte(b))
		require.False(t, seen[r])
		seen[r] = true
		back, ok := runeByte(r)
		require.True(t, ok)
		require.Equal(t, byte(b), back)
	}
	for r := rune(0); r < 0x400; r++ {
		_, ok := runeByte(r)
		require.Equal(t, seen[r], ok, "%U", r)
	}
	require.Equal(t, "ĠĊčĀÃŃ¡", string([]rune{byteRune(' '), byteRune('\n'), byteRune('\r'), byteRune(0), byteRune(0xc3), byteRune(0xad), byteRune(0xa1)}))
}

func TestPieceByte(t *testing.T) {
	for b := range 256 {
		got, ok := pieceByte(bytePiece(byte(b)))
		require.True(t, ok)
		require.Equal(t, byte(b), got)
	}
	for _, piece := range []string{"", "<0x4>", "<0x041>", "<0xG0>", "<0x+1>", "<0X41>", "(0x41>", "<0x41)"} {
		_, ok := pieceByte(piece)
		require.False(t, ok, piece)
	}
}

func TestToValidUTF8(t *testing.T) {
	for _, row := range []struct{ in, want, reason string }{
		{"plain é", "plain é", "valid"},
		{"\xe2\x82", "�", "a start that is cut short is one"},
		{"\xe2\x82a", "�a", "what follows is kept"},
		{"\xf0\x9f\x8e\xe2\x82\xac", "�€", "three bytes of four"},
		{"\x80\xbf", "��", "bytes that start nothing, one each"},
		{"\xc0\x80", "��", "overlong forms start nothing"},
		{"\xed\xa0\x80", "���", "nor do surrogates"},
		{"\xf5\x80", "��", "nor what lies beyond U+10FFFF"},
		{"\ufffd\xff", "��", "U+FFFD itself stays"},
	} {
		require.Equal(t, row.want, toValidUTF8([]byte(row.in)), row.reason)
	}
}

func TestStrip(t *testing.T) {
	s := strip{content: " ", start: 2, stop: 1}
	require.Equal(t, []string{" a ", "a", "", "", ""}, s.decode([]string{"   a  ", "a", "", " ", "   "}))
}

// The pair of lowest rank goes first, the leftmost of equals; a merge that
// was possible is not when a neighbour has gone into another.
func TestMergeOrder(t *testing.T) {
	const file = `{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "aa": 3, "ba": 4, "aba": 5, "abab": 6},
		"merges": ["b a", "a b", "a a", "a ba", "ab ab", "b a"]}}`
	tok, err := Parse([]byte(file))
	require.NoError(t, err)
	for _, row := range []struct{ text, want, reason string }{
		{"aaa", "aa a", "leftmost first"},
		{"aaaa", "aa aa", "twice"},
		{"ab", "ab", "the second rank"},
		{"ba", "ba", "the only one"},
		{"aba", "ab a", "a pair given twice has its last rank"},
		{"abab", "abab", "a merge of merges"},
		{"bab", "b ab", "the lower rank takes the a from its left neighbour"},
		{"", "", "no symbol"},
		{"xax", "a", "characters without an id, bytes or an unknown token leave nothing"},
	} {
		var pieces []string
		for _, id := range tok.Encode(row.text) {
			piece, _ := tok.Token(id)
			pieces = append(pieces, piece)
		}
		require.Equal(t, row.want, strings.Join(pieces, " "), "%s: %s", row.text, row.reason)
	}
}
