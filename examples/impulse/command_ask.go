package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// askOptions are the flags of ask.
type askOptions struct {
	modelOptions
	URL, APIKey, ModelName string
	Language, Backend      string
	Free, JSON, Lines      bool
	MaxNewTokens           int
	Sampling               generate.Sampling
	flags                  *pflag.FlagSet
}

// apiKeyVariable holds a key where --api-key, which other users of a machine can
// see, is not given.
const apiKeyVariable = "IMPULSE_API_KEY"

func newAskCommand() *cobra.Command {
	o := askOptions{Sampling: generate.Greedy()}
	cmd := &cobra.Command{
		Use:   "ask [flags] [QUESTION]",
		Short: "Ask a model or a server: one question, standard input, or a conversation",
		Long: `Ask a model, an adapter or a running server. The question is the argument or, where
there is none, all of standard input; at a terminal questions are read one after
another, with earlier ones at the arrow keys, /help for what else there is, and
Ctrl-C to stop an answer.

Answers are kept to the model's schema; a model without one answers in free text, as
any does with --free. With --json an answer is one line of JSON: the answer itself, or
free text as a JSON string.`,
		Example: `  impulse ask --model-path models/impulse "projectes d'hidrogen verd a Catalunya"
  impulse ask --model-path models/tickets --json < ticket.txt | jq .priority
  impulse ask --model-path models/tickets --lines < questions.txt > answers.jsonl
  impulse ask --url http://localhost:8000`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && isModelDir(args[0]) {
				return explainArgument(cmd, args[0])
			} else if len(args) > 1 {
				return fmt.Errorf("ask takes one question, and %d words are given: put it in quotes", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAsk(cmd.Context(), &o, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.modelOptions.addFlags(cmd)
	o.flags = cmd.Flags()
	f := o.flags
	f.StringVar(&o.URL, "url", "", "address of a running server, instead of --model-path")
	f.StringVar(&o.APIKey, "api-key", "", "key of the server; without it, what "+apiKeyVariable+" holds")
	f.StringVar(&o.ModelName, "model-name", "", "which of the server's models to ask; without it, the first")
	f.StringVar(&o.Language, "language", "", "language that the answer is to say, where the schema has a place for it")
	f.BoolVar(&o.Free, "free", false, "answers in free text, not kept to the schema")
	f.BoolVar(&o.JSON, "json", false, "one line of JSON for each answer")
	f.BoolVar(&o.Lines, "lines", false, "each line of standard input is a question; implies --json")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.IntVar(&o.MaxNewTokens, "max-new-tokens", 512, "longest answer in tokens")
	addSamplingFlags(f, &o.Sampling)
	return cmd
}

// addSamplingFlags adds the flags that say how tokens are chosen.
func addSamplingFlags(f *pflag.FlagSet, s *generate.Sampling) {
	f.Float64Var(&s.Temperature, "temperature", s.Temperature, "0 takes the likeliest token; higher draws")
	f.Float64Var(&s.TopP, "top-p", s.TopP, "draw from the likeliest tokens that have this probability together")
	f.Float64Var(&s.RepetitionPenalty, "repetition-penalty", s.RepetitionPenalty, "above 1 makes repeated tokens less likely")
}

// samplingNames are the flags of what the errors of sampling name.
var samplingNames = strings.NewReplacer("temperature ", "--temperature ", "top-p ", "--top-p ", "repetition penalty ", "--repetition-penalty ")

// checkSampling lists the flags that say how tokens are chosen and are out of range.
func checkSampling(s generate.Sampling) error {
	if err := s.Validate(); err != nil {
		return errors.New(samplingNames.Replace(strings.TrimPrefix(err.Error(), "generate: ")))
	}
	return nil
}

// remoteFlags are the flags that a server is asked with; the others say how a model
// in this process is opened and answers.
var remoteFlags = []string{"url", "api-key", "model-name", "language", "free", "json", "lines", "help"}

// check lists what is wrong with the flags.
func (o *askOptions) check(args []string) error {
	faults := []error{checkSampling(o.Sampling)}
	fault := func(bad bool, format string, values ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, values...))
		}
	}
	fault(o.ModelPath == "" && o.URL == "", "--model-path is required, or --url of a running server")
	fault(o.ModelPath != "" && o.URL != "", "--model-path and --url exclude each other")
	fault(o.MaxNewTokens < 1, "--max-new-tokens %d, want 1 or more", o.MaxNewTokens)
	fault(o.Lines && len(args) > 0, "--lines reads questions from standard input: leave out %q", strings.Join(args, " "))
	fault(o.Free && o.Language != "", "--language goes with answers by the schema, --free is without")
	fault(len(args) > 0 && strings.TrimSpace(strings.Join(args, "")) == "", "the question is blank")
	if o.URL != "" {
		for _, name := range changedFlags(o.flags, remoteFlags) {
			faults = append(faults, fmt.Errorf("--%s has no effect on a server: give it to impulse serve", name))
		}
		return errors.Join(faults...)
	}
	fault(o.APIKey != "", "--api-key goes with --url")
	fault(o.ModelName != "", "--model-name goes with --url")
	return errors.Join(faults...)
}

// changedFlags lists the flags that were given, those of except left out.
func changedFlags(f *pflag.FlagSet, except []string) []string {
	var names []string
	f.Visit(func(flag *pflag.Flag) {
		if !slices.Contains(except, flag.Name) {
			names = append(names, flag.Name)
		}
	})
	return names
}

// runAsk answers what args, the input or a person at a terminal ask. Answers go to
// out, all else to log.
func runAsk(ctx context.Context, o *askOptions, args []string, in io.Reader, out, log io.Writer) error {
	if err := o.check(args); err != nil {
		return err
	}
	var questions []string
	keyboard, atTerminal := terminalOf(in)
	_, shown := terminalOf(out)
	converse := len(args) == 0 && atTerminal && shown && !o.JSON && !o.Lines
	if !converse {
		var err error
		if questions, err = o.questions(args, in); err != nil {
			return err
		}
	}
	r, err := o.connect(ctx, log)
	if err != nil {
		return err
	}
	defer r.close()
	o.Free = o.Free || r.about().Schema == nil && o.Language == ""
	if converse {
		return runConversation(ctx, &conversation{respondent: r, free: o.Free, out: out, log: log}, keyboard)
	}
	return o.answer(ctx, r, questions, out, log)
}

// connect opens the model, or finds the server.
func (o *askOptions) connect(ctx context.Context, log io.Writer) (respondent, error) {
	if o.URL != "" {
		return findServer(ctx, o.URL, cmp.Or(o.APIKey, os.Getenv(apiKeyVariable)), o.ModelName, o.Language)
	}
	m, err := o.open(ctx, finetune.Options{Backend: o.Backend, MaxNewTokens: o.MaxNewTokens, NoWarmUp: true}, log, log)
	if err != nil {
		return nil, err
	}
	return &localModel{Model: m, name: o.ModelPath, language: o.Language, sampling: &o.Sampling}, nil
}

// questions are those of the argument or of standard input.
func (o *askOptions) questions(args []string, in io.Reader) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, named("standard input", err)
	}
	// Windows' editors begin files with a mark and end lines with two characters.
	all := strings.ReplaceAll(strings.TrimPrefix(string(text), "\ufeff"), "\r\n", "\n")
	questions := []string{strings.TrimRight(all, "\n")}
	if o.Lines {
		questions = strings.Split(all, "\n")
	}
	var asked []string
	for _, q := range questions {
		if strings.TrimSpace(q) != "" {
			asked = append(asked, q)
		}
	}
	if len(asked) == 0 {
		return nil, errors.New("no question: give one as the argument or on standard input")
	}
	return asked, nil
}

// answer answers questions in turn. Text is shown as it is written, lines of JSON
// when they are whole.
func (o *askOptions) answer(ctx context.Context, r respondent, questions []string, out, log io.Writer) error {
	if o.JSON || o.Lines {
		return o.answerLines(ctx, r, questions, out, log)
	}
	wait := waitFor(log)
	defer wait.end()
	last := byte('\n')
	onText := func(piece string) {
		wait.end()
		last = piece[len(piece)-1]
		io.WriteString(out, safely(out, piece))
	}
	show := func(a reply) {
		if last != '\n' {
			fmt.Fprintln(out)
		}
		a.warn(log)
	}
	if !o.Free {
		return r.askAll(ctx, questions, onText, show)
	}
	a, err := r.converse(ctx, []chatml.Message{{Role: chatml.User, Content: questions[0]}}, onText)
	if err != nil {
		return err
	}
	show(a)
	return nil
}

func (o *askOptions) answerLines(ctx context.Context, r respondent, questions []string, out, log io.Writer) error {
	show := func(a reply) {
		a.warn(log)
		fmt.Fprintf(out, "%s\n", a.line(o.Free))
	}
	if !o.Free {
		return r.askAll(ctx, questions, nil, show)
	}
	for _, q := range questions {
		a, err := r.converse(ctx, []chatml.Message{{Role: chatml.User, Content: q}}, nil)
		if err != nil {
			return err
		}
		show(a)
	}
	return nil
}

// line is the answer as one line of JSON: what it holds, or free text as a string.
func (a reply) line(free bool) []byte {
	var b bytes.Buffer
	if !free && json.Compact(&b, []byte(a.text)) == nil {
		return b.Bytes()
	}
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.Reset()
	_ = enc.Encode(a.text) // a string
	return bytes.TrimRight(b.Bytes(), "\n")
}

// warn says so if the answer was cut.
func (a reply) warn(log io.Writer) {
	if !a.complete {
		fmt.Fprintf(log, "warning: the answer was cut at %d tokens (--max-new-tokens)\n", a.tokens)
	}
}
