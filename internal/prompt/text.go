package prompt

import (
	"strings"
	"unicode/utf8"
)

// Text puts the bytes of tokens together and gives out what is certain: whole
// characters, and nothing that may turn out to begin a stop string.
type Text struct {
	Stops   []string
	Stopped bool // a stop string was met; all after it is dropped

	pending []byte // bytes that were not given out
}

// Add takes the bytes of a token and returns the text that is certain now. Bytes
// that make no character become U+FFFD.
func (t *Text) Add(token []byte) string {
	if t.Stopped {
		return ""
	}
	t.pending = append(t.pending, token...)
	whole := len(t.pending) - unfinished(t.pending)
	return t.give(whole, whole-t.held(whole))
}

// End returns the rest.
func (t *Text) End() string {
	if t.Stopped {
		return ""
	}
	return t.give(len(t.pending), len(t.pending))
}

// give hands out the first n bytes, or those before a stop string within the
// first whole ones.
func (t *Text) give(whole, n int) string {
	for _, stop := range t.Stops {
		if at := strings.Index(string(t.pending[:whole]), stop); at >= 0 && (!t.Stopped || at < n) {
			n, t.Stopped = at, true
		}
	}
	out := toValid(t.pending[:n])
	t.pending = append(t.pending[:0], t.pending[n:]...)
	return out
}

// held is how many of the last bytes of the first n begin a stop string.
func (t *Text) held(n int) int {
	most := 0
	for _, stop := range t.Stops {
		for k := min(len(stop)-1, n); k > most; k-- {
			if strings.HasPrefix(stop, string(t.pending[n-k:n])) {
				most = k
			}
		}
	}
	return most
}

// unfinished is how many of the last bytes begin a character that is not whole.
func unfinished(data []byte) int {
	for i := 1; i <= min(len(data), utf8.UTFMax); i++ {
		if c := data[len(data)-i]; utf8.RuneStart(c) {
			if utf8.FullRune(data[len(data)-i:]) {
				return 0
			}
			return i
		}
	}
	return 0
}

// toValid replaces each byte that is part of no character by U+FFFD.
func toValid(data []byte) string {
	if utf8.Valid(data) {
		return string(data)
	}
	return string([]rune(string(data)))
}
