package finetune

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/prompt"
	"github.com/impulse-salamandra/finetune/internal/runlog"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// heldOut is a held-out example as it is asked.
type heldOut struct {
	id, question, answer string
	prompt               []int32 // all before the answer
	tokens               int     // of the answer
}

func questionsOf(held []dataset.Example) []heldOut {
	var list []heldOut
	for _, e := range held {
		end := len(e.Train) - 1
		for !e.Train[end] {
			end--
		}
		start := end
		for start > 0 && e.Train[start-1] {
			start--
		}
		list = append(list, heldOut{e.ID, e.Question, e.Answer, e.IDs[:start], end - start})
	}
	return list
}

// settleTask makes the task that held-out answers are scored by, of the contract's
// schema and all answers if the options' task is without rules. It refuses what no
// score can be taken of.
func (r *run) settleTask(records []dataset.Record) error {
	o := &r.o
	r.task = o.Task
	if o.Metric == "loss" {
		return nil
	}
	metric := o.name("Metric") + " " + o.Metric
	if len(r.questions) == 0 {
		return fmt.Errorf("%s needs held-out examples, and all questions are near duplicates of one another: none can be held out", metric)
	}
	wrong := faults.List{Subject: metric}
	for _, q := range r.questions {
		_, err := evalx.Parse(q.answer)
		wrong.Add("held-out example "+q.id, err)
	}
	if err := wrong.Err(); err != nil {
		return err
	}
	if !hasRules(r.task) {
		var err error
		if r.task, err = r.deriveTask(records); err != nil {
			return fmt.Errorf("%s: %w", metric, err)
		}
	}
	if len(r.task.Fields) == 0 && o.Metric == "strict" {
		return fmt.Errorf("%s: no field of the answers is compared", metric)
	}
	return nil
}

// hasRules reports whether a task says how answers are scored.
func hasRules(t evalx.Task) bool { return t.Fields != nil || t.Passed != nil }

// deriveTask makes a task of the contract's schema and the answers to records.
func (r *run) deriveTask(records []dataset.Record) (task evalx.Task, err error) {
	o, c := &r.o, &r.plan.Contract
	opts := evalx.TaskOptions{
		Name: o.Task.Name, Schema: o.Task.Schema, Groups: o.Task.Groups, Comparators: o.Comparators, Ignore: slices.Collect(maps.Keys(c.RequestValues)),
	}
	if opts.Schema == nil && c.Schema != nil {
		if opts.Schema, err = evalx.CompileSchema(o.name("Contract.Schema"), c.Schema); err != nil {
			return task, err
		}
	}
	for _, record := range records {
		if want, err := evalx.Parse(record.Answer()); err == nil { // those to train may be anything
			opts.Answers = append(opts.Answers, want)
		}
	}
	if task, err = evalx.NewTask(opts); err != nil && o.Comparators != nil {
		err = fmt.Errorf("%s: %w", o.name("Comparators"), err)
	}
	return task, err
}

// asker asks the adapter in training held-out questions, for the score and for
// samples. It is for runs with held-out examples; the zero value asks nothing.
type asker struct {
	r         *run
	variant   *variant      // the adapter in training
	samples   int           // questions to ask for samples
	leastTime time.Duration // that asking for samples may always take
}

// newAsker makes the asker that the run needs.
func (r *run) newAsker() (*asker, error) {
	a := &asker{r: r, leastTime: time.Minute}
	a.samples = min(r.o.Samples, len(r.questions))
	scored := r.o.Metric != "loss" && r.plan.Eval != nil
	if !scored && a.samples == 0 {
		return a, nil
	}
	stop, err := prompt.StopTokens(r.tokenizer, r.plan.Contract, r.model.Config.EOSTokenID)
	if err != nil {
		return nil, err
	}
	base := &sharedBase{device: r.device, model: r.model, config: r.model.Config, tokenizer: r.tokenizer}
	a.variant = &variant{base: base, generator: generate.New(r.model, r.layers), layers: r.layers, replicas: r.replicas}
	if a.variant.prompt, err = prompt.New(r.plan.Contract, prompt.NewTokens(r.tokenizer, stop), nil, 0); err != nil {
		return nil, err
	}
	if !scored {
		a.variant.generator.Slots = a.samples
		return a, nil
	}
	if err := a.variant.prompt.SchemaError(); err != nil && !a.unconstrained() {
		return nil, fmt.Errorf("%s %s: %w", r.o.name("Metric"), r.o.Metric, err)
	}
	return a, nil
}

func (a *asker) close() {
	if a.variant != nil && !a.r.hung() {
		a.variant.generator.Close() // the adapter stays the trainer's
	}
}

// unconstrained reports whether answers for the score are not kept to a schema.
func (a *asker) unconstrained() bool {
	o := &a.r.o
	return o.Unconstrained || o.Metric == "validity" || o.Contract.Schema == nil
}

// options are how questions are asked: an answer twice as long as the right ones
// has gone astray.
func (a *asker) options(questions []heldOut) ([][]int32, generate.Options) {
	opts := generate.DefaultOptions()
	opts.StopTokens, opts.MaxNewTokens = a.variant.prompt.Tokens.Stop, 0
	prompts := make([][]int32, len(questions))
	for i, q := range questions {
		prompts[i] = q.prompt
		opts.MaxNewTokens = max(opts.MaxNewTokens, 2*q.tokens)
	}
	return prompts, opts
}

// progress reports that a phase begins, and returns what reports each answer.
func (a *asker) progress(phase string, total int) (answered func()) {
	opts, done := a.r.o.open(), int64(0)
	opts.progress(phase, done, int64(total))
	return func() {
		done++
		opts.progress(phase, done, int64(total))
	}
}

// score asks the adapter as it is now, and returns the share that the metric is. Of
// several processes each asks some of the questions, and rank 0 scores all.
func (a *asker) score(ctx context.Context) (float64, error) {
	questions, o := a.r.questions, &a.r.o
	if err := a.variant.generator.Swap(a.r.layers); err != nil { // it has changed
		return 0, err
	}
	results, every := make([]evalx.Result, len(questions)), make([]int, len(questions))
	for i := range every {
		every[i] = i
	}
	taken := a.progress("answering held-out questions", len(questions))
	err := inTurn(ctx, o.Ranks, every, a.answer, func(i int, ids []int32) (err error) {
		taken()
		results[i], err = a.scored(questions[i], ids)
		return err
	})
	if err != nil || o.follows() {
		return 0, err
	}
	counts := evalx.Summarize(results).Overall
	share, _ := map[string]evalx.Share{"strict": counts.AllCorrect, "relaxed": counts.Passed, "validity": counts.ValidJSON}[o.Metric].Value()
	return share, nil
}

// answer answers some of the held-out questions for the score.
func (a *asker) answer(ctx context.Context, own []int, answered func(i int, ids []int32)) error {
	questions := a.r.questions
	all, opts := a.options(questions)
	prompts := make([][]int32, len(own))
	for row, i := range own {
		prompts[row] = all[i]
	}
	if !a.unconstrained() {
		opts.Constrain = func(row int) (*constrain.Matcher, error) {
			return a.variant.prompt.Constraint(questions[own[row]].question, "")
		}
	}
	opts.OnAnswer = func(row int, g generate.Generation) { answered(own[row], g.IDs) }
	_, err := a.variant.generate(ctx, prompts, opts)
	return err
}

// scored scores an answer.
func (a *asker) scored(q heldOut, ids []int32) (evalx.Result, error) {
	want, err := evalx.Parse(q.answer)
	if err != nil {
		return evalx.Result{}, fmt.Errorf("answer of held-out example %s: %w", q.id, err)
	}
	return a.r.task.Score(want, a.r.tokenizer.Decode(ids, true)), nil
}

// sampled are the questions asked for samples, in equal steps from all.
func (a *asker) sampled() []heldOut {
	held := a.r.questions
	list := make([]heldOut, a.samples)
	for i := range list {
		list[i] = held[i*len(held)/a.samples]
	}
	return list
}

// sample has some questions answered, not kept to a schema: what was learned is to
// be seen. It takes a minute at most or, if that is more, a tenth of the time of
// the epoch: an adapter that has learned little does not come to an end.
func (a *asker) sample(ctx context.Context, e train.Epoch) ([]runlog.Sample, error) {
	generator, questions := a.variant.generator, a.sampled()
	if err := generator.Swap(a.r.layers); err != nil { // it has changed
		return nil, err
	}
	prompts, opts := a.options(questions)
	samples, tokens := make([]runlog.Sample, len(prompts)), make([][]int32, len(prompts))
	written := a.progress("writing sample answers", len(prompts))
	opts.OnAnswer = func(int, generate.Generation) { written() }
	opts.OnToken = func(row int, id int32) { tokens[row] = append(tokens[row], id) }
	limited, cancel := context.WithTimeout(ctx, max(a.leastTime, e.Duration/10))
	defer cancel()
	answers, err := a.variant.generate(limited, prompts, opts)
	late := limited.Err() != nil && ctx.Err() == nil
	if err != nil && !late {
		return nil, err
	}
	for i, q := range questions {
		samples[i] = runlog.Sample{ID: q.id, Query: q.question, Expected: q.answer, Timeout: err != nil}
		if err == nil {
			tokens[i], samples[i].Complete = answers[i].IDs, answers[i].Stopped
		}
		samples[i].Answer = a.r.tokenizer.Decode(tokens[i], true)
	}
	// What the prompts share is computed anew next time: the memory is the
	// trainer's until then.
	return samples, generator.Swap(a.r.layers)
}
