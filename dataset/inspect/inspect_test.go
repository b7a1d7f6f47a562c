package inspect_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/inspect"
)

func TestLengths(t *testing.T) {
	var hundred []int
	for i := range 100 {
		hundred = append(hundred, 100-i)
	}
	l := inspect.NewLengths(hundred)
	require.Equal(t, []int{1, 5, 50, 95, 99, 100}, []int{l.Percentile(0), l.Percentile(5), l.Percentile(50), l.Percentile(95), l.Percentile(99), l.Percentile(100)})
	require.Equal(t, 50.5, l.Mean())
	require.Equal(t, []inspect.Bin{{0, 50, 49}, {50, 100, 50}, {100, 150, 1}}, l.Histogram(3))
	require.Equal(t, []inspect.Bin{{10, 20, 1}, {20, 30, 0}, {30, 40, 2}}, inspect.NewLengths([]int{39, 10, 30}).Histogram(3), "empty ones too")
	require.Len(t, inspect.NewLengths([]int{7}).Histogram(20), 1)
	none := inspect.NewLengths(nil)
	require.Empty(t, none.Histogram(20))
	require.Zero(t, none.Percentile(50)+none.Max+int(none.Mean()))
	for _, most := range []int{1, 2, 7, 20} {
		for _, far := range []int{0, 1, 999, 1_000_000} {
			bins := inspect.NewLengths([]int{0, 3, far}).Histogram(most)
			require.LessOrEqual(t, len(bins), most, "%d", far)
			n := 0
			for _, b := range bins {
				n += b.Count
			}
			require.Equal(t, 3, n)
		}
	}
}

// line is a record with a question and an answer.
func line(id, lang, question, answer string) string {
	return fmt.Sprintf(`{"id": %q, "lang": %q, "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": %q}, {"role": "assistant", "content": %q}]}`, id, lang, question, answer) + "\n"
}

func read(t *testing.T, data string, change func(*inspect.Options)) *inspect.Report {
	t.Helper()
	opts := inspect.Options{
		Builder: dataset.Builder{Tokenizer: letters{}, MaxLength: 120}, Plan: dataset.DefaultPlanOptions(),
		Split: dataset.SplitOptions{Similarity: dataset.NearSimilarity}, Decoder: letters{},
	}
	if change != nil {
		change(&opts)
	}
	r, err := inspect.Read(dataset.NewReader(strings.NewReader(data), "data").Records(), opts)
	require.NoError(t, err)
	return r
}

// TestRead: every kind of fault is found, and takes no other record with it.
func TestRead(t *testing.T) {
	data := `{"messages": [{"role": "assistant", "content": "alone"}]}` + "\n" + line("a", "ca", "projectes de hidrogen verd", "one") +
		line("b", "ca", "projectes de hidrogen verd", "two") +
		line("c", "ca", "projectes d'hidrogen verd!", "one") +
		line("d", "es", "baterías", "bad") +
		line("d", "es", "again", "one") +
		line("e", "", "solar", "  ") +
		line("f", "", strings.Repeat("long ", 40), "one") +
		"not json\n" +
		line("g", "es", "wind energy", "one") + line("h", "es", "wind energy", "one")
	bad := func(answer string) error {
		if answer == "bad" {
			return fmt.Errorf("it is bad")
		}
		return nil
	}
	identify := func(q string) string {
		if strings.Contains(q, "energy") {
			return "EN"
		}
		return ""
	}
	r := read(t, data, func(o *inspect.Options) { o.CheckAnswer, o.Identify = bad, identify })
	require.Equal(t, 11, r.Records)
	require.False(t, r.Usable())
	var ids, faults []string
	for _, e := range r.Examples {
		ids = append(ids, e.ID)
	}
	for _, f := range r.Faults {
		faults = append(faults, f.Record)
	}
	require.Equal(t, []string{"#1", "a", "b", "c", "d", "g", "h"}, ids)
	require.Equal(t, []string{"d", "e", ""}, faults)
	require.ErrorIs(t, r.Faults, dataset.ErrDuplicate)
	require.ErrorIs(t, r.Faults, chatml.ErrNoAnswer)
	require.ErrorIs(t, r.Faults, dataset.ErrSyntax)
	require.Equal(t, []dataset.Length{{ID: "f", Tokens: 243}}, r.Overlong)
	require.Len(t, r.Answers, 1)
	require.Equal(t, "d", r.Answers[0].Record)
	require.Equal(t, []inspect.Group{
		{IDs: []string{"a", "b"}, Question: "projectes de hidrogen verd", Answers: 2},
		{IDs: []string{"g", "h"}, Question: "wind energy", Answers: 1},
	}, r.Equal)
	require.Equal(t, []inspect.Group{{IDs: []string{"a", "b", "c"}, Question: "projectes de hidrogen verd", Answers: 2}}, r.Near)
	require.Equal(t, 1, r.NoQuestion)
	require.Equal(t, []inspect.Mismatch{{"g", "es", "EN"}, {"h", "es", "EN"}}, r.Mismatches)
	require.Equal(t, "ca", r.Languages[0].Lang)
	require.Equal(t, 3, r.Languages[0].Examples)
	require.Equal(t, r.All.Total, r.Train.SequenceTokens)
	require.Nil(t, r.Eval)

	// Shortened instead of left out, and a part held out.
	r = read(t, data, func(o *inspect.Options) {
		o.Builder.Overlong, o.Split.Fraction = dataset.OverlongTruncate, 0.3
	})
	require.Equal(t, r.Overlong, r.Truncated)
	require.Len(t, r.Examples, 8)
	require.LessOrEqual(t, r.All.Max, 120)
	held := 0
	for _, l := range r.Languages {
		held += l.Held
	}
	require.Positive(t, held)
	require.Equal(t, held, r.Eval.Len())

	long := line("a", "", strings.Repeat("long ", 40), "one") + line("b", "", "solar", "one")
	for policy, usable := range map[dataset.OverlongPolicy]bool{dataset.OverlongError: false, dataset.OverlongDrop: true, dataset.OverlongTruncate: true} {
		r = read(t, long, func(o *inspect.Options) { o.Builder.Overlong = policy })
		require.Equal(t, usable, r.Usable(), "%v", policy)
		require.Len(t, r.Overlong, 1)
	}

	_, err := inspect.Read(dataset.NewReader(strings.NewReader(data), "data").Records(), inspect.Options{Decoder: letters{}})
	require.ErrorIs(t, err, dataset.ErrOption)
	r = read(t, "", nil)
	require.False(t, r.Usable())
	require.NoError(t, r.WriteText(&strings.Builder{}, inspect.TextOptions{Conversations: 3}))
	require.NoError(t, r.WriteHTML(&strings.Builder{}, inspect.HTMLOptions{Conversations: 3}))
}

// TestUntrustedText: what is in the data reaches neither a terminal nor a
// browser as a command, wherever it stands.
func TestUntrustedText(t *testing.T) {
	evil := "\x1b[2J\x1b]0;owned\x07\u202e\r<script>alert(1)</script>"
	data := line(evil, evil, evil, evil) + line(evil+"2", "", evil+"2", evil) +
		line(evil, evil, "twice", "x") + line("long"+evil, "", strings.Repeat(evil, 10), "x") +
		strings.ReplaceAll(line("z", "", "q", " "), `"z"`, fmt.Sprintf("%q", evil+"3"))
	data = strings.ReplaceAll(strings.ReplaceAll(data, `\x1b`, `\u001b`), `\a`, `\u0007`)
	data = strings.ReplaceAll(data, `"content": "Be short."`, `"content": "Be`+`\u009b31m short."`)
	r := read(t, data, func(o *inspect.Options) {
		o.Builder.MaxLength = 400
		o.CheckAnswer = func(answer string) error { return fmt.Errorf("refused: %s", answer) }
		o.Identify = func(string) string { return "x" + evil }
	})
	require.NotEmpty(t, r.Faults)
	require.NotEmpty(t, r.Overlong)
	require.NotEmpty(t, r.Near)
	require.NotEmpty(t, r.Mismatches)
	facts := []inspect.Fact{{Name: evil, Value: evil}}
	for _, colour := range []bool{false, true} {
		var b strings.Builder
		require.NoError(t, r.WriteText(&b, inspect.TextOptions{Conversations: 9, Colour: colour, Facts: facts}))
		text := strings.NewReplacer("\x1b[32m", "", "\x1b[2m", "", "\x1b[0m", "").Replace(b.String())
		require.NotRegexp(t, regexp.MustCompile("[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f\u202e]"), text)
		require.Contains(t, text, `\x1b[2J`)
		require.Equal(t, colour, text != b.String(), "our own colours alone")
	}
	var b strings.Builder
	require.NoError(t, r.WriteHTML(&b, inspect.HTMLOptions{Title: evil, Conversations: 9, Facts: facts}))
	require.NotContains(t, b.String(), "<script>")
	require.NotRegexp(t, regexp.MustCompile("[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f\u202e]"), b.String())
	require.Contains(t, b.String(), "Content-Security-Policy")
	require.Contains(t, b.String(), "&lt;script&gt;")
}

// TestMarks: trained tokens stand in marks, on paper and on a page, the end of
// the turn among them.
func TestMarks(t *testing.T) {
	r := read(t, line("a", "", "one question", "first")+line("b", "", "another", "second"), nil)
	require.True(t, r.Usable())
	var text, page strings.Builder
	require.NoError(t, r.WriteText(&text, inspect.TextOptions{Conversations: 1}))
	require.Contains(t, text.String(), "<|im_start|>assistant\n⟦second<|im_end|>⟧\n", "the shortest")
	require.NotContains(t, text.String(), "⟦first")
	text.Reset()
	require.NoError(t, r.WriteText(&text, inspect.TextOptions{Conversations: 2}))
	require.Contains(t, text.String(), "one question<|im_end|>\n<|im_start|>assistant\n⟦first")
	require.Equal(t, 1, strings.Count(text.String(), "Be short."), "what all share is printed once")
	require.Contains(t, text.String(), "(25 tokens as above) one question")
	require.NoError(t, r.WriteHTML(&page, inspect.HTMLOptions{Title: "a", Conversations: 2}))
	require.Contains(t, page.String(), "<mark>first&lt;|im_end|&gt;</mark>")
	require.Contains(t, page.String(), `<span class="shared">&lt;|im_start|&gt;system
Be short.&lt;|im_end|&gt;
&lt;|im_start|&gt;user
</span>`)
	require.Len(t, r.Conversations(5), 2)
	require.Empty(t, r.Conversations(0))
}
