package prompt

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzText cuts bytes into tokens anywhere: what is given out is valid UTF-8 at
// every step, and all of it together is the text up to the first stop string.
func FuzzText(f *testing.F) {
	f.Add([]byte("això 日本 fi"), "fi", uint64(0b1011011101))
	f.Add([]byte("aab\xe6\x97aab\xf0\x9f\xa6"), "aac", uint64(1))
	f.Add([]byte("ababac"), "abac", uint64(0xffff))
	f.Fuzz(func(t *testing.T, data []byte, stop string, cuts uint64) {
		p := Text{}
		if stop != "" && utf8.ValidString(stop) {
			p.Stops = []string{stop}
		}
		var got strings.Builder
		give := func(piece string) {
			if !utf8.ValidString(piece) {
				t.Fatalf("gave out %q", piece)
			}
			got.WriteString(piece)
		}
		from := 0
		for i := range data {
			if cuts>>(i%64)&1 == 1 {
				give(p.Add(data[from : i+1]))
				from = i + 1
			}
		}
		give(p.Add(data[from:]))
		give(p.End())
		want := string(data)
		if p.Stops != nil {
			want, _, _ = strings.Cut(want, stop)
		}
		if want = toValid([]byte(want)); got.String() != want {
			t.Fatalf("got %q, want %q", got.String(), want)
		}
	})
}

func TestTextGivesEarly(t *testing.T) {
	p := Text{Stops: []string{"END"}}
	require.Equal(t, "a", p.Add([]byte("a")))
	require.Equal(t, "", p.Add([]byte("E")), "may begin a stop string")
	require.Equal(t, "Eb", p.Add([]byte("b")), "did not")
	require.Equal(t, "", p.Add([]byte("\xc3")), "half a character")
	require.Equal(t, "é", p.Add([]byte("\xa9")))
	require.Equal(t, "c", p.Add([]byte("cENDd")))
	require.True(t, p.Stopped)
	require.Empty(t, p.Add([]byte("e"))+p.End())
}
