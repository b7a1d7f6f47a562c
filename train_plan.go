package finetune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/answers"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/internal/templatecheck"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TrainPlan is what [Train] will do, made before a weight is loaded.
type TrainPlan struct {
	Base    string // directory of the model
	Format  string // of the file of examples
	Records int    // examples as they came
	// Contract is what prompt.json will be, but for the hash of the base.
	Contract chatml.Contract
	// Answers is how the answers are written, and Rewritten how many of them were
	// rewritten, because that was asked for.
	Answers   answers.Survey
	Rewritten int
	// Overlap is what the examples have in common with the records to test on;
	// nil without such.
	Overlap *dataset.Overlap
	// Set is the encoded examples, and what became of those that were too long.
	Set *dataset.Set
	// Train and Eval are the batches; Eval is nil without held-out examples.
	Train, Eval *dataset.Plan
	Device      string           // what is computed on, and why
	Processes   int              // that train together
	Devices     int              // how many devices the batches of a step are dealt to
	Shards      int              // how many devices the base is divided among, 1 for one that is whole
	Memory      train.MemoryPlan // of each device
}

// String describes the plan in some lines.
func (p *TrainPlan) String() string {
	var b strings.Builder
	for _, d := range p.Set.Dropped {
		fmt.Fprintf(&b, "left out %s: %d tokens\n", d.ID, d.Tokens)
	}
	for _, d := range p.Set.Truncated {
		fmt.Fprintf(&b, "prompt of %s shortened: it had %d tokens\n", d.ID, d.Tokens)
	}
	fmt.Fprintln(&b, p.Answers)
	if p.Rewritten > 0 {
		fmt.Fprintf(&b, "%d answers rewritten in this layout\n", p.Rewritten)
	}
	fmt.Fprintf(&b, "training on %s", p.Train)
	if p.Eval != nil {
		fmt.Fprintf(&b, "evaluating on %s", p.Eval)
	}
	fmt.Fprintf(&b, "%s\nmemory: %s\n", p.Device, p.Memory)
	b.WriteString(p.describeDevices())
	return b.String()
}

// makePlan makes the plan, with what it needs that the run needs too.
func (r *run) makePlan(ctx context.Context) error {
	o := &r.o
	if err := o.Validate(); err != nil {
		return err
	}
	opts := o.open()
	base, err := opts.find(ctx, o.Model, o.Download)
	if err != nil {
		return fmt.Errorf("%s: %w", o.name("Model"), err)
	}
	config, err := o.checkBase(base)
	if err == nil {
		o.Contract.BaseQuantization, err = quantizationOf(quantizeOption(o.Quantize), config, o.name)
	}
	if err == nil {
		err = opts.checkShards(config, o.Contract.BaseQuantization)
	}
	if err != nil {
		return err
	}
	r.plan = &TrainPlan{Base: base}
	if err := r.readData(config); err != nil {
		return err
	}
	if r.device = o.Device; r.device == nil {
		if r.device, err = o.openDevices(); err != nil {
			return err
		}
		if !o.sharded() {
			o.useDevices(r.device)
		}
	}
	r.plan.Device, r.plan.Devices, r.plan.Shards, r.plan.Processes = r.device.String(), r.device.Devices, max(1, o.Shards), o.processes()
	if o.sharded() {
		r.plan.Devices = 1 // all take part in every batch
	}
	if r.plan.Memory, err = o.Memory(r.device, config, r.plan.Train, r.plan.Eval); err != nil {
		return err
	}
	o.Train.GradientCheckpointing, o.Train.Name = r.plan.Memory.Checkpointing, o.name
	r.settings, err = o.settings(r.plan)
	return errors.Join(err, o.checkPlan(r.plan), o.checkSpace(config))
}

// Memory plans the memory of training on the plans, of which nil ones are left
// out, and settles whether blocks are checkpointed. It fails with
// [train.ErrMemory] if there is no room.
func (o *TrainOptions) Memory(d *device.Device, config llama.Config, plans ...*dataset.Plan) (p train.MemoryPlan, err error) {
	job := train.Job{
		Model: config, HeadChunk: o.Train.HeadChunk, OnHost: d.Backend.HasSharedBuffers(), InPlace: d.InPlace, Plans: plans,
		GradientAccumulationSteps: o.Train.GradientAccumulationSteps, Name: o.name,
		Devices: d.Devices, Shards: max(1, o.Shards), Processes: o.processes(),
	}
	if o.sharded() {
		job.Devices = 1
	}
	if job.Quantize, err = quantizationOf(quantizeOption(o.Quantize), config, o.name); err != nil {
		return p, err
	}
	opts := o.open()
	of := d.Options
	of.Dtype = opts.Dtype
	if job.Dtype, err = of.DTypeOn(d.Backend, config); err != nil {
		return p, err
	}
	if job.AdapterSize, err = lora.CountParameters(config, o.LoRA); err != nil {
		return p, err
	}
	uniform, err := lora.Uniform(config, o.LoRA)
	if err != nil {
		return p, err
	}
	job.ByBlocks = uniform && !o.sharded() && !quantize.OnGo(d.Backend)
	modes := []bool{o.Train.GradientCheckpointing}
	if o.AutoCheckpointing {
		modes = []bool{false, true}
	}
	limit := d.Memory()
	if p, err = train.ChooseMemory(job, limit, modes...); err != nil {
		err = o.adviseShards(err, job, limit, modes)
	}
	return p, err
}

// checkPlan refuses what the plan shows to be impossible, and warns of what
// nobody means.
func (o *TrainOptions) checkPlan(p *TrainPlan) error {
	n := func(field string) string { return o.name("Train." + field) }
	if steps := o.Train.TotalSteps(p.Train); o.Train.WarmupSteps >= steps {
		o.warn(fmt.Sprintf("%s %d: the run has %d steps, so the learning rate never gets to %v", n("WarmupSteps"), o.Train.WarmupSteps, steps, o.Train.LearningRate))
	}
	if o.Train.EarlyStoppingPatience > 0 && p.Eval == nil {
		o.warn(fmt.Sprintf("%s %d has no effect: there are no held-out examples to evaluate on", n("EarlyStoppingPatience"), o.Train.EarlyStoppingPatience))
	}
	if o.Unconstrained && (o.Metric == "loss" || o.Metric == "validity") {
		o.warn(fmt.Sprintf("%s has no effect with %s %s", o.name("Unconstrained"), o.name("Metric"), o.Metric))
	}
	if o.Average.Checkpoints == 0 && o.Average.Method != lora.AverageDelta {
		o.warn(fmt.Sprintf("%s %s has no effect without %s", o.name("Average.Method"), o.Average.Method, o.name("Average.Checkpoints")))
	}
	for _, odd := range []struct {
		field     string
		value     float64
		low, high float64
	}{
		{"Train.LearningRate", o.Train.LearningRate, 1e-7, 1e-1},
		{"Train.WeightDecay", o.Train.WeightDecay, 0, 1},
		{"Train.LoRAPlusRatio", o.Train.LoRAPlusRatio, 1. / 128, 128},
		{"Train.NEFTuneAlpha", o.Train.NEFTuneAlpha, 0, 100},
		{"LoRA.Dropout", o.LoRA.Dropout, 0, 0.6},
	} {
		if odd.value < odd.low || odd.value > odd.high {
			o.warn(fmt.Sprintf("%s %v is outside what is usual, %v to %v", o.name(odd.field), odd.value, odd.low, odd.high))
		}
	}
	if scale := o.LoRA.ScaleOf(""); scale > 16 || scale < 1./32 {
		o.warn(fmt.Sprintf("%s %v and %s %d scale the adapter by %.3g, where 0.25 to 4 is usual",
			o.name("LoRA.Alpha"), o.LoRA.Alpha, o.name("LoRA.Rank"), o.LoRA.Rank, scale))
	}
	if planned := o.Train.PlannedCheckpoints(p.Train); o.Average.Checkpoints > planned {
		return fmt.Errorf("%s %d: this run writes %d; more epochs or smaller %s write more",
			o.name("Average.Checkpoints"), o.Average.Checkpoints, planned, n("Checkpoints.Steps"))
	}
	return nil
}

// checkSpace refuses an output directory without room for checkpoints.
func (o *TrainOptions) checkSpace(config llama.Config) error {
	if o.OutputDir == "" {
		return nil
	}
	dir, err := existing(o.OutputDir)
	if err != nil {
		return err
	}
	n, err := lora.CountParameters(config, o.LoRA)
	if err != nil {
		return err
	}
	if err := atomicfile.CheckSpace(dir, 2*train.CheckpointSize(n)); err != nil {
		return fmt.Errorf("%s %w", o.name("OutputDir"), err)
	}
	return nil
}

// readData encodes the examples, splits them and plans the batches.
func (r *run) readData(config llama.Config) error {
	o, p := &r.o, r.plan
	records, err := o.records(p)
	if err != nil {
		return err
	}
	if err := o.checkOverlap(records, p); err != nil {
		return err
	}
	if r.tokenizer, err = tokenizer.Load(p.Base); err != nil {
		return err
	}
	if records, err = r.makeContract(records); err != nil {
		return err
	}
	builder := dataset.Builder{Tokenizer: r.tokenizer, Template: p.Contract.Template(), MaxLength: o.MaxLength, Overlong: o.Overlong, Vocabulary: config.VocabSize}
	if p.Set, err = builder.Build(records); err != nil {
		var full *dataset.NoRoomError
		if errors.As(err, &full) {
			err = fmt.Errorf("%s %d: %w", o.name("MaxLength"), o.MaxLength, err)
		}
		return err
	}
	r.warnVocabulary(config.VocabSize)
	if d := config.AttentionDropout; d > 0 {
		r.o.warn(fmt.Sprintf("%s: attention_dropout %v is not applied: no attention weights are dropped in training", filepath.Join(r.plan.Base, llama.ConfigFile), d))
	}
	trained, held, err := dataset.Split(p.Set.Examples, o.Split)
	if err != nil {
		return err
	}
	if p.Train, p.Eval, err = dataset.NewPlan(trained, held, o.BatchPlan(config)); err != nil {
		return err
	}
	r.questions = questionsOf(held)
	return r.settleTask(records)
}

// BatchPlan returns the options by which [Train] makes batches for a model: Plan with
// what another shape costs, where it does not say. The epochs must be 1 or more.
func (o *TrainOptions) BatchPlan(config llama.Config) dataset.PlanOptions {
	plan := o.Plan
	tokens := min(maxShapeTokens, int(shapeOperations/(6*config.NumParameters())))
	plan.ShapeTokens = cmp.Or(plan.ShapeTokens, tokens/o.Train.Epochs)
	return plan
}

// shapeOperations are about what two cores compute while they compile for another shape,
// 7 s, whatever the number of blocks; a token takes six for each parameter. Programs of
// small models compile sooner, and compute more slowly: they count maxShapeTokens. A
// device that computes faster has the same batches, so that a run can be resumed on another.
const shapeOperations, maxShapeTokens = 1_000_000_000_000, 10_000

// records returns the examples, each with a system message if there is a system
// prompt.
func (o *TrainOptions) records(p *TrainPlan) ([]dataset.Record, error) {
	records := o.Records
	if records == nil {
		var err error
		if records, p.Format, err = dataset.ReadFile(o.Data, o.Formats...); err != nil {
			return nil, err
		}
	}
	if p.Records = len(records); p.Records == 0 {
		return nil, fmt.Errorf("%s: no examples", o.Data)
	}
	records = slices.Clone(records)
	var faults dataset.Faults
	for i, r := range records {
		var err error
		if records[i], err = r.WithSystem(o.Contract.SystemPrompt); err != nil {
			faults = append(faults, recordFault(r, i, err))
		}
	}
	if faults != nil {
		return nil, fmt.Errorf("%s does not apply: %w", o.name("Contract.SystemPrompt"), faults)
	}
	return records, nil
}

// checkOverlap refuses records that will be tested on, or warns of them.
func (o *TrainOptions) checkOverlap(records []dataset.Record, p *TrainPlan) error {
	if o.Test == nil {
		return nil
	}
	overlap, err := dataset.FindOverlap(records, o.Test)
	if err != nil {
		return err
	}
	p.Overlap = &overlap
	switch {
	case overlap.Found == 0:
	case o.AllowTestOverlap:
		o.warn(fmt.Sprintf("%s: %s", o.name("Test"), overlap))
	default:
		return fmt.Errorf("%s: %s\ntake them out, or say %s", o.name("Test"), overlap, o.name("AllowTestOverlap"))
	}
	return nil
}

// makeContract completes the contract by the records and checks their answers by
// it. It returns the records, with their answers rewritten if that is asked for.
func (r *run) makeContract(records []dataset.Record) ([]dataset.Record, error) {
	c := &r.plan.Contract
	*c = r.o.Contract
	c.SystemPrompt, c.TokenizerSHA256 = commonSystem(records), r.tokenizer.Hash()
	records, err := r.settleAnswers(records)
	if err != nil {
		return nil, err
	}
	if c.Schema != nil && c.RequestValues == nil {
		c.RequestValues = answers.RequestValues(records)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	warning, err := templatecheck.Check(r.plan.Base, c.Template())
	if err == nil && warning != "" {
		r.o.warn(warning)
	}
	return records, err
}

// commonSystem is the system prompt of all records, empty if they differ.
func commonSystem(records []dataset.Record) string {
	system := func(r dataset.Record) string {
		if len(r.Messages) > 0 && r.Messages[0].Role == chatml.System {
			return r.Messages[0].Content
		}
		return ""
	}
	for _, r := range records {
		if system(r) != system(records[0]) {
			return ""
		}
	}
	return system(records[0])
}

// warnVocabulary warns of tokens that the model has no row for. That no example has
// one the builder has seen to.
func (r *run) warnVocabulary(rows int) {
	if ids := r.tokenizer.VocabSize(); ids > rows {
		r.o.warn(fmt.Sprintf("%s: tokenizer.json has ids up to %d, and the model %d rows; the examples have none of those without", r.plan.Base, ids-1, rows))
	}
}
