package finetune_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// ticketRecords are n tickets with answers by ticketSchema that repeat the
// question.
func ticketRecords(n int) []dataset.Record {
	var records []dataset.Record
	for i := range n {
		topic := []string{"screen", "network", "other"}[i%3]
		question := fmt.Sprintf("%s: cas %d", topic, i)
		answer := fmt.Sprintf("{\n  \"topic\": %q,\n  \"urgent\": %v,\n  \"question\": %q\n}", topic, i%2 == 0, question)
		records = append(records, dataset.Record{ID: fmt.Sprint("T", i), Messages: []chatml.Message{{Role: chatml.User, Content: question}, {Role: chatml.Assistant, Content: answer}}})
	}
	return records
}

// ticketTraining are the options of a run of 6 steps in 2 epochs, with everything
// that has a state.
func ticketTraining(t *testing.T, dir string) finetune.TrainOptions {
	o := finetune.DefaultTrainOptions()
	o.Model, o.OutputDir, o.Records, o.Backend = salamandratest.Reference(t, "models", "tiny-mha"), dir, ticketRecords(8), "go"
	o.Contract.Schema, o.Contract.SystemPrompt = []byte(ticketSchema), "Sort the ticket."
	o.LoRA.Rank, o.LoRA.Alpha = 2, 4
	o.Train.Epochs, o.Train.LearningRate, o.Train.Checkpoints.Steps = 2, 1e-2, 2
	o.Plan.BatchSize, o.Plan.MaxShapes, o.MaxLength, o.Split.Fraction, o.Split.Similarity = 2, 1, 256, 0.25, 0
	o.Samples = 0
	return o
}

// TestTrain: records in, an adapter directory out that needs nothing else: Open
// knows its base, prompt, schema, and what an answer repeats.
func TestTrain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "adapter")
	o := ticketTraining(t, dir)
	o.Samples = 2
	var plan *finetune.TrainPlan
	var start finetune.TrainStart
	var steps []train.Step
	o.Hooks.Plan = func(p *finetune.TrainPlan) error { plan = p; return nil }
	o.Hooks.Start = func(s finetune.TrainStart) error { start = s; return nil }
	o.Hooks.Step = func(s train.Step) error { steps = append(steps, s); return nil }
	var warnings []string
	o.Warn = func(w string) { warnings = append(warnings, w) }
	r, err := finetune.Train(t.Context(), o)
	check(t, err)
	if len(warnings) > 0 || plan != r.Plan || r.Plan.Train.Len() != 6 || r.Plan.Eval.Len() != 2 || r.Plan.Records != 8 {
		t.Errorf("warnings %q, plan %v", warnings, r.Plan)
	}
	if start.TotalSteps != 6 || start.Parameters == 0 || start.Resumed != nil || len(steps) != 6 || r.Step != 6 || r.Best == nil {
		t.Errorf("start %+v, %d steps, result %+v", start, len(steps), r.Status)
	}
	for _, name := range []string{lora.ConfigFile, lora.WeightsFile, "training_args.json", "metrics.jsonl", "samples.jsonl", "report.html", "checkpoint-last", "checkpoint-6"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	var settings struct {
		Model string
		LoRA  struct{ R int }
		Train struct {
			LearningRate float64 `json:"learning_rate"`
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "training_args.json"))
	check(t, err)
	check(t, json.Unmarshal(text, &settings))
	if settings.Model != o.Model || settings.LoRA.R != 2 || settings.Train.LearningRate != 1e-2 {
		t.Errorf("settings %s", text)
	}
	m, opened := open(t, dir, finetune.Options{})
	if c := m.Contract(); c.SystemPrompt != "Sort the ticket." || c.RequestValues["question"] != chatml.Question || len(c.RequestValues) != 1 || c.BaseSHA256 == "" {
		t.Errorf("contract %+v", c)
	}
	a, err := m.Ask(t.Context(), "el portal no va")
	check(t, err)
	read(t, a, "el portal no va")
	if len(*opened) > 0 {
		t.Errorf("warnings %q", *opened)
	}
}

// weightsOf are the bytes of an adapter's weights.
func weightsOf(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, lora.WeightsFile))
	check(t, err)
	return string(data)
}

// TestTrainResumes: a run that is stopped anywhere says where its checkpoint is,
// and goes on from it to the bytes of one that nothing disturbed; one that has
// changed is refused, by settings.
func TestTrainResumes(t *testing.T) {
	root := t.TempDir()
	whole, cut := filepath.Join(root, "whole"), filepath.Join(root, "cut")
	_, err := finetune.Train(t.Context(), ticketTraining(t, whole))
	check(t, err)

	o := ticketTraining(t, cut)
	ctx, cancel := context.WithCancel(t.Context())
	o.Hooks.Step = func(s train.Step) error {
		if s.Step == 4 {
			cancel()
		}
		return nil
	}
	r, err := finetune.Train(ctx, o)
	if !errors.Is(err, context.Canceled) || r.Saved != filepath.Join(cut, "checkpoint-4") {
		t.Fatalf("%v, %+v", err, r.Status)
	}
	if _, err := finetune.Train(t.Context(), o); err == nil || !strings.Contains(err.Error(), "holds a run that was not finished: go on with Resume, or start anew with Overwrite") {
		t.Errorf("without Resume: %v", err)
	}
	o = ticketTraining(t, cut)
	o.Resume, o.Train.LearningRate = true, 2e-2
	var changed *train.ChangedError
	if _, err := finetune.Train(t.Context(), o); !errors.As(err, &changed) || len(changed.Differences) != 1 || changed.Differences[0] != (train.Difference{Setting: "learning_rate", Then: "0.01", Now: "0.02"}) {
		t.Errorf("another rate: %v", err)
	}
	o.Train.LearningRate = 1e-2
	o.Hooks.Start = func(s finetune.TrainStart) error {
		if s.Resumed == nil || s.Step != 4 || len(s.Losses) != 4 {
			t.Errorf("start %+v", s)
		}
		return nil
	}
	_, err = finetune.Train(t.Context(), o)
	check(t, err)
	if weightsOf(t, whole) != weightsOf(t, cut) {
		t.Error("the weights differ")
	}
}

// TestTrainByScore: the best adapter by the share of right answers, by rules made
// of the schema, and a mean of checkpoints.
func TestTrainByScore(t *testing.T) {
	o := ticketTraining(t, t.TempDir())
	o.Metric, o.Average.Checkpoints = "strict", 2
	asked := 0
	o.Progress = func(phase string, done, total int64) {
		if phase == "answering held-out questions" && done > 0 && total == 2 {
			asked++
		}
	}
	var scores []float64
	o.Hooks.Evaluation = func(e train.Evaluation) error { scores = append(scores, *e.Score); return nil }
	r, err := finetune.Train(t.Context(), o)
	check(t, err)
	if len(scores) != 2 || slices.Max(scores) != *r.Best.Score || asked != 4 {
		t.Errorf("scores %v, best %+v, %d questions", scores, r.Best, asked)
	}
	if r.Mean == nil || len(r.Mean.Checkpoints) != 2 || r.Mean.Loss == 0 || r.Last == "" {
		t.Errorf("mean %+v", r.Mean)
	}
	a, err := lora.ReadAdapter(o.OutputDir)
	check(t, err)
	if a.Config.Rank != 4 {
		t.Errorf("rank %d, want the sum of two ranks", a.Config.Rank)
	}
}

// answering counts the answers that a rank sends.
type answering struct {
	line
	sent *atomic.Int32
}

func (a answering) Send(ctx context.Context, to int, message []byte) error {
	if bytes.HasPrefix(message, []byte(`{"Question":`)) {
		a.sent.Add(1)
	}
	return a.line.Send(ctx, to, message)
}

// TestTrainByScoreInRanks: processes share the held-out questions that the metric is
// taken of, and leave the scores and the adapter of one.
func TestTrainByScoreInRanks(t *testing.T) {
	with := func(n int) (scores []float64, adapter string, sent int32) {
		dir, answers := t.TempDir(), new(atomic.Int32)
		check(t, together(t.Context(), n, func(ctx context.Context, l line) error {
			o := ticketTraining(t, dir)
			o.Metric, o.Split.Fraction, o.Ranks = "relaxed", 0.4, answering{l, answers}
			o.Train.GradientAccumulationSteps = 2
			o.Hooks.Evaluation = func(e train.Evaluation) error { scores = append(scores, *e.Score); return nil }
			o.Hooks.Step = func(s train.Step) error {
				if n > 1 && s.Step == 1 && len(s.Busy) != 2 {
					t.Errorf("%d processes: busy %v", n, s.Busy)
				}
				return nil
			}
			_, err := finetune.Train(ctx, o)
			return err
		}))
		return scores, weightsOf(t, dir), answers.Load()
	}
	want, adapter, _ := with(1)
	for n := 2; n <= 3; n++ {
		got, same, sent := with(n)
		if !slices.Equal(got, want) || len(got) != 2 || same != adapter {
			t.Errorf("%d processes: scores %v, want %v", n, got, want)
		}
		if held := 3; int(sent) != 2*(held-(held+n-1)/n) {
			t.Errorf("%d processes: rank 0 was sent %d answers", n, sent)
		}
	}
}

// TestTrainInitAdapter: an adapter goes on as it is, and settings that say
// otherwise are refused with both values.
func TestTrainInitAdapter(t *testing.T) {
	first := t.TempDir()
	o := ticketTraining(t, first)
	o.Train.MaxSteps = 1
	_, err := finetune.Train(t.Context(), o)
	check(t, err)
	o = ticketTraining(t, t.TempDir())
	o.InitAdapter, o.Train.MaxSteps, o.LoRA.Rank, o.LoRA.TargetModules = first, 1, 8, []string{"q_proj"}
	_, err = finetune.Train(t.Context(), o)
	for _, want := range []string{"LoRA.Rank 8: the adapter of InitAdapter " + first + " has 2", "LoRA.TargetModules q_proj: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	o.LoRA = lora.Config{}
	r, err := finetune.Train(t.Context(), o)
	check(t, err)
	a, err := lora.ReadAdapter(o.OutputDir)
	check(t, err)
	if a.Config.Rank != 2 || a.Config.Dropout != 0.05 || r.Step != 1 {
		t.Errorf("%+v", a.Config)
	}
	o.Resume, o.InitAdapter = true, o.OutputDir
	var changed *train.ChangedError
	if _, err := finetune.Train(t.Context(), o); !errors.As(err, &changed) || changed.Differences[0].Setting != "adapter to start from" {
		t.Errorf("resumed from another adapter: %v", err)
	}
}

// TestTrainDryRun plans, needs no output directory and writes nothing.
func TestTrainDryRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	for _, output := range []string{"", dir} {
		o := ticketTraining(t, output)
		o.DryRun = true
		r, err := finetune.Train(t.Context(), o)
		check(t, err)
		if r.Plan == nil || r.Plan.Memory.Total() == 0 || !strings.Contains(r.Plan.String(), "training on 6 examples") {
			t.Errorf("plan %v", r.Plan)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a dry run made its output directory")
	}
}

// TestTrainLayout: answers keep their layout and order of keys, which go into the
// contract; those that look otherwise are refused, or rewritten if asked for.
func TestTrainLayout(t *testing.T) {
	oneLine := func() finetune.TrainOptions {
		o := ticketTraining(t, "")
		o.DryRun = true
		for i := range o.Records {
			var a struct {
				Urgent   bool   `json:"urgent"`
				Question string `json:"question"`
				Topic    string `json:"topic"`
			}
			check(t, json.Unmarshal([]byte(o.Records[i].Answer()), &a))
			text, err := json.Marshal(a)
			check(t, err)
			o.Records[i].Messages[1].Content = string(text)
		}
		return o
	}
	want := chatml.Layout{ItemSeparator: ",", KeySeparator: ":"}
	r, err := finetune.Train(t.Context(), oneLine())
	check(t, err)
	order := regexp.MustCompile(`"urgent":.*"question":.*"topic":`)
	if c := r.Plan.Contract; c.Layout != want || !order.Match(c.Schema) || c.RequestValues["question"] != chatml.Question {
		t.Errorf("contract %+v", c)
	}
	mixed := oneLine()
	mixed.Records[0].Messages[1].Content = ticketRecords(1)[0].Answer()
	_, err = finetune.Train(t.Context(), mixed)
	if err == nil || !strings.Contains(err.Error(), `record "T0": answer: it is laid out with indent 2`) || !strings.Contains(err.Error(), "NormaliseAnswers rewrites") {
		t.Error(err)
	}
	mixed.NormaliseAnswers = true
	r, err = finetune.Train(t.Context(), mixed)
	check(t, err)
	if r.Plan.Rewritten != 1 || r.Plan.Contract.Layout != want || !strings.Contains(r.Plan.String(), "1 answers rewritten") {
		t.Errorf("%d rewritten, %v", r.Plan.Rewritten, r.Plan)
	}
}

// TestTrainRefuses: what could not end well is refused before anything is loaded,
// all at once, with the way out.
func TestTrainRefuses(t *testing.T) {
	full := t.TempDir()
	check(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o644))
	answer := func(i int, text string) func(*finetune.TrainOptions) {
		return func(o *finetune.TrainOptions) { o.Records[i].Messages[1].Content = text }
	}
	for _, row := range []struct {
		name   string
		change func(*finetune.TrainOptions)
		want   []string
	}{
		{"nothing given", func(o *finetune.TrainOptions) { *o = finetune.TrainOptions{} }, []string{"Model is required", "Data is required", "OutputDir is required", "0 epochs", "MaxLength 0", "Plan.BatchSize 0"}},
		{"settings", func(o *finetune.TrainOptions) {
			o.Split.Fraction, o.Metric, o.Samples, o.Average.Checkpoints, o.Dtype, o.Contract.Date = 2, "best", -1, 1, "int8", "today"
		}, []string{"Split.Fraction 2", `Metric "best"`, "Samples -1", "Average.Checkpoints 1", `Dtype "int8"`, `Contract.Date "today"`}},
		{"a metric of nothing", func(o *finetune.TrainOptions) { o.Metric, o.Split.Fraction = "strict", 0 }, []string{"Metric strict needs held-out examples: Split.Fraction above 0"}},
		{"comparators without a use", func(o *finetune.TrainOptions) { o.Comparators = []byte("{}") }, []string{"Comparators goes with Metric strict or relaxed"}},
		{"comparators of another task", func(o *finetune.TrainOptions) {
			o.Metric, o.Comparators = "relaxed", []byte(`{"amount": {"numeric": 1}}`)
		}, []string{"Metric relaxed: Comparators: amount: no answer has this path; there are (whole answer), topic, urgent"}},
		{"nothing compared", func(o *finetune.TrainOptions) {
			o.Metric, o.Comparators = "strict", []byte(`{"topic": "ignore", "urgent": "ignore"}`)
		}, []string{"Metric strict: no field of the answers is compared"}},
		{"a score of free text", func(o *finetune.TrainOptions) {
			o.Metric, o.Contract.Schema = "strict", nil
			for i := range o.Records {
				o.Records[i].Messages[1].Content = "Sorry."
			}
		}, []string{"Metric strict: held-out example T", "answer, line 1, column 1", "; also held-out example T"}},
		{"nothing held out", func(o *finetune.TrainOptions) { o.Metric, o.Split.Similarity = "strict", 0.1 }, []string{"Metric strict needs held-out examples, and all questions are near duplicates"}},
		{"output in use", func(o *finetune.TrainOptions) { o.OutputDir = full }, []string{full + " is not empty; choose another or say Overwrite"}},
		{"devices", func(o *finetune.TrainOptions) { o.Devices = "two" }, []string{"Devices \"two\", want auto, all, how many, or a list of GPUs"}},
		{"devices that are not there", func(o *finetune.TrainOptions) { o.Devices = "2" }, []string{"devices 2: backend go:ops_sequential has 1"}},
		{"nothing to resume", func(o *finetune.TrainOptions) { o.OutputDir, o.Resume = full, true }, []string{"holds other files and no run to resume"}},
		{"targets", func(o *finetune.TrainOptions) {
			o.LoRA.TargetModules, o.MaxLength = []string{"q_proj", "lm_head", "x"}, 1<<20
		},
			[]string{"LoRA.TargetModules lm_head: no adapter can be on", "LoRA.TargetModules x: the model has no such layer", "MaxLength 1048576: the model has"}},
		{"no answer of the schema", answer(3, `{"topic": "printer"}`), []string{"Contract.Schema: 1 of 8 answers do not comply", `record "T3": answer /question: `}},
		{"an earlier turn", func(o *finetune.TrainOptions) {
			o.Records[2].Messages = append([]chatml.Message{{Role: chatml.User, Content: "Hola"}, {Role: chatml.Assistant, Content: "Bon dia"}}, o.Records[2].Messages...)
		}, []string{`1 of 9 answers`, `answers of earlier turns that are not to be learned have "weight": 0`, `record "T2": answer 1: answer, line 1`}},
		{"no JSON", answer(1, `sorry`), []string{`record "T1": answer, line 1`}},
		{"a prompt of its own", func(o *finetune.TrainOptions) {
			o.Records[0].Messages = append([]chatml.Message{{Role: chatml.System, Content: "Else."}}, o.Records[0].Messages...)
		}, []string{`Contract.SystemPrompt does not apply: `, `record "T0": the record has a system prompt of its own`}},
		{"tested on what is trained", func(o *finetune.TrainOptions) { o.Test = ticketRecords(1) }, []string{"Test: 1 of 1 test queries are in the training data", "say AllowTestOverlap"}},
		{"too many to average", func(o *finetune.TrainOptions) { o.Average.Checkpoints = 9 }, []string{"Average.Checkpoints 9: this run writes 4"}},
	} {
		o := ticketTraining(t, filepath.Join(t.TempDir(), "out"))
		row.change(&o)
		o.Hooks.Plan = func(*finetune.TrainPlan) error { t.Errorf("%s: it was planned", row.name); return nil }
		_, err := finetune.Train(t.Context(), o)
		for _, want := range row.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", row.name, err, want)
			}
		}
	}
}

// TestTrainTriesTheOutputOnce: rank 0 holds the output directory while the others
// begin; who else comes is refused.
func TestTrainTriesTheOutputOnce(t *testing.T) {
	dir := t.TempDir()
	release, err := atomicfile.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for rank, busy := range []bool{true, false} {
		o := ticketTraining(t, dir)
		o.Ranks = line{rank: rank, lines: make([][]chan []byte, 2)}
		if err := o.Validate(); errors.Is(err, atomicfile.ErrBusy) != busy {
			t.Errorf("rank %d: %v, want a directory in use: %v", rank, err, busy)
		}
	}
}

// TestTrainComparators: the best adapter is the one that scores best by the file of
// comparators; where nothing is left to compare, whatever keeps to the schema passes.
func TestTrainComparators(t *testing.T) {
	o := ticketTraining(t, filepath.Join(t.TempDir(), "adapter"))
	o.Metric, o.Comparators, o.Train.Epochs, o.Train.MaxSteps = "relaxed", []byte(`{"topic": "ignore", "urgent": "ignore"}`), 1, 1
	result, err := finetune.Train(t.Context(), o)
	check(t, err)
	if b := result.Best; b == nil || b.Score == nil || *b.Score != 1 {
		t.Errorf("best %+v, want the score 1", b)
	}
	o.OutputDir, o.Comparators = filepath.Join(t.TempDir(), "strict"), []byte(`{"topic": "exact"}`)
	result, err = finetune.Train(t.Context(), o)
	check(t, err)
	if b := result.Best; b == nil || b.Score == nil || *b.Score == 1 {
		t.Errorf("best %+v, want a score below 1: one step learns nothing", b)
	}
}

// TestTrainIDsExist: an id that the model has no row for is refused wherever it
// stands in an example, with its record; a tokenizer with more ids than rows that
// no example uses is a warning.
func TestTrainIDsExist(t *testing.T) {
	model := copyDir(t, salamandratest.Reference(t, "models", "tiny-mha"), nil)
	path := filepath.Join(model, "tokenizer.json")
	text, err := os.ReadFile(path)
	check(t, err)
	var tokenizer map[string]json.RawMessage
	check(t, json.Unmarshal(text, &tokenizer))
	var config struct {
		Rows int `json:"vocab_size"`
	}
	text, err = os.ReadFile(filepath.Join(model, "config.json"))
	check(t, err)
	check(t, json.Unmarshal(text, &config))
	var added []map[string]any
	check(t, json.Unmarshal(tokenizer["added_tokens"], &added))
	added = append(added, map[string]any{"id": config.Rows, "content": "<extra0>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false})
	tokenizer["added_tokens"], err = json.Marshal(added)
	check(t, err)
	text, err = json.Marshal(tokenizer)
	check(t, err)
	check(t, os.WriteFile(path, text, 0o644))

	for _, message := range []int{0, 1} {
		o := ticketTraining(t, filepath.Join(t.TempDir(), "out"))
		o.Model, o.Contract.Schema = model, nil
		o.Records[2].Messages[message].Content += " <extra0>"
		_, err = finetune.Train(t.Context(), o)
		want := fmt.Sprintf(`record "T2": token "<extra0>" has id %d, and the model knows ids from 0 to %d`, config.Rows, config.Rows-1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("in message %d: %v, want %s", message, err, want)
		}
	}
	o := ticketTraining(t, "")
	o.Model, o.DryRun = model, true
	var warnings []string
	o.Warn = func(w string) { warnings = append(warnings, w) }
	_, err = finetune.Train(t.Context(), o)
	check(t, err)
	if len(warnings) != 1 || !strings.Contains(warnings[0], "the examples have none of those without") {
		t.Errorf("warnings %q", warnings)
	}
}

// TestTrainWarnsOfDropout: dropout of attention weights, which is not computed, is
// no reason to refuse a base, and a warning says so.
func TestTrainWarnsOfDropout(t *testing.T) {
	model := copyDir(t, salamandratest.Reference(t, "models", "tiny-mha"), nil)
	path := filepath.Join(model, "config.json")
	text, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, []byte(strings.Replace(string(text), `"attention_dropout": 0.0`, `"attention_dropout": 0.1`, 1)), 0o644))
	o := ticketTraining(t, "")
	o.Model, o.DryRun = model, true
	var warnings []string
	o.Warn = func(w string) { warnings = append(warnings, w) }
	_, err = finetune.Train(t.Context(), o)
	check(t, err)
	if want := path + ": attention_dropout 0.1 is not applied"; len(warnings) != 1 || !strings.Contains(warnings[0], want) {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}
