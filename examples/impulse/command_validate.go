package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// sampleQueries are annotated questions for a validation without a test file.
//
//go:embed assets/sample_queries.json
var sampleQueries []byte

// validateOptions are the flags of validate.
type validateOptions struct {
	promptedOptions
	TestFile, Predictions    string
	Rules, Equivalences      string
	SaveResults, TSV, Report string
	Verbose, Constrained     bool
	Overwrite                bool
	Backend                  string
	Limit, BatchSize         int
	Generate                 salamandra.GenerateOptions
}

func newValidateCommand() *cobra.Command {
	o := validateOptions{Generate: salamandra.DefaultGenerateOptions(), BatchSize: 8}
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Ask a model test queries and score its answers",
		Example: `  impulse validate --model-path models/impulse
  impulse validate --model-path models/impulse --test-file data/test/test_set.json --verbose --save-results results.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runValidate(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	o.promptedOptions.addFlags(cmd)
	f.StringVar(&o.TestFile, "test-file", "", "annotated queries, an IMPULSE batch or test file; without it, built-in sample queries")
	f.StringVar(&o.Predictions, "predictions", "", "score the answers in this file, JSONL of {\"id\", \"response\"}, instead of asking a model")
	f.StringVar(&o.Rules, "rules", standardRules, "rule set: standard, or impulse-published as the IMPULSE project scores")
	f.StringVar(&o.Equivalences, "equivalences", "", "directory of equivalence sets")
	f.StringVar(&o.SaveResults, "save-results", "", "write every answer and its score as JSON, for compare")
	f.StringVar(&o.TSV, "tsv", "", "write a table, one line per query")
	f.StringVar(&o.Report, "report", "", "write a page for the browser")
	f.BoolVar(&o.Constrained, "constrained", true, "keep answers to the schema; false asks the bare model")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace files of results that exist")
	f.BoolVar(&o.Verbose, "verbose", false, "show every query with its answer and what is wrong")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.IntVar(&o.Limit, "limit", 0, "ask only the first queries; 0 for all")
	f.IntVar(&o.Generate.MaxNewTokens, "max-new-tokens", o.Generate.MaxNewTokens, "longest answer in tokens")
	f.IntVar(&o.BatchSize, "batch-size", o.BatchSize, "queries computed together")
	f.Float64Var(&o.Generate.Temperature, "temperature", 0, "0 takes the likeliest token; higher draws")
	f.Float64Var(&o.Generate.TopP, "top-p", o.Generate.TopP, "draw from the likeliest tokens that have this probability together")
	f.Float64Var(&o.Generate.RepetitionPenalty, "repetition-penalty", o.Generate.RepetitionPenalty, "above 1 makes repeated tokens less likely")
	f.Uint64Var(&o.Generate.Seed, "seed", 42, "seed of the draws")
	return cmd
}

func (o *promptedOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.ModelPath, "model-path", "", "adapter or model directory, or a hub id (required)")
	f.StringVar(&o.BaseModel, "base-model", "", "base of the adapter, if it is not where the adapter says")
	f.StringVar(&o.PromptFile, "prompt-file", "", "system prompt, instead of the one in prompt.json")
	f.StringVar(&o.Schema, "schema", "", "JSON Schema of the answers, instead of the one in prompt.json")
	f.StringVar(&o.Dtype, "dtype", "auto", "auto, float32, bfloat16 or float16")
	f.BoolVar(&o.Download, "download", false, "fetch the base model that the adapter names if it is not in the local cache")
	f.BoolVar(&o.AllowDrift, "allow-drift", false, "go on although tokenizer or base differ from training")
}

// check lists what is wrong with the flags before any work.
func (o *validateOptions) check() error {
	faults := []error{o.Generate.Validate()}
	for _, f := range []struct {
		flag         string
		value, least int
	}{{"--batch-size", o.BatchSize, 1}, {"--max-new-tokens", o.Generate.MaxNewTokens, 1}, {"--limit", o.Limit, 0}} {
		if f.value < f.least {
			faults = append(faults, fmt.Errorf("%s %d, want %d or more", f.flag, f.value, f.least))
		}
	}
	switch {
	case o.ModelPath == "" && o.Predictions == "":
		faults = append(faults, errors.New("--model-path is required, or --predictions"))
	case o.ModelPath != "" && o.Predictions != "":
		faults = append(faults, errors.New("--model-path and --predictions exclude each other"))
	}
	// The schema is known later, from the model; the rest can be told now.
	if _, err := newRules(o.Rules, o.Equivalences, impulse.Schema(impulse.Current), impulse.Current); err != nil {
		faults = append(faults, err)
	}
	if o.Schema != "" {
		_, err := readSchema(o.Schema)
		faults = append(faults, err)
	}
	outputs := []outputFile{{"--save-results", o.SaveResults}, {"--tsv", o.TSV}, {"--report", o.Report}}
	for _, f := range outputs { // their directory may be new, as the guide's results/ is
		if f.path != "" {
			faults = append(faults, named(f.flag, os.MkdirAll(filepath.Dir(f.path), 0o755)))
		}
	}
	return errors.Join(append(faults, checkOutputs(o.Overwrite, outputs...))...)
}

// scored is a validation's outcome.
type scored struct {
	rules   rules
	results []evalx.Result
}

// runValidate scores a model, or a file of answers. The summary goes to out,
// progress to log.
func runValidate(ctx context.Context, o validateOptions, out, log io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	batches, err := o.readQueries(ctx, out)
	if err != nil {
		return err
	}
	var s scored
	if o.Predictions != "" {
		s, err = o.scoreFile(ctx, batches, out)
	} else {
		device, line, e := openBackend(o.Backend)
		if e != nil {
			return e
		}
		defer device.backend.Finalize()
		fmt.Fprintln(out, line)
		s, err = o.validate(ctx, device, batches, out, log)
	}
	if err != nil {
		return err
	}
	var summary strings.Builder
	if err := s.rules.writeSummary(&summary, s.results); err != nil {
		return err
	}
	text := summary.String()
	if isTerminal(out) {
		text = colour(text)
	}
	if _, err := io.WriteString(out, text); err != nil {
		return err
	}
	return o.save(s, out)
}

// save writes the files that flags ask for.
func (o *validateOptions) save(s scored, out io.Writer) error {
	for _, file := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{o.SaveResults, func(w io.Writer) error { return evalx.WriteJSON(w, s.rules.Name, s.results) }},
		{o.TSV, func(w io.Writer) error { return s.rules.writeTable(w, s.results) }},
		{o.Report, func(w io.Writer) error { return s.rules.writeReport(w, cmp.Or(o.ModelPath, o.Predictions), s.results) }},
	} {
		if file.path == "" {
			continue
		}
		var b bytes.Buffer
		if err := file.write(&b); err != nil {
			return err
		}
		if err := safetensors.WriteFile(file.path, b.Bytes()); err != nil {
			return err
		}
		fmt.Fprintf(out, "wrote %s\n", file.path)
	}
	return nil
}

// scoreFile scores answers that were written down.
func (o *validateOptions) scoreFile(ctx context.Context, batches *impulse.Batches, out io.Writer) (scored, error) {
	schema := impulse.Schema(batches.Variant)
	var err error
	if o.Schema != "" {
		if schema, err = readSchema(o.Schema); err != nil {
			return scored{}, err
		}
	}
	r, err := newRules(o.Rules, o.Equivalences, schema, batches.Variant)
	if err != nil {
		return scored{}, err
	}
	results, unanswered, err := scorePredictionsFile(ctx, o.Predictions, batches.Records, r.Task)
	if len(unanswered) > 0 {
		fmt.Fprintf(out, "warning: %d queries have no answer in %s and count nowhere: %s\n", len(unanswered), o.Predictions, strings.Join(unanswered, ", "))
	}
	return scored{r, results}, err
}

// validate asks the model and scores its answers.
func (o *validateOptions) validate(ctx context.Context, device device, batches *impulse.Batches, out, log io.Writer) (scored, error) {
	p, err := openPrompted(ctx, device, o.promptedOptions, out, log)
	if err != nil {
		return scored{}, err
	}
	defer p.close()
	p.generator.Slots = o.BatchSize
	schema := []byte(p.contract.Schema)
	if schema == nil {
		schema = impulse.Schema(batches.Variant)
	}
	r, err := newRules(o.Rules, o.Equivalences, schema, batches.Variant)
	if err != nil {
		return scored{}, err
	}
	results, err := p.score(ctx, batches.Records, r.Task, o.Constrained, o.Generate, log)
	if err != nil || !o.Verbose {
		return scored{r, results}, err
	}
	for i, result := range results {
		fmt.Fprintf(out, "%q\n%q\n", batches.Records[i].Query, result.Answer)
		if err := evalx.WriteResult(out, result); err != nil {
			return scored{}, err
		}
	}
	return scored{r, results}, nil
}

// readQueries reads annotated queries, the built-in ones without a test file.
func (o *validateOptions) readQueries(ctx context.Context, out io.Writer) (*impulse.Batches, error) {
	var batches *impulse.Batches
	var err error
	if o.TestFile == "" {
		batches, err = impulse.Parse(sampleQueries, "built-in queries", impulse.Options{})
	} else {
		batches, err = impulse.ReadFiles(ctx, []string{o.TestFile}, impulse.Options{})
	}
	if err != nil {
		return nil, err
	}
	for _, w := range batches.Warnings {
		fmt.Fprintf(out, "warning: %v\n", w)
	}
	if o.Limit > 0 && o.Limit < len(batches.Records) {
		batches.Records = batches.Records[:o.Limit]
	}
	return batches, nil
}

// score asks the model all queries and scores its answers.
func (p *prompted) score(ctx context.Context, records []impulse.Record, task evalx.Task, constrained bool, opts salamandra.GenerateOptions, log io.Writer) ([]evalx.Result, error) {
	prompts := make([][]int32, len(records))
	for i, r := range records {
		var err error
		if prompts[i], err = p.prompt(r.Query); err != nil {
			return nil, fmt.Errorf("query %s: %w", r.ID, err)
		}
	}
	longest := 0
	for _, ids := range prompts {
		longest = max(longest, len(ids))
	}
	if room := p.model.Config.MaxPositionEmbeddings - longest; room > 0 && room < opts.MaxNewTokens {
		fmt.Fprintf(log, "answers of at most %d tokens: no more fit beside the longest prompt, of %d\n", room, longest)
		opts.MaxNewTokens = room
	}
	return p.ask(ctx, prompts, records, task, constrained, opts, log)
}

// ask is score with the prompts given, one for each record.
func (p *prompted) ask(ctx context.Context, prompts [][]int32, records []impulse.Record, task evalx.Task, constrained bool, opts salamandra.GenerateOptions, log io.Writer) ([]evalx.Result, error) {
	var err error
	if constrained {
		queries := make([]string, len(records))
		for i, r := range records {
			queries[i] = r.Query
		}
		if opts.Constrain, err = p.constraint(queries); err != nil {
			return nil, err
		}
	}
	start, done, tokens, steps := time.Now(), 0, 0, 0
	bar := newProgress(log, "answering")
	opts.StopTokens = p.stop
	opts.OnAnswer = func(_ int, a salamandra.Generation) {
		done, tokens, steps = done+1, tokens+len(a.IDs), steps+a.Steps
		bar.set(int64(done), int64(len(records)), fmt.Sprintf("%.2f s per query", time.Since(start).Seconds()/float64(done)))
	}
	answers, err := p.generate(ctx, prompts, opts)
	bar.done()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(log, "%d answers, %d tokens in %.1f s: %.2f s and %d steps per query\n",
		len(answers), tokens, time.Since(start).Seconds(), time.Since(start).Seconds()/float64(len(answers)), steps/max(len(answers), 1))
	results := make([]evalx.Result, len(records))
	for i, r := range records {
		want, err := evalx.Parse(r.Answer)
		if err != nil {
			return nil, fmt.Errorf("annotation of %s: %w", r.ID, err)
		}
		results[i] = task.Score(want, p.tokenizer.Decode(answers[i].IDs, true))
		results[i].ID = r.ID
	}
	return results, nil
}
