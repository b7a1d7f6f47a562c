package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
)

// conversation is questions of a person at a terminal, and their answers.
type conversation struct {
	respondent
	free     bool
	messages []chatml.Message // in free text, so far
	out, log io.Writer
}

// lineReader reads what a person types; io.EOF is the end.
type lineReader interface {
	readLine(ctx context.Context, prompt string) (string, error)
}

const conversationHelp = `  /schema  show the schema that answers are kept to
  /free    free text, where the model knows what was said before, or the schema again
  /new     begin a new conversation in free text
  /quit    end, as Ctrl-D does
  Ctrl-C stops an answer; the arrow keys bring earlier questions back.
`

// greet says what can be asked.
func (c *conversation) greet() {
	a := c.about()
	title := a.Name
	if a.Title != "" {
		title = a.Title + " (" + a.Name + ")"
	}
	lines := []string{title}
	if a.Description != "" {
		lines = append(lines, a.Description)
	}
	if len(a.Examples) > 0 {
		lines = append(lines, "For example: "+a.Examples[0])
	}
	fmt.Fprintln(c.log, safely(c.log, strings.Join(lines, "\n")))
	fmt.Fprintln(c.log, "/help for help, /quit or Ctrl-D to end")
}

// run answers lines until the last one. interruptible returns the context of one
// answer.
func (c *conversation) run(ctx context.Context, lines lineReader, interruptible func(context.Context) (context.Context, func())) error {
	c.greet()
	for {
		prompt := ">>> "
		if c.free {
			prompt = "free> "
		}
		line, err := lines.readLine(ctx, prompt)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch line = strings.TrimSpace(line); {
		case line == "":
		case line == "/quit" || line == "/exit" || line == "/bye":
			return nil
		case strings.HasPrefix(line, "/"):
			c.command(line)
		default:
			answer, done := interruptible(ctx)
			err := c.answer(answer, line)
			stopped := answer.Err() != nil && ctx.Err() == nil
			done()
			switch {
			case stopped:
				fmt.Fprintln(c.log, "\n(stopped)")
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil: // one question's, not the conversation's
				fmt.Fprintln(c.log, "impulse:", err)
			}
		}
	}
}

// command does what a line that begins with a slash says.
func (c *conversation) command(line string) {
	switch schema := c.about().Schema; line {
	case "/help", "/?":
		io.WriteString(c.log, conversationHelp)
	case "/schema":
		if schema == nil {
			fmt.Fprintln(c.log, "this model has no schema: it answers in free text")
			return
		}
		var b bytes.Buffer
		_ = json.Indent(&b, schema, "", "  ") // it is JSON
		fmt.Fprintln(c.out, safely(c.out, b.String()))
	case "/free":
		if schema == nil {
			fmt.Fprintln(c.log, "this model has no schema: it always answers in free text")
			return
		}
		c.free, c.messages = !c.free, nil
		fmt.Fprintln(c.log, map[bool]string{true: "free text: the answers are not kept to the schema; /free brings it back", false: "answers are kept to the schema"}[c.free])
	case "/new":
		c.messages = nil
	default:
		fmt.Fprintf(c.log, "%s is no command; /help lists them\n", line)
	}
}

// answer shows the answer to a question as it is written.
func (c *conversation) answer(ctx context.Context, question string) error {
	wait := waitFor(c.log)
	defer wait.end()
	onText := func(piece string) {
		wait.end()
		io.WriteString(c.out, safely(c.out, piece))
	}
	show := func(a reply) {
		wait.end()
		fmt.Fprintln(c.out)
		a.warn(c.log)
		fmt.Fprintln(c.log, dim(c.log, fmt.Sprintf("%d tokens in %.1f s", a.tokens, a.took.Seconds())))
	}
	if !c.free {
		return c.askAll(ctx, []string{question}, onText, show)
	}
	messages := append(c.messages[:len(c.messages):len(c.messages)], chatml.Message{Role: chatml.User, Content: question})
	a, err := c.converse(ctx, messages, onText)
	if err != nil {
		return err
	}
	c.messages = append(messages, chatml.Message{Role: chatml.Assistant, Content: a.text})
	show(a)
	return nil
}
