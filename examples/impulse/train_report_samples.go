package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// samplesFile keeps the answers that the page shows.
const samplesFile = "samples.jsonl"

// sample is an answer to a held-out question, as the bare model gave it.
type sample struct {
	Step     int     `json:"step"`
	Epoch    float64 `json:"epoch"`
	ID       string  `json:"id"`
	Query    string  `json:"query"`
	Expected string  `json:"expected"`
	Answer   string  `json:"answer"`
	Complete bool    `json:"complete"` // it came to its end
	Timeout  bool    `json:"timeout"`  // it was given up, see [sampler.ask]
}

// readSamples reads the answers of epochs that ended before a step, since the
// end of an epoch is repeated if its checkpoint is resumed.
func readSamples(path string, step int) ([]sample, error) {
	if step == 0 {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var samples []sample
	n := 0
	for line := range bytes.Lines(text) {
		n++
		var s sample
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if s.Step < step {
			samples = append(samples, s)
		}
	}
	return samples, nil
}

func writeSamples(path string, samples []sample) error {
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	for _, s := range samples {
		if err := lines.Encode(s); err != nil {
			return err
		}
	}
	return safetensors.WriteFile(path, b.Bytes())
}

// sampler asks the adapter in training a few questions.
type sampler struct {
	ctx       context.Context
	r         *trainRun
	generator *salamandra.Generator
	own       bool // the generator is to be closed
	stop      []int32
	questions []question
	least     time.Duration // that asking may always take
}

// newSampler chooses questions in equal steps from the held-out ones; it is nil
// where there are none or none are wanted.
func newSampler(ctx context.Context, r *trainRun, s *scorer) *sampler {
	held := r.data.questions
	n := min(r.o.ReportSamples, len(held))
	if n <= 0 {
		return nil
	}
	a := &sampler{ctx: ctx, r: r, least: time.Minute}
	for i := range n {
		a.questions = append(a.questions, held[i*len(held)/n])
	}
	if s != nil {
		a.generator, a.stop = s.generator, s.stop
		return a
	}
	p := prompted{tokenizer: r.data.tokenizer, model: r.model, generator: salamandra.NewGenerator(r.model, r.layers)}
	p.setStop()
	p.generator.Slots = n
	a.generator, a.own, a.stop = p.generator, true, p.stop
	return a
}

// ask has the questions answered, not kept to a schema: what was learned is to
// be seen. It takes a minute at most or, if that is more, a tenth of the time of
// the epoch: an adapter that has learned little does not come to an end.
func (a *sampler) ask(e train.Epoch) ([]sample, error) {
	if err := a.generator.Swap(a.r.layers); err != nil { // it has changed
		return nil, err
	}
	prompts, opts := a.request()
	samples, tokens := make([]sample, len(prompts)), make([][]int32, len(prompts))
	opts.OnToken = func(row int, id int32) { tokens[row] = append(tokens[row], id) }
	ctx, cancel := context.WithTimeout(a.ctx, max(a.least, e.Duration/10))
	defer cancel()
	answers, err := a.generator.Generate(ctx, prompts, opts)
	late := ctx.Err() != nil && a.ctx.Err() == nil
	if err != nil && !late {
		return nil, err
	}
	for i, q := range a.questions {
		samples[i] = sample{Step: e.Step, Epoch: e.Epoch, ID: q.ID, Query: q.Query, Expected: q.Answer, Timeout: err != nil}
		if err == nil {
			tokens[i], samples[i].Complete = answers[i].IDs, answers[i].Stopped
		}
		samples[i].Answer = a.r.data.tokenizer.Decode(tokens[i], true)
	}
	// What the prompts share is computed anew next time: the memory is the
	// trainer's until then.
	return samples, a.generator.Swap(a.r.layers)
}

// request is the prompts and how they are answered.
func (a *sampler) request() ([][]int32, salamandra.GenerateOptions) {
	opts := salamandra.DefaultGenerateOptions()
	opts.StopTokens, opts.MaxNewTokens = a.stop, 0
	var prompts [][]int32
	room := a.r.model.Config.MaxPositionEmbeddings
	for _, q := range a.questions {
		prompts = append(prompts, q.prompt)
		room = min(room, a.r.model.Config.MaxPositionEmbeddings-len(q.prompt))
		// An answer twice as long as the right ones has gone astray.
		opts.MaxNewTokens = max(opts.MaxNewTokens, 2*q.answer)
	}
	opts.MaxNewTokens = min(opts.MaxNewTokens, room)
	return prompts, opts
}

func (a *sampler) close() {
	if a.own {
		a.generator.Close()
	}
}
