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
	id, ok := map[string]int32{chatml.BOSToken: 1, chatml.StartToken: 2, chatml.EndToken: 3}[token]
	return id, ok
}

func (byteTokenizer) EncodeText(text string, _ bool) []int32 {
	ids := make([]int32, len(text))
	for i := range ids {
		ids[i] = 10 + int32(text[i])
	}
	return ids
}

func decode(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		if id >= 10 {
			b.WriteByte(byte(id - 10))
		} else {
			b.WriteString([]string{"", chatml.BOSToken, chatml.StartToken, chatml.EndToken}[id])
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
	enc, err := b.Template.Encode(b.Tokenizer, a.Messages, chatml.AllTurns)
	require.NoError(t, err)
	require.Equal(t, enc, chatml.Encoding{IDs: set.Examples[0].IDs, Train: set.Examples[0].Train})

	b.Turns = chatml.LastTurn
	last, err := b.Build([]Record{talk("q", "user: c", "assistant: d", "user: e", "assistant: f")})
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
	for _, want := range []error{ErrDuplicate, ErrOverlong, chatml.ErrNoAnswer} {
		require.ErrorIs(t, err, want)
	}
	for _, text := range []string{
		`record "q": id: duplicate: records 1 and 2`, `record "long": too many tokens: 122, limit 60`,
		`record "longer": too many tokens: 222, limit 60`, `record "mute"`, `record "#6"`,
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
		want    error
	}{
		{name: "no tokenizer", change: func(b *Builder) { b.Tokenizer = nil }, records: good, want: ErrOption},
		{name: "no limit", change: func(b *Builder) { b.MaxLength = 0 }, records: good, want: ErrOption},
		{name: "bad date", change: func(b *Builder) { b.Template.Date = "today" }, records: good, want: chatml.ErrTemplate},
		{name: "no records", change: func(*Builder) {}, want: ErrEmpty},
		{name: "all dropped", change: func(b *Builder) { b.MaxLength, b.Overlong = 5, OverlongDrop }, records: good, want: ErrEmpty},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := plainBuilder()
			row.change(&b)
			_, err := b.Build(row.records)
			require.ErrorIs(t, err, row.want)
			var faults Faults
			require.False(t, errors.As(err, &faults), "said once, not for each record")
		})
	}
}

func TestBuildDrop(t *testing.T) {
	b := plainBuilder()
	b.MaxLength, b.Overlong = 40, OverlongDrop
	set, err := b.Build([]Record{talk("long", "user: "+strings.Repeat("x", 50), "assistant: b"), talk("q", "user: a", "assistant: b")})
	require.NoError(t, err)
	require.Equal(t, []Length{{ID: "long", Tokens: 72}}, set.Dropped)
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
				require.ErrorIs(t, err, ErrOverlong, row.reason)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, decode(set.Examples[0].IDs), row.reason)
			require.LessOrEqual(t, len(set.Examples[0].IDs), row.limit)
			require.Equal(t, row.name != "fits", len(set.Truncated) == 1)
		})
	}
}
