package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// What --metric can be.
const (
	lossMetric     = "loss"
	strictMetric   = "strict"
	relaxedMetric  = "relaxed"
	validityMetric = "validity"
)

// checkMetric refuses a metric that cannot be taken.
func (o *trainOptions) checkMetric() error {
	metrics := []string{lossMetric, strictMetric, relaxedMetric, validityMetric}
	switch {
	case !slices.Contains(metrics, o.Metric):
		return fmt.Errorf("--metric %q, want one of %q", o.Metric, metrics)
	case o.Metric != lossMetric && o.EvalSplit == 0:
		return fmt.Errorf("--metric %s needs held-out examples: --eval-split above 0", o.Metric)
	}
	return nil
}

// question is a held-out example as it is asked.
type question struct {
	impulse.Record
	prompt []int32
	answer int // tokens of the right answer
}

// questions pairs held-out examples with the records they were made of.
func questions(held []dataset.Example, records []dataset.Record) []question {
	byID := map[string]dataset.Record{}
	for i, r := range records {
		byID[nameOf(r, i)] = r
	}
	var list []question
	for _, e := range held {
		end := len(e.Train) - 1
		for !e.Train[end] {
			end--
		}
		start := end
		for start > 0 && e.Train[start-1] {
			start--
		}
		q := question{prompt: e.IDs[:start], answer: end - start}
		q.ID = e.ID
		for _, m := range byID[e.ID].Messages {
			switch m.Role {
			case chatml.User:
				q.Query = m.Content
			case chatml.Assistant:
				q.Answer = m.Content
			}
		}
		list = append(list, q)
	}
	return list
}

// scorer judges the adapter in training by its answers to held-out questions.
type scorer struct {
	prompted
	layers      *lora.Layers
	metric      string
	constrained bool
	questions   []question
	task        evalx.Task
	log         io.Writer
}

// newScorer makes the scorer that --metric asks for, nil for the loss. It says
// how it will ask.
func (r *trainRun) newScorer() (*scorer, error) {
	if r.o.Metric == lossMetric || r.data.eval == nil {
		return nil, nil
	}
	s := &scorer{
		prompted: prompted{contract: r.data.contract, tokenizer: r.data.tokenizer, model: r.model, adapter: r.layers, generator: salamandra.NewGenerator(r.model, r.layers)},
		layers:   r.layers, metric: r.o.Metric, questions: r.data.questions, log: r.log,
	}
	s.setStop()
	s.constrained = r.o.Constrained && s.metric != validityMetric && s.contract.Schema != nil
	schema, variant, name := []byte(s.contract.Schema), impulse.Current, publishedRules
	if bytes.Equal(schema, impulse.Schema(impulse.V1)) {
		variant = impulse.V1
	}
	if schema == nil {
		schema = impulse.Schema(variant)
	}
	if s.metric == validityMetric {
		name = standardRules // the published ones read what is not JSON
	}
	rules, err := newRules(name, "", schema, variant)
	if err != nil {
		return nil, err
	}
	s.task = rules.Task
	var faults []error
	for _, q := range s.questions {
		if _, err := evalx.Parse(q.Answer); err != nil {
			faults = append(faults, fmt.Errorf("--metric %s: answer of held-out example %s: %w", s.metric, q.ID, err))
		}
	}
	how := "as the bare model gives them"
	if s.constrained {
		how = "kept to the schema"
	}
	fmt.Fprintf(r.out, "the best adapter is the one with the highest share of %s answers to %d held-out queries, %s, by the rules %s\n", s.metric, len(s.questions), how, rules.Name)
	return s, errors.Join(faults...)
}

// score asks the adapter as it is now, and returns the share that the metric is.
func (s *scorer) score(ctx context.Context) (float64, error) {
	if err := s.generator.Swap(s.layers); err != nil { // it has changed
		return 0, err
	}
	prompts, records := make([][]int32, len(s.questions)), make([]impulse.Record, len(s.questions))
	opts := salamandra.DefaultGenerateOptions()
	longest := 0
	opts.MaxNewTokens = 0
	for i, q := range s.questions {
		prompts[i], records[i] = q.prompt, q.Record
		// An answer twice as long as the right ones has gone astray.
		opts.MaxNewTokens = max(opts.MaxNewTokens, 2*q.answer)
		longest = max(longest, len(q.prompt))
	}
	opts.MaxNewTokens = min(opts.MaxNewTokens, s.model.Config.MaxPositionEmbeddings-longest)
	results, err := s.ask(ctx, prompts, records, s.task, s.constrained, opts, s.log)
	if err != nil {
		return 0, err
	}
	counts := evalx.Summarize(results).Overall
	share, _ := map[string]evalx.Share{strictMetric: counts.AllCorrect, relaxedMetric: counts.Passed, validityMetric: counts.ValidJSON}[s.metric].Value()
	return share, nil
}
