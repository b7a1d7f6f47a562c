package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// respondent answers questions: a model in this process, or a server.
type respondent interface {
	about() modelInfo
	// askAll answers by the schema. onText, if not nil, is called with the answer to
	// a single question piece by piece; onAnswer with each answer in turn.
	askAll(ctx context.Context, questions []string, onText func(string), onAnswer func(reply)) error
	// converse continues a conversation in free text.
	converse(ctx context.Context, messages []chatml.Message, onText func(string)) (reply, error)
	close() error
}

// modelInfo is what a model says of itself.
type modelInfo struct {
	Name        string          `json:"id"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Examples    []string        `json:"examples"`
	Schema      json.RawMessage `json:"schema"` // nil for none
}

// reply is an answer.
type reply struct {
	text     string
	complete bool // not cut at its most tokens
	tokens   int
	took     time.Duration
}

// localModel is a model in this process.
type localModel struct {
	*finetune.Model
	name, language string
	sampling       *generate.Sampling
}

func (m *localModel) about() modelInfo {
	c := withTexts(m.Contract())
	return modelInfo{m.name, c.Title, c.Description, c.Examples, c.Schema}
}

func (m *localModel) close() error { return m.Close() }

func (m *localModel) askAll(ctx context.Context, questions []string, onText func(string), onAnswer func(reply)) error {
	start := time.Now()
	opts := finetune.AskOptions{
		Language: m.language, Sampling: m.sampling,
		OnAnswer: func(_ int, a finetune.Answer) { onAnswer(replyOf(a, start)) },
	}
	if onText != nil {
		opts.OnText = func(_ int, piece string) { onText(piece) }
	}
	_, err := m.AskAll(ctx, questions, opts)
	return err
}

func (m *localModel) converse(ctx context.Context, messages []chatml.Message, onText func(string)) (reply, error) {
	start := time.Now()
	a, err := m.Chat(ctx, messages, finetune.ChatOptions{Sampling: m.sampling, OnText: onText})
	return replyOf(a, start), err
}

func replyOf(a finetune.Answer, start time.Time) reply {
	return reply{a.Text, a.Complete, a.NewTokens, time.Since(start)}
}
