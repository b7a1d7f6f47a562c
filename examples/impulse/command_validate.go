package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/gomlx/compute"
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
	TestFile, SaveResults string
	Verbose               bool
	Backend               string
	Limit                 int
	Generate              salamandra.GenerateOptions
}

func newValidateCommand() *cobra.Command {
	o := validateOptions{Generate: salamandra.DefaultGenerateOptions()}
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
	f.StringVar(&o.SaveResults, "save-results", "", "write every answer and its score as JSON")
	f.BoolVar(&o.Verbose, "verbose", false, "show every query with its answer and what is wrong")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.IntVar(&o.Limit, "limit", 0, "ask only the first queries; 0 for all")
	f.IntVar(&o.Generate.MaxNewTokens, "max-new-tokens", o.Generate.MaxNewTokens, "longest answer in tokens")
	f.IntVar(&o.Generate.BatchSize, "batch-size", o.Generate.BatchSize, "queries computed together")
	f.Float64Var(&o.Generate.Temperature, "temperature", 0, "0 takes the likeliest token; higher draws")
	f.Float64Var(&o.Generate.TopP, "top-p", o.Generate.TopP, "draw from the likeliest tokens that have this probability together")
	f.Float64Var(&o.Generate.RepetitionPenalty, "repetition-penalty", o.Generate.RepetitionPenalty, "above 1 makes repeated tokens less likely")
	f.Uint64Var(&o.Generate.Seed, "seed", 42, "seed of the draws")
	return cmd
}

func (o *promptedOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.ModelPath, "model-path", "", "adapter or model directory, or a hub id in the local cache (required)")
	f.StringVar(&o.BaseModel, "base-model", "", "base of the adapter, if it is not where the adapter says")
	f.StringVar(&o.PromptFile, "prompt-file", "", "system prompt, instead of the one in prompt.json")
	f.StringVar(&o.Schema, "schema", "", "JSON Schema of the answers, instead of the one in prompt.json")
	f.StringVar(&o.Dtype, "dtype", "auto", "auto, float32, bfloat16 or float16")
	f.BoolVar(&o.AllowDrift, "allow-drift", false, "go on although tokenizer or base differ from training")
}

func (o *promptedOptions) check() error {
	if o.ModelPath == "" {
		return errors.New("--model-path is required")
	}
	return nil
}

// runValidate scores a model. The summary goes to out, progress to log.
func runValidate(ctx context.Context, o validateOptions, out, log io.Writer) error {
	if err := errors.Join(o.check(), o.Generate.Validate()); err != nil {
		return err
	}
	backend, line, err := openBackend(o.Backend)
	if err != nil {
		return err
	}
	defer backend.Finalize()
	fmt.Fprintln(out, line)
	results, err := o.validate(ctx, backend, out, log)
	if err != nil {
		return err
	}
	if err := evalx.WriteText(out, evalx.Summarize(results)); err != nil {
		return err
	}
	if o.SaveResults == "" {
		return nil
	}
	var b bytes.Buffer
	if err := evalx.WriteJSON(&b, "impulse", results); err != nil {
		return err
	}
	if err := safetensors.WriteFile(o.SaveResults, b.Bytes()); err != nil {
		return err
	}
	fmt.Fprintf(out, "results written to %s\n", o.SaveResults)
	return nil
}

// validate asks the model and scores its answers.
func (o *validateOptions) validate(ctx context.Context, backend compute.Backend, out, log io.Writer) ([]evalx.Result, error) {
	batches, err := readQueries(ctx, o.TestFile)
	if err != nil {
		return nil, err
	}
	for _, w := range batches.Warnings {
		fmt.Fprintf(out, "warning: %v\n", w)
	}
	records := batches.Records
	if o.Limit > 0 && o.Limit < len(records) {
		records = records[:o.Limit]
	}
	p, err := openPrompted(ctx, backend, o.promptedOptions, out, log)
	if err != nil {
		return nil, err
	}
	defer p.close()
	results, err := p.score(ctx, records, batches.Variant, o.Generate, log)
	if err != nil || !o.Verbose {
		return results, err
	}
	for i, r := range results {
		fmt.Fprintf(out, "%q\n%q\n", records[i].Query, r.Answer)
		if err := evalx.WriteResult(out, r); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// readQueries reads annotated queries, the built-in ones without a path.
func readQueries(ctx context.Context, path string) (*impulse.Batches, error) {
	if path == "" {
		return impulse.Parse(sampleQueries, "built-in queries", impulse.Options{})
	}
	return impulse.ReadFiles(ctx, []string{path}, impulse.Options{})
}

// score asks the model all queries and scores its answers.
func (p *prompted) score(ctx context.Context, records []impulse.Record, variant impulse.Variant, opts salamandra.GenerateOptions, log io.Writer) ([]evalx.Result, error) {
	schema := []byte(p.contract.Schema)
	if schema == nil {
		schema = impulse.Schema(variant)
	}
	task, err := impulseTask(schema, variant)
	if err != nil {
		return nil, err
	}
	prompts := make([][]int32, len(records))
	for i, r := range records {
		if prompts[i], err = p.prompt(r.Query); err != nil {
			return nil, fmt.Errorf("query %s: %w", r.ID, err)
		}
	}
	start, tokens := time.Now(), 0
	bar := newProgress(log, "answering", int64(len(records)*opts.MaxNewTokens))
	opts.StopTokens = p.stop
	opts.OnToken = func(int, int32) {
		tokens++
		bar.set(int64(tokens), fmt.Sprintf("%d tokens", tokens))
	}
	if p.model.Backend().Name() == goBackendName {
		// Small products run on one thread there: batches side by side instead.
		opts.Parallel = runtime.GOMAXPROCS(0)
		opts.BatchSize = min(opts.BatchSize, (len(prompts)+opts.Parallel-1)/opts.Parallel)
	}
	answers, err := p.generator.Generate(ctx, prompts, opts)
	bar.done()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(log, "%d answers, %d tokens in %.1f s: %.2f s per query\n", len(answers), tokens, time.Since(start).Seconds(), time.Since(start).Seconds()/float64(len(answers)))
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
