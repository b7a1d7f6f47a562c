// Package ranks brings values from one to another of the processes that work
// together.
package ranks

import (
	"context"
	"encoding/json"
)

// Line is what messages go through, as train.Ranks has it.
type Line interface {
	Send(ctx context.Context, to int, message []byte) error
	Receive(ctx context.Context, from int) ([]byte, error)
}

// Tell sends a value, as JSON, to a process, which has to [Hear] it.
func Tell(ctx context.Context, l Line, to int, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return l.Send(ctx, to, text)
}

// Hear receives what a process tells next into value, a pointer.
func Hear(ctx context.Context, l Line, from int, value any) error {
	text, err := l.Receive(ctx, from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, value)
}
