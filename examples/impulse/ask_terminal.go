package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/impulse-salamandra/finetune/internal/page"
)

// terminalOf returns the terminal that v is, if it is one.
func terminalOf(v any) (*os.File, bool) {
	if s, ok := v.(*standardOutput); ok {
		v = s.Writer
	}
	f, ok := v.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// safely is text of a model or a server as w may show it: a terminal gets nothing that
// steers it.
func safely(w io.Writer, text string) string {
	if _, ok := terminalOf(w); !ok {
		return text
	}
	parts := strings.Split(text, "\t")
	for i, p := range parts {
		parts[i] = page.PrintableLines(p)
	}
	return strings.Join(parts, "\t")
}

// runConversation runs a conversation at a terminal. Ctrl-C ends the answer that is
// being written, not the conversation; SIGTERM ends both.
func runConversation(parent context.Context, c *conversation, keyboard *os.File) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	var mu sync.Mutex
	interrupt := func() {}
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGTERM {
					cancel(stopped{s})
					return
				}
				mu.Lock()
				interrupt()
				mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	}()
	return c.run(ctx, newKeyboard(keyboard), func(ctx context.Context) (context.Context, func()) {
		answer, stop := context.WithCancel(ctx)
		mu.Lock()
		interrupt = stop
		mu.Unlock()
		return answer, stop
	})
}

// keyboard edits lines, with a history that the arrow keys walk. Between lines the
// terminal is as it was found, so that Ctrl-C is a signal.
type keyboard struct {
	file  *os.File
	lines *term.Terminal
}

func newKeyboard(file *os.File) *keyboard {
	screen := struct {
		io.Reader
		io.Writer
	}{file, file}
	return &keyboard{file, term.NewTerminal(screen, "")}
}

// readLine implements [lineReader]. What is pasted is one question, also where it
// has several lines.
func (k *keyboard) readLine(ctx context.Context, prompt string) (string, error) {
	before, err := term.MakeRaw(int(k.file.Fd()))
	if err != nil {
		return "", named("terminal", err)
	}
	defer term.Restore(int(k.file.Fd()), before)
	if width, height, err := term.GetSize(int(k.file.Fd())); err == nil && width > 0 {
		_ = k.lines.SetSize(width, height)
	}
	k.lines.SetPrompt(prompt)
	k.lines.SetBracketedPasteMode(true)
	defer k.lines.SetBracketedPasteMode(false)
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := k.readPasted()
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		return l.text, l.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (k *keyboard) readPasted() (string, error) {
	var parts []string
	for {
		text, err := k.lines.ReadLine()
		parts = append(parts, text)
		if !errors.Is(err, term.ErrPasteIndicator) {
			return strings.Join(parts, "\n"), err
		}
		k.lines.SetPrompt("... ")
	}
}

// waiting shows the seconds until an answer begins.
type waiting struct {
	stop  chan struct{}
	ended sync.WaitGroup
	once  sync.Once
}

// waitFor shows how long an answer is waited for, if log is a terminal.
func waitFor(log io.Writer) *waiting {
	w := &waiting{stop: make(chan struct{})}
	if _, ok := terminalOf(log); !ok {
		return w
	}
	start := time.Now()
	w.ended.Go(func() {
		ticks := time.NewTicker(time.Second)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				fmt.Fprint(log, "\r", dim(log, fmt.Sprintf("%.0f s", time.Since(start).Seconds())))
			case <-w.stop:
				if time.Since(start) >= time.Second {
					fmt.Fprint(log, "\r\x1b[K")
				}
				return
			}
		}
	})
	return w
}

// end takes the seconds away.
func (w *waiting) end() {
	w.once.Do(func() { close(w.stop) })
	w.ended.Wait()
}

// dim makes text faint on a terminal that shows colours.
func dim(w io.Writer, text string) string {
	if !isTerminal(w) {
		return text
	}
	return "\x1b[2m" + text + "\x1b[0m"
}
