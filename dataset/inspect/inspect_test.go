package inspect_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/inspect"
)

// line is a record with a question and an answer.
func line(id, lang, question, answer string) string {
	return fmt.Sprintf(`{"id": %q, "lang": %q, "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": %q}, {"role": "assistant", "content": %q}]}`, id, lang, question, answer) + "\n"
}

func read(t *testing.T, data string, change func(*inspect.Options)) *inspect.Report {
	t.Helper()
	opts := inspect.Options{
		Builder: dataset.Builder{Tokenizer: letters{}, MaxLength: 120}, Plan: dataset.DefaultPlanOptions(),
		Split: dataset.SplitOptions{Similarity: 0.8}, Decoder: letters{},
	}
	if change != nil {
		change(&opts)
	}
	r, err := inspect.Read(dataset.NewReader(strings.NewReader(data), "data").Records(), opts)
	require.NoError(t, err)
	return r
}

func textOf(t *testing.T, r *inspect.Report) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, r.WriteText(&b, inspect.WriteOptions{}))
	return b.String()
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
	require.ErrorContains(t, r.Faults, "nothing to train")
	require.Equal(t, []dataset.Length{{ID: "f", Tokens: 243, Instruction: 19}}, r.Overlong)
	require.Len(t, r.Answers, 1)
	require.Equal(t, "d", r.Answers[0].Record)
	text := textOf(t, r)
	for _, want := range []string{
		"2 questions that stand more than once:\n  a, b (2 different answers): projectes de hidrogen verd\n  g, h (the same answer): wind energy\n",
		"1 groups of questions that resemble one another:\n  a, b, c (2 different answers): projectes de hidrogen verd\n",
		"1 examples have no user message\n",
		"2 examples whose question looks like another language:\n  g: es, looks like EN\n  h: es, looks like EN\n",
		"language ca: 3 examples (42.9 %), 0 of them held out",
	} {
		require.Contains(t, text, want)
	}
	tokens := 0
	for _, e := range r.Examples {
		tokens += len(e.IDs)
	}
	require.Equal(t, tokens, r.Train.SequenceTokens)
	require.Nil(t, r.Eval)

	// Shortened instead of left out, and a part held out.
	r = read(t, data, func(o *inspect.Options) {
		o.Builder.Overlong, o.Split.Fraction = dataset.OverlongTruncate, 0.3
	})
	require.Equal(t, r.Overlong, r.Truncated)
	require.Len(t, r.Examples, 8)
	for _, e := range r.Examples {
		require.LessOrEqual(t, len(e.IDs), 120)
	}
	require.Positive(t, r.Eval.Len())
	held := 0
	for _, m := range regexp.MustCompile(`(\d+) of them held out`).FindAllStringSubmatch(textOf(t, r), -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		held += n
	}
	require.Equal(t, held, r.Eval.Len())

	long := line("a", "", strings.Repeat("long ", 40), "one") + line("b", "", "solar", "one")
	for policy, usable := range map[dataset.OverlongPolicy]bool{dataset.OverlongError: false, dataset.OverlongDrop: true, dataset.OverlongTruncate: true} {
		r = read(t, long, func(o *inspect.Options) { o.Builder.Overlong = policy })
		require.Equal(t, usable, r.Usable(), "%v", policy)
		require.Len(t, r.Overlong, 1)
	}

	_, err := inspect.Read(dataset.NewReader(strings.NewReader(data), "data").Records(), inspect.Options{Decoder: letters{}})
	require.Error(t, err)
	r = read(t, "", nil)
	require.False(t, r.Usable())
	require.NoError(t, r.WriteText(&strings.Builder{}, inspect.WriteOptions{Conversations: 3}))
	require.NoError(t, r.WriteHTML(&strings.Builder{}, inspect.WriteOptions{Conversations: 3}))
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
	require.Contains(t, textOf(t, r), "looks like another language")
	require.Contains(t, textOf(t, r), "resemble one another")
	facts := []inspect.Fact{{Name: evil, Value: evil}}
	for _, colour := range []bool{false, true} {
		var b strings.Builder
		require.NoError(t, r.WriteText(&b, inspect.WriteOptions{Conversations: 9, Colour: colour, Facts: facts}))
		text := strings.NewReplacer("\x1b[32m", "", "\x1b[2m", "", "\x1b[0m", "").Replace(b.String())
		require.NotRegexp(t, regexp.MustCompile("[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f\u202e]"), text)
		require.Contains(t, text, `\x1b[2J`)
		require.Equal(t, colour, text != b.String(), "only our own colours")
	}
	var b strings.Builder
	require.NoError(t, r.WriteHTML(&b, inspect.WriteOptions{Title: evil, Conversations: 9, Facts: facts}))
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
	require.NoError(t, r.WriteText(&text, inspect.WriteOptions{Conversations: 1}))
	require.Contains(t, text.String(), "<|im_start|>assistant\n⟦second<|im_end|>⟧\n", "the shortest")
	require.NotContains(t, text.String(), "⟦first")
	text.Reset()
	require.NoError(t, r.WriteText(&text, inspect.WriteOptions{Conversations: 2}))
	require.Contains(t, text.String(), "one question<|im_end|>\n<|im_start|>assistant\n⟦first")
	require.Equal(t, 1, strings.Count(text.String(), "Be short."), "what all share is printed once")
	require.Contains(t, text.String(), "(25 tokens as above) one question")
	require.NoError(t, r.WriteHTML(&page, inspect.WriteOptions{Title: "a", Conversations: 2}))
	require.Contains(t, page.String(), "<mark>first&lt;|im_end|&gt;</mark>")
	require.Contains(t, page.String(), `<span class="shared">&lt;|im_start|&gt;system
Be short.&lt;|im_end|&gt;
&lt;|im_start|&gt;user
</span>`)
	for n, want := range map[int]int{5: 2, 0: 0} {
		text.Reset()
		require.NoError(t, r.WriteText(&text, inspect.WriteOptions{Conversations: n}))
		require.Equal(t, want, strings.Count(text.String(), "\n== "))
	}
}

// That variants resemble their source is no news; that sources do is.
func TestReadVariants(t *testing.T) {
	of := func(id, text string) string {
		return strings.TrimSuffix(text, "}\n") + fmt.Sprintf(`, "variant_of": %q}`, id) + "\n"
	}
	data := line("a", "ca", "projectes d'hidrogen verd", "one") + of("a", line("a~1", "ca", "projectes d'hidrogen verd.", "one")) +
		line("b", "ca", "bateries de liti", "two") + of("b", line("b~1", "ca", "bateries de litti", "two")) + line("c", "ca", "bateries de liti!", "one")
	text := textOf(t, read(t, data, nil))
	require.Contains(t, text, "1 groups of questions that resemble one another:\n  b, c (2 different answers): bateries de liti")
	require.Contains(t, text, "2 examples are variants of others, with which they are held out")
}
