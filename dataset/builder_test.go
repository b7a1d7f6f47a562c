package dataset

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
)

// byteTokenizer has one token per byte, ids from 10, and the control tokens 1
// to 3.
type byteTokenizer struct{}

func (byteTokenizer) TokenID(token string) (int32, bool) {
	id, ok := map[string]int32{"<s>": 1, "<|im_start|>": 2, chatml.EndToken: 3}[token]
	return id, ok
}

func (byteTokenizer) EncodeText(text string, _ bool) []int32 {
	ids := make([]int32, len(text))
	for i := range ids {
		ids[i] = 10 + int32(text[i])
	}
	return ids
}

func textOf(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		if id >= 10 {
			b.WriteByte(byte(id - 10))
		} else {
			b.WriteString([]string{"", "<s>", "<|im_start|>", chatml.EndToken}[id])
		}
	}
	return b.String()
}

// talk makes a record from "role: content" turns.
func talk(id string, turns ...string) Record {
	r := Record{ID: id}
	for _, t := range turns {
		role, content, _ := strings.Cut(t, ": ")
		r.Messages = append(r.Messages, chatml.Message{Role: chatml.Role(role), Content: content})
	}
	return r
}

func plainBuilder() Builder {
	return Builder{Tokenizer: byteTokenizer{}, Template: chatml.Template{NoDefaultSystem: true}, MaxLength: 1000}
}

func TestBuild(t *testing.T) {
	b := plainBuilder()
	a := talk("", "user: a", "assistant: b")
	a.Lang = "ca"
	set, err := b.Build([]Record{a, talk("q", "user: c", "assistant: d", "user: e", "assistant: f")})
	require.NoError(t, err)
	require.Empty(t, set.Dropped)
	require.Len(t, set.Examples, 2)
	require.Equal(t, "#1", set.Examples[0].ID, "a record without id is called by its place")
	require.Equal(t, "ca", set.Examples[0].Lang)
	enc, err := b.Template.Encode(b.Tokenizer, a.Messages)
	require.NoError(t, err)
	require.Equal(t, enc, chatml.Encoding{IDs: set.Examples[0].IDs, Train: set.Examples[0].Train})

	context := talk("q", "user: c", "assistant: d", "user: e", "assistant: f")
	context.Messages[1].Untrained = true
	last, err := b.Build([]Record{context})
	require.NoError(t, err)
	require.Equal(t, set.Examples[1].IDs, last.Examples[0].IDs)
	require.NotEqual(t, set.Examples[1].Train, last.Examples[0].Train)
}

func TestBuildFaults(t *testing.T) {
	b := plainBuilder()
	b.MaxLength = 60
	long := strings.Repeat("x", 100)
	_, err := b.Build([]Record{
		talk("q", "user: a", "assistant: b"),
		talk("q", "user: c", "assistant: d"),
		talk("long", "user: "+long, "assistant: b"),
		talk("longer", "user: "+long+long, "assistant: b"),
		talk("mute", "user: a"),
		talk("", "user: a", "assistant:  "),
	})
	var faults Faults
	require.True(t, errors.As(err, &faults))
	require.Len(t, faults, 5)
	for _, text := range []string{
		`record "q": id: "q" is the id of records 1 and 2`, `record "long": too many tokens: 122, limit 60; also record "longer"`,
		`record "mute": nothing to train: no message`, `record "#6": nothing to train: messages[1].content is blank`,
	} {
		require.ErrorContains(t, err, text)
	}
}

func TestBuildRefuses(t *testing.T) {
	good := []Record{talk("q", "user: a", "assistant: b")}
	for _, row := range []struct {
		name    string
		change  func(*Builder)
		records []Record
	}{
		{name: "no tokenizer", change: func(b *Builder) { b.Tokenizer = nil }, records: good},
		{name: "no limit", change: func(b *Builder) { b.MaxLength = 0 }, records: good},
		{name: "bad date", change: func(b *Builder) { b.Template.Date = "today" }, records: good},
		{name: "no records", change: func(*Builder) {}},
		{name: "all dropped", change: func(b *Builder) { b.MaxLength, b.Overlong = 5, OverlongDrop }, records: good},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := plainBuilder()
			row.change(&b)
			_, err := b.Build(row.records)
			require.Error(t, err)
			var faults Faults
			require.False(t, errors.As(err, &faults), "said once, not for each record")
		})
	}
}

// TestBuildNoRoom: a system message that fills the limit by itself is said once,
// with what would be enough; records with a shorter one are judged by themselves.
func TestBuildNoRoom(t *testing.T) {
	system := "system: " + strings.Repeat("s", 60)
	records := []Record{
		talk("a", system, "user: a", "assistant: b"),
		talk("b", system+"ss", "user: aaaa", "assistant: b"),
		talk("c", "system: s", "user: "+strings.Repeat("x", 60), "assistant: b"),
		talk("d", "system: s", "user: a", "assistant: b"),
	}
	b := plainBuilder()
	tokens := func(r Record) int {
		enc, err := b.Template.Encode(b.Tokenizer, r.Messages)
		require.NoError(t, err)
		return len(enc.IDs)
	}
	// <|im_start|>, system, a line feed, the text, <|im_end|>, a line feed
	const instruction = 1 + 6 + 1 + 62 + 1 + 1
	for _, policy := range []OverlongPolicy{OverlongError, OverlongTruncate} {
		b.MaxLength, b.Overlong = instruction-2, policy
		_, err := b.Build(records)
		var full *NoRoomError
		require.ErrorAs(t, err, &full)
		require.Equal(t, NoRoomError{Records: 2, Limit: instruction - 2, Instruction: instruction, Longest: tokens(records[1])}, *full)
		var faults Faults
		require.Equal(t, policy == OverlongError, errors.As(err, &faults))
		if policy == OverlongError {
			require.ErrorContains(t, err, `record "c": too many tokens`)
			require.Len(t, faults, 1)
		}
	}
	b.Overlong = OverlongDrop
	set, err := b.Build(records)
	require.NoError(t, err)
	require.Equal(t, Length{ID: "b", Tokens: tokens(records[1]), Instruction: instruction}, set.Dropped[1])
	require.Len(t, set.Examples, 1)
	_, err = b.Build(records[:2])
	require.ErrorContains(t, err, "the system message by itself takes 72 tokens of a limit of 70")

	b.MaxLength, b.Overlong = instruction+1, OverlongError
	_, err = b.Build(records[:2])
	var full *NoRoomError
	require.False(t, errors.As(err, &full), "a token is left")
}

func TestBuildDrop(t *testing.T) {
	b := plainBuilder()
	b.MaxLength, b.Overlong = 40, OverlongDrop
	set, err := b.Build([]Record{talk("long", "user: "+strings.Repeat("x", 50), "assistant: b"), talk("q", "user: a", "assistant: b")})
	require.NoError(t, err)
	require.Equal(t, []Length{{ID: "long", Tokens: 72, Instruction: 0}}, set.Dropped)
	require.Len(t, set.Examples, 1)
	require.Equal(t, "q", set.Examples[0].ID)
}

func TestBuildTruncate(t *testing.T) {
	const system, user, bot, end = "<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"
	full := talk("r", "system: S", "user: older", "assistant: A", "user: old", "assistant: B", "user: question", "assistant: C")
	for _, row := range []struct {
		name, reason string
		record       Record
		limit        int
		want         string // text of the ids; empty if refused
	}{
		{name: "fits", record: full, limit: 93, want: system + "S" + end + user + "older" + end + bot + "A" + end + user + "old" + end + bot + "B" + end + user + "question" + end + bot + "C" + end},
		{name: "oldest turn", record: full, limit: 92, want: system + "S" + end + user + "old" + end + bot + "B" + end + user + "question" + end + bot + "C" + end, reason: "question and answer go together"},
		{name: "two turns", record: full, limit: 60, want: system + "S" + end + user + "question" + end + bot + "C" + end},
		{name: "question", record: full, limit: 34, want: system + "S" + end + user + "n" + end + bot + "C" + end, reason: "cut from the front, one character stays"},
		{name: "too long still", record: full, limit: 33},
		{name: "whole letters", record: talk("r", "user: çé", "assistant: C"), limit: 25, want: user + "é" + end + bot + "C" + end},
		{name: "no question", record: talk("r", "assistant: long answer"), limit: 10},
		{name: "question after the answer", record: talk("r", "assistant: C", "user: later"), limit: 20, reason: "only what led to the answer can be cut"},
		{name: "empty question", record: talk("r", "user: ", "assistant: C"), limit: 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := plainBuilder()
			b.MaxLength, b.Overlong = row.limit, OverlongTruncate
			before := append([]chatml.Message(nil), row.record.Messages...)
			set, err := b.Build([]Record{row.record})
			require.Equal(t, before, row.record.Messages, "records are not changed")
			if row.want == "" {
				require.ErrorContains(t, err, "too many tokens", row.reason)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, textOf(set.Examples[0].IDs), row.reason)
			require.LessOrEqual(t, len(set.Examples[0].IDs), row.limit)
			require.Equal(t, row.name != "fits", len(set.Truncated) == 1)
		})
	}
}
