package dataset

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
)

const line = `{"id": "q1", "messages": [{"role": "user", "content": "Hola"}], "lang": "ca"}`

var record = Record{ID: "q1", Messages: []chatml.Message{{Role: "user", Content: "Hola"}}, Lang: "ca"}

func TestMessages(t *testing.T) {
	bare := Record{Messages: record.Messages}
	for _, row := range []struct {
		name, in, reason string
		want             []Record
	}{
		{name: "one line", in: line + "\n", want: []Record{record}},
		{name: "no newline at the end", in: line, want: []Record{record}},
		{name: "byte-order mark, CRLF, blank lines", in: "\ufeff" + line + "\r\n\r\n  \n" + line, want: []Record{record, record}},
		{name: "id and lang absent", in: `{"messages":[{"role":"user","content":"Hola"}]}`, want: []Record{bare}},
		{name: "id and lang null", in: `{"id":null,"lang":null,"messages":[{"role":"user","content":"Hola"}]}`, want: []Record{bare}},
		{
			name: "unknown keys", in: `{"meta":{"a":1},"ID":7,"messages":[{"role":"user","content":"Hola","name":"x"}]}`, want: []Record{bare},
			reason: "writers add keys; names are compared exactly, so ID is one of them",
		},
		{
			name: "escapes", in: `{"messages":[{"role":"user","content":"\ud83c\udf89\\ud800 \ufffd"}]}`,
			want:   []Record{{Messages: []chatml.Message{{Role: "user", Content: "🎉\\ud800 \ufffd"}}}},
			reason: "a whole pair, an escaped backslash and a replacement character that was written are fine",
		},
		{name: "nothing", in: "\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := NewReader(strings.NewReader(row.in), "x.jsonl", Messages()).ReadAll()
			require.NoError(t, err)
			require.Equal(t, row.want, got, row.reason)
		})
	}
}

func TestMessagesFaults(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     Fault // Err compared with errors.Is
		says     string
	}{
		{name: "syntax", in: `{"id": "a"`, want: Fault{Err: ErrSyntax}, says: "unexpected end"},
		{name: "two values", in: line + line, want: Fault{Err: ErrSyntax}},
		{name: "array", in: `[]`, want: Fault{Err: ErrType}, says: "array, want an object"},
		{name: "null", in: `null`, want: Fault{Err: ErrType}, says: "null, want an object"},
		{name: "invalid UTF-8", in: "{\"id\": \"\xff\"}", want: Fault{Err: chatml.ErrUTF8}},
		{name: "half a pair", in: `{"messages":[{"role":"user","content":"a\udc80"}]}`, want: Fault{Field: "messages[0].content", Err: chatml.ErrUTF8}, says: "surrogate"},
		{name: "high half before a letter", in: `{"messages":[{"role":"user","content":"\ud83cé"}]}`, want: Fault{Field: "messages[0].content", Err: chatml.ErrUTF8}},
		{name: "id is a number", in: `{"id": 7, "messages":[{"role":"user","content":"a"}]}`, want: Fault{Field: "id", Err: ErrType}, says: "number, want a string"},
		{name: "lang is a list", in: `{"id":"a","lang":[],"messages":[{"role":"user","content":"a"}]}`, want: Fault{Record: "a", Field: "lang", Err: ErrType}},
		{name: "messages absent", in: `{"id":"a","Messages":[]}`, want: Fault{Record: "a", Field: "messages", Err: ErrMissing}},
		{name: "messages empty", in: `{"id":"a","messages":[]}`, want: Fault{Record: "a", Field: "messages", Err: ErrMissing}},
		{name: "messages is text", in: `{"id":"a","messages":"x"}`, want: Fault{Record: "a", Field: "messages", Err: ErrType}, says: "want an array"},
		{name: "message is text", in: `{"id":"a","messages":["x"]}`, want: Fault{Record: "a", Field: "messages[0]", Err: ErrType}},
		{name: "role absent", in: `{"id":"a","messages":[{"content":"x"}]}`, want: Fault{Record: "a", Field: "messages[0].role", Err: ErrMissing}},
		{name: "role is a boolean", in: `{"id":"a","messages":[{"role":true,"content":"x"}]}`, want: Fault{Record: "a", Field: "messages[0].role", Err: ErrType}, says: "boolean"},
		{name: "role empty", in: `{"id":"a","messages":[{"role":"","content":"x"}]}`, want: Fault{Record: "a", Err: chatml.ErrRole}, says: "messages[0].role"},
		{name: "content null", in: `{"id":"a","messages":[{"role":"user","content":null}]}`, want: Fault{Record: "a", Field: "messages[0].content", Err: ErrType}, says: "null"},
		{name: "key twice", in: `{"id":"a","id":"b","messages":[{"role":"user","content":"x"}]}`, want: Fault{Err: ErrDuplicate}, says: `"id"`},
		{name: "message key twice", in: `{"id":"a","messages":[{"role":"user","content":"x","content":"y"}]}`, want: Fault{Record: "a", Field: "messages[0]", Err: ErrDuplicate}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := NewReader(strings.NewReader(line+"\n"+row.in+"\n"+line), "x.jsonl", Messages()).ReadAll()
			require.Nil(t, got)
			require.ErrorContains(t, err, row.says)
			var faults Faults
			require.True(t, errors.As(err, &faults))
			require.Len(t, faults, 1)
			require.ErrorIs(t, err, row.want.Err)
			row.want.File, row.want.Line, row.want.Err = "x.jsonl", 2, faults[0].Err
			require.Equal(t, row.want, faults[0])
		})
	}
}

func TestFaultsError(t *testing.T) {
	_, err := NewReader(strings.NewReader(strings.Repeat("{}\n", 123)), "x.jsonl").ReadAll()
	text := err.Error()
	require.Contains(t, text, "dataset: 123 faults:\n  x.jsonl:1: unknown format")
	require.Contains(t, text, "x.jsonl:100: ")
	require.NotContains(t, text, "x.jsonl:101: ")
	require.Contains(t, text, "and 23 more")
}
