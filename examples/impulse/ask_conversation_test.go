package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/chatml"
)

// scripted is a person who types these lines.
type scripted struct {
	lines   []string
	prompts []string
}

func (s *scripted) readLine(_ context.Context, prompt string) (string, error) {
	s.prompts = append(s.prompts, prompt)
	if len(s.lines) == 0 {
		return "", io.EOF
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	return line, nil
}

// echo answers a question with JSON that holds it, and a conversation with how many
// messages it has.
type echo struct {
	is   modelInfo
	fail error
}

func (e *echo) about() modelInfo { return e.is }
func (e *echo) close() error     { return nil }

func (e *echo) askAll(_ context.Context, questions []string, onText func(string), onAnswer func(reply)) error {
	for _, q := range questions {
		if e.fail != nil {
			return e.fail
		}
		text, err := json.MarshalIndent(map[string]string{"q": q}, "", "  ")
		if err != nil {
			return err
		}
		if onText != nil {
			onText(string(text))
		}
		onAnswer(reply{text: string(text), complete: true, tokens: 3})
	}
	return nil
}

func (e *echo) converse(_ context.Context, messages []chatml.Message, onText func(string)) (reply, error) {
	text := strings.Repeat("i", len(messages))
	if onText != nil {
		onText(text)
	}
	return reply{text: text, complete: false, tokens: len(messages)}, nil
}

func uninterrupted(ctx context.Context) (context.Context, func()) { return ctx, func() {} }

func converseWith(t *testing.T, e *echo, lines ...string) (out, log string, prompts []string) {
	t.Helper()
	var o, l bytes.Buffer
	s := &scripted{lines: lines}
	c := &conversation{respondent: e, free: e.is.Schema == nil, out: &o, log: &l}
	if err := c.run(t.Context(), s, uninterrupted); err != nil {
		t.Fatal(err)
	}
	return o.String(), l.String(), s.prompts
}

// TestConversation: questions are answered by the schema; in free text the model
// gets what was said before; words after a slash are commands; the end is /quit or
// the end of input.
func TestConversation(t *testing.T) {
	schema := json.RawMessage(`{"type":"object"}`)
	parcels := modelInfo{Name: "post", Title: "Parcels", Description: "Where a parcel is.", Examples: []string{"Where is parcel 7?"}, Schema: schema}
	for _, row := range []struct {
		name    string
		is      modelInfo
		lines   []string
		out     string
		log     []string
		prompts int
	}{
		{"questions", parcels, []string{"a", " b ", ""}, "{\n  \"q\": \"a\"\n}\n{\n  \"q\": \"b\"\n}\n", []string{"Parcels (post)\nWhere a parcel is.\nFor example: Where is parcel 7?\n", "3 tokens in "}, 4},
		{"quit", parcels, []string{"/quit", "a"}, "", nil, 1},
		{"schema", parcels, []string{"/schema"}, "{\n  \"type\": \"object\"\n}\n", nil, 2},
		{"free text and back", parcels, []string{"/free", "a", "b", "/new", "c", "/free", "d"}, "i\niii\ni\n{\n  \"q\": \"d\"\n}\n",
			[]string{"free text: ", "the answer was cut at 3 tokens (--max-new-tokens)", "answers are kept to the schema\n"}, 8},
		{"no schema", modelInfo{Name: "base"}, []string{"a", "/schema", "/free"}, "i\n", []string{"this model has no schema: it answers in free text", "it always answers in free text"}, 4},
		{"unknown", parcels, []string{"/shcema", "/help"}, "", []string{"/shcema is no command; /help lists them", "/free"}, 3},
	} {
		out, log, prompts := converseWith(t, &echo{is: row.is}, row.lines...)
		if out != row.out || len(prompts) != row.prompts {
			t.Errorf("%s: got %q after %q", row.name, out, prompts)
		}
		for _, part := range row.log {
			if !strings.Contains(log, part) {
				t.Errorf("%s: the log has no %q: %s", row.name, part, log)
			}
		}
	}
	_, _, prompts := converseWith(t, &echo{is: parcels}, "/free")
	if prompts[0] != ">>> " || prompts[1] != "free> " {
		t.Errorf("prompts %q", prompts)
	}
}

// TestConversationGoesOn: a question that fails or is stopped is not the end.
func TestConversationGoesOn(t *testing.T) {
	_, log, prompts := converseWith(t, &echo{is: modelInfo{Schema: json.RawMessage(`{}`)}, fail: errors.New("too long")}, "a", "b")
	if strings.Count(log, "impulse: too long\n") != 2 || len(prompts) != 3 {
		t.Errorf("%d prompts, log %s", len(prompts), log)
	}
	var out, l bytes.Buffer
	c := &conversation{respondent: &echo{is: modelInfo{Schema: json.RawMessage(`{}`)}, fail: context.Canceled}, out: &out, log: &l}
	s := &scripted{lines: []string{"a", "b"}}
	err := c.run(t.Context(), s, func(ctx context.Context) (context.Context, func()) {
		ctx, stop := context.WithCancel(ctx)
		stop()
		return ctx, stop
	})
	if err != nil || strings.Count(l.String(), "(stopped)") != 2 || len(s.prompts) != 3 {
		t.Errorf("%v after %d prompts, log %s", err, len(s.prompts), l.String())
	}
}
