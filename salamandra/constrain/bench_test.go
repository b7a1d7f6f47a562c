package constrain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// madeUpVocabulary is made-up tokens, 256,000 as Salamandra's or fewer: the 256 bytes, syllables of Latin
// letters with and without a space, punctuation runs, and whole characters of
// other scripts. Real vocabularies have fewer tokens with quotes.
func madeUpVocabulary(size int) (*Vocabulary, time.Duration) {
	r := rand.New(rand.NewPCG(3, 4))
	seen := map[string]bool{}
	var texts [][]byte
	add := func(s string) {
		if !seen[s] && len(texts) < size {
			seen[s] = true
			texts = append(texts, []byte(s))
		}
	}
	for c := range 256 {
		add(string([]byte{byte(c)}))
	}
	for n := 2; n < 64; n++ {
		add(fmt.Sprintf("%*s", n, ""))
		add("\n" + fmt.Sprintf("%*s", n, ""))
	}
	const letters = "aeiourstnlcdmpbgvfhqzxjykw"
	marks := []string{`"`, `",`, `":`, `."`, `")`, `, "`, `": "`, `",` + "\n", ",", ".", "-", "(", "'", "\\", "1", "23", "é", "ç", "ñ"}
	for len(texts) < size {
		var s []byte
		if r.IntN(2) == 0 {
			s = append(s, ' ')
		}
		for range 1 + r.IntN(10) {
			s = append(s, letters[min(r.IntN(26), r.IntN(26))])
		}
		switch r.IntN(12) {
		case 0:
			s = append(s, marks[r.IntN(len(marks))]...)
		case 1:
			s = []byte(string([]rune{rune(0x400 + r.IntN(0x9000)), rune(0x3040 + r.IntN(90))}))
		case 2:
			s = append([]byte(marks[r.IntN(len(marks))]), s...)
		}
		add(string(s))
	}
	start := time.Now()
	v := NewVocabulary(size, func(id int32) ([]byte, bool) { return texts[id], true }, []int32{int32(size - 1)})
	return v, time.Since(start)
}

// BenchmarkCompile times reading the schema of IMPULSE, and its older variant.
func BenchmarkCompile(b *testing.B) {
	for _, name := range []string{"impulse.json", "impulse_v1.json"} {
		schema := readTestdata(b, name)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Compile(schema, UntrustedOptions()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAllowed times the masks of a whole IMPULSE answer, byte by byte: with
// cold and with warm caches, with a budget that just suffices, and with the
// constants of a new request each time.
func BenchmarkAllowed(b *testing.B) {
	v, built := madeUpVocabulary(256_000)
	b.Logf("vocabulary of %d nodes built in %v", len(v.letter), built)
	schema := string(readTestdata(b, "impulse.json"))
	var answers []string
	readJSON(b, "answers.json", &answers)
	start := time.Now()
	g := mustCompile(b, schema, DefaultOptions())
	b.Logf("schema compiled in %v", time.Since(start))
	times := func(g *Grammar, answer string, tight bool) []time.Duration {
		m, err := g.Matcher(v)
		require.NoError(b, err)
		var list []time.Duration
		for i := range len(answer) { // the bytes of the answer are tokens
			budget := Unlimited
			if tight {
				budget = m.Shortest() + 2
			}
			start := time.Now()
			_, err := m.Allowed(budget)
			list = append(list, time.Since(start))
			require.NoError(b, err)
			require.NoError(b, m.Accept(byteToken(v, answer[i])))
		}
		return list
	}
	report := func(b *testing.B, list []time.Duration) {
		slices.Sort(list)
		for _, p := range []struct {
			name string
			at   float64
		}{{"p50-us", 0.5}, {"p99-us", 0.99}, {"max-us", 1}} {
			b.ReportMetric(float64(list[int(p.at*float64(len(list)-1))].Nanoseconds())/1000, p.name)
		}
	}
	b.Run("cold", func(b *testing.B) {
		var list []time.Duration
		for b.Loop() {
			list = append(list, times(mustCompile(b, schema, DefaultOptions()), answers[0], false)...)
		}
		report(b, list)
	})
	for _, name := range []string{"warm", "tight"} {
		b.Run(name, func(b *testing.B) {
			times(g, answers[0], name == "tight")
			var list []time.Duration
			for b.Loop() {
				list = append(list, times(g, answers[0], name == "tight")...)
			}
			report(b, list)
		})
	}
	b.Run("constants", func(b *testing.B) {
		var list []time.Duration
		for i := 0; b.Loop(); i++ {
			answer := answers[i%len(answers)]
			h, err := g.With(queryOf(b, answer))
			require.NoError(b, err)
			list = append(list, times(h, answer, false)...)
		}
		report(b, list)
	})
}

func byteToken(v *Vocabulary, c byte) int32 { return v.endingAt(v.first[c])[0] }
