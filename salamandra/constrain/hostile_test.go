package constrain

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hostile is a schema that a stranger may send to make a server work.
type hostile struct{ name, schema string }

func hostileSchemas() []hostile {
	many := func(n int, format string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(list, ",")
	}
	nested := func(n int, array, inner string) string {
		for range n {
			inner = fmt.Sprintf(array, inner)
		}
		return inner
	}
	object := func(properties, more string) string {
		return `{"type":"object","properties":{` + properties + `}` + more + `}`
	}
	pattern := func(p string) string { return `{"type":"string","pattern":"` + p + `"}` }
	return []hostile{
		{"long string", `{"type":"string","minLength":10000,"maxLength":10000}`},
		{"four long strings", object(many(4, `"k%d":{"type":"string","minLength":9990,"maxLength":10000}`), `,"required":["k0","k1","k2","k3"]`)},
		{"long strings that may be left out", object(many(90, `"k%d":{"type":"string","minLength":9990}`), "")},
		{"enum, shared beginning", `{"enum":[` + many(560, `"`+strings.Repeat("una mica de text ", 6)+`%04d"`) + `]}`},
		{"enum of many words", `{"enum":[` + many(8900, `"%04x"`) + `]}`},
		{"array of enums", `{"type":"array","maxItems":10000,"items":{"enum":[` + many(6000, `"%04d a"`) + `]}}`},
		{"array of lists", `{"type":"array","maxItems":10000,"items":{"enum":[` + many(3000, `[%d,[1,[2,[3]]]]`) + `]}}`},
		{"nested arrays", nested(100, `{"type":"array","items":%s,"maxItems":10000}`, `{"type":"string","maxLength":10000}`)},
		{"nested arrays that are full", nested(3, `{"type":"array","minItems":12,"maxItems":10000,"items":%s}`, `{"type":"null"}`)},
		{"many nulls", `{"type":"array","minItems":4000,"maxItems":10000,"items":{"type":"null"}}`},
		{"many nulls that may be left out", object(many(50, `"k%d":{"type":"array","minItems":10000,"items":{"type":"null"}}`), "")},
		{"deep objects", nested(95, `{"type":"object","properties":{"a":%s,"b":{"type":"string","minLength":400}},"required":["b"]}`, `{"type":"null"}`)},
		{"wide object", object(many(2700, `"k%d":{"type":"null"}`), "")},
		{"wide object of strings", object(many(1400, `"k%d":{"type":"string","maxLength":%[1]d}`), "")},
		{"repetition", pattern(`^(a|b){0,1000}$`)},
		{"repetition of a repetition", pattern(`^([a-z]{1,40} ){1,20}$`)},
		{"repetition before a letter", pattern(`^[^x]{1,1000}y$`)},
		{"repetitions", pattern(`^` + strings.Repeat(`[^x]{1000}`, 20) + `y$`)},
		{"repetition that Go refuses", pattern(`^(a|b){0,5000}$`)},
		{"window", `{"type":"string","pattern":"(a|b)*a(a|b){9}","maxLength":20}`},
		{"alternation", pattern(`^(` + strings.Repeat("una|dues|tres|", 1500) + `quatre)*$`)},
		{"many patterns", object(many(900, `"k%d":{"type":"string","pattern":"^[^%[1]dx]{1,90}z"}`), "")},
		{"many limits of numbers", object(many(800, `"k%d":{"type":"number","minimum":-%[1]d.12345,"maximum":9999%[1]d.777}`), "")},
		{"many multiples", object(many(100, `"k%d":{"type":"number","multipleOf":19%03[1]d,"minimum":1,"not":{"multipleOf":3}}`), "")},
		{"names by ten patterns", `{"type":"object","patternProperties":{` + many(10, `"%d":{"type":"integer","minimum":%[1]d}`) + `}}`},
		{"schemas that lead to one another", `{"$ref":"#/$defs/a0","$defs":{` + many(8, `"a%d":{"anyOf":[{"type":"integer"},`+many(8, `{"type":"array","items":{"$ref":"#/$defs/a%d"},"minItems":1}`)+`]}`) + `}}`},
	}
}

// hostileAnswer is what became of an answer by a hostile schema.
type hostileAnswer struct {
	compile, start, longest time.Duration
	masks                   []time.Duration
	err                     error
	m                       *Matcher
	text                    []byte
}

// answerHostile writes an answer that does not want to end. It calls after with
// the matcher after each token.
func answerHostile(tb testing.TB, schema string, v *Vocabulary, opts Options, after func(*Matcher)) (a hostileAnswer) {
	begin := time.Now()
	g, err := Compile([]byte(schema), opts)
	a.compile = time.Since(begin)
	if err != nil {
		return hostileAnswer{compile: a.compile, err: err}
	}
	m, err := g.Matcher(v)
	require.NoError(tb, err)
	a.m = m
	begin = time.Now()
	budget := 512
	short := m.Shortest()
	if a.start = time.Since(begin); short > budget {
		a.err = fmt.Errorf("%w: %d tokens are needed", errBudget, short)
		return a
	}
	r := rand.New(rand.NewPCG(1, 2))
	for ; !m.Done(); budget-- {
		begin := time.Now()
		mask, err := m.Allowed(budget)
		took := time.Since(begin)
		a.masks, a.longest = append(a.masks, took), max(a.longest, took)
		if err != nil {
			a.err = err
			return a
		}
		var ids []int32
		for id := range int32(v.size) {
			if mask.Has(id) && !slices.Contains(v.end, id) {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			require.True(tb, m.Complete())
			break
		}
		best, longest := int32(-1), -1
		for range 8 {
			id := ids[r.IntN(len(ids))]
			next := m.Clone()
			require.NoError(tb, next.Accept(id))
			if next.at.min > longest {
				best, longest = id, next.at.min
			}
		}
		a.text = append(a.text, v.text[best]...)
		require.NoError(tb, m.Accept(best))
		after(m)
	}
	require.True(tb, g.Match(a.text), "%.200q", a.text)
	return a
}

// TestHostile writes answers by schemas made to hurt: each is refused, or ends
// in time, or is given up when its work is done. What is kept stays within
// bounds.
func TestHostile(t *testing.T) {
	v, _ := madeUpVocabulary(8_000)
	given := map[error]int{}
	for _, row := range hostileSchemas() {
		t.Run(row.name, func(t *testing.T) {
			opts := UntrustedOptions()
			opts.Timeout = time.Minute // not what is tested
			opts.MaxWork = 4_000_000
			a := answerHostile(t, row.schema, v, opts, func(m *Matcher) {
				b := m.c.b
				// Once too much is held a new node is the first of all.
				require.LessOrEqual(t, b.held, opts.MaxStates+2_000)
				require.LessOrEqual(t, len(b.stepped), 2*opts.MaxStates)
				require.LessOrEqual(t, m.c.bytes, maxCacheBytes)
				// What is begun is given up soon; a token is accepted all the same.
				require.LessOrEqual(t, *m.spent, 2*opts.MaxWork)
			})
			for _, cause := range []error{ErrTooLarge, errBudget, ErrUnsupported, nil} {
				if errors.Is(a.err, cause) {
					given[cause]++
					return
				}
			}
			require.NoError(t, a.err)
		})
	}
	t.Logf("refused or given up as too large: %d, for the budget: %d, as unsupported: %d; answered: %d", given[ErrTooLarge], given[errBudget], given[ErrUnsupported], given[nil])
	require.Positive(t, given[ErrTooLarge])
	require.Positive(t, given[errBudget])
	require.Positive(t, given[nil])
}

// TestWorkIsCounted: an answer that takes too much is given up, others by the
// same grammar are not, and the work of clones counts.
func TestWorkIsCounted(t *testing.T) {
	v, _ := madeUpVocabulary(2_000)
	opts := UntrustedOptions()
	opts.MaxWork, opts.Timeout = 10_000, time.Minute
	g := mustCompile(t, `{"type":"string","pattern":"^[^x]{1,900}y$"}`, opts)
	for range 2 {
		m, err := g.Matcher(v)
		require.NoError(t, err)
		n := 0
		for ; err == nil; n++ {
			require.NoError(t, m.Accept(byteToken(v, `"abcdefgh`[min(n, 8)])))
			_, err = m.Clone().Allowed(Unlimited)
		}
		require.ErrorIs(t, err, ErrTooLarge)
		_, err = m.Allowed(Unlimited)
		require.ErrorIs(t, err, ErrTooLarge, "after %d tokens", n)
	}
}

// BenchmarkHostile times answers of up to 512 tokens by schemas made to hurt.
func BenchmarkHostile(b *testing.B) {
	v, _ := madeUpVocabulary(256_000)
	for _, row := range hostileSchemas() {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				a := answerHostile(b, row.schema, v, UntrustedOptions(), func(*Matcher) {})
				runtime.GC()
				runtime.ReadMemStats(&after)
				slices.Sort(a.masks)
				total := time.Duration(0)
				for _, t := range a.masks {
					total += t
				}
				b.ReportMetric(float64(a.compile.Microseconds())/1000, "compile-ms")
				b.ReportMetric(float64(a.start.Microseconds())/1000, "shortest-ms")
				b.ReportMetric(float64(len(a.masks)), "masks")
				b.ReportMetric(float64(total.Microseconds())/1000, "masks-ms")
				b.ReportMetric(float64(a.longest.Microseconds())/1000, "longest-ms")
				b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MB")
				if a.err != nil {
					b.Logf("%.150v", a.err)
				}
				runtime.KeepAlive(a)
			}
		})
	}
}
