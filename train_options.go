package finetune

import (
	"encoding/json"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/device"
)

// TrainOptions say what [Train] trains, and how. Start from
// [DefaultTrainOptions] and set Model, Data or Records, and OutputDir: a zero
// field means zero.
type TrainOptions struct {
	// Model is the model to adapt: a directory or a hub id, which is fetched if
	// it is not in the local cache and Download is set.
	Model    string
	Download bool
	// Data is a file of examples in a format that [dataset.Reader] knows, or in
	// one of Formats. With Records, which are the examples themselves, it is
	// only what reports call them.
	Data    string
	Formats []dataset.Format
	Records []dataset.Record
	// Test holds records to test on later: training on one of their questions,
	// or a near duplicate, is refused, or with AllowTestOverlap a warning.
	Test             []dataset.Record
	AllowTestOverlap bool
	// OutputDir is where the adapter goes, with its checkpoints and reports.
	OutputDir string
	// InitAdapter is the directory of an adapter to go on from, "" for a new one.
	InitAdapter string

	// Contract is how the model is prompted, and goes to prompt.json. Its
	// SystemPrompt is that of records without a system message; one that differs
	// is refused. If Schema is set every answer has to comply with it. Without
	// RequestValues those are found that the answers of all records repeat. The
	// layout of answers and the order of the schema's properties are those of the
	// records. Title, Description and Examples are what the model says of itself. The
	// hashes are made by Train.
	Contract chatml.Contract

	// NormaliseAnswers rewrites answers that are JSON in the layout that most have,
	// with their keys in the order that most have.
	NormaliseAnswers bool

	// LoRA says what a new adapter is like. With InitAdapter it is the adapter's
	// own, which a zero value stands for; only Dropout may differ.
	LoRA lora.Config
	// Train says how to train; Checkpoints.Dir, Identity, AddFiles and Overwrite
	// are set by Train.
	Train train.Config
	// AutoCheckpointing chooses Train.GradientCheckpointing: on where there is
	// no room without, or if without would take half of the memory on a CPU.
	AutoCheckpointing bool

	// MaxLength is the longest example in tokens, and Overlong what happens to
	// longer ones.
	MaxLength int
	Overlong  dataset.OverlongPolicy
	// Split says which examples are held out for evaluation, and Plan how the
	// others become batches. Plan.ShapeTokens is by default what two cores compute while
	// they compile for another shape, divided by the epochs: 1,200 tokens of a model of
	// 135 million parameters, ever fewer of larger ones and at most 10,000.
	Split dataset.SplitOptions
	Plan  dataset.PlanOptions

	// Metric is what makes an adapter the best: "loss", or the share of held-out
	// questions that are answered right ("strict": Result.AllCorrect, "relaxed":
	// Result.Passed) or with valid JSON ("validity") by the rules of Task; a Task
	// without fields is made of the schema and the answers, by [evalx.NewTask].
	// Comparators is a file, as in [evalx.TaskOptions], that says how the fields of
	// such a task are compared. Answers are kept to the contract's schema unless
	// Unconstrained is set; those for validity never are.
	Metric        string
	Task          evalx.Task
	Comparators   []byte
	Unconstrained bool
	// Average makes the result the mean of the newest checkpoints.
	Average Averaging
	// Samples is how many held-out questions are answered after each epoch, for
	// report.html.
	Samples int

	// Resume goes on from the newest checkpoint in OutputDir, or begins where
	// there is none; ResumeAnyway does so although settings, data or base have
	// changed. Overwrite writes into a directory that is not empty, and removes
	// the checkpoints in it. Otherwise OutputDir has to be empty.
	Resume, ResumeAnyway, Overwrite bool
	// DryRun checks everything and plans, and writes nothing. It may do without
	// OutputDir.
	DryRun bool

	// Backend, Device and Dtype are as in [Options].
	Backend string
	Device  *device.Device
	// Devices are those of the backend that the batches of a step are dealt to, as
	// in [device.OpenSeveral]: "all", how many, or a list of GPUs; by default all
	// GPUs that a step has batches for. Where they are alike the result does not
	// depend on them. With Device they are its own.
	Devices string
	// Shards, above 1, divides the base among as many devices, which compute every
	// batch together, for a base that one has no room for; Devices may name them. The
	// result depends on it in its last bits.
	Shards int
	// Ranks, if not nil, connects the processes that train together; each calls
	// Train with the same options. Only rank 0 writes and calls hooks.
	Ranks train.Ranks
	Dtype string
	// Quantize stores the linear layers of the base, which are not trained, in fewer
	// bits: "4bit" or "8bit" as in [salamandra.Options]; "none" or "" in Dtype. It goes
	// to the contract.
	Quantize string

	// WandB, if not nil, keeps an offline run of Weights & Biases in OutputDir.
	// Where the client is installed and has a key, the run is uploaded meanwhile.
	WandB *WandB

	// Settings, if not nil, returns the JSON object that is kept as
	// training_args.json of a run that is done as planned, such as the flags of a
	// program. By default that is the options, by their fields.
	Settings func(*TrainPlan) (json.RawMessage, error)
	// Name, if not nil, returns what the caller's users know a field by, such as
	// a flag for "OutputDir" or "LoRA.Rank", for errors.
	Name func(field string) string

	// Hooks are called as the run goes on.
	Hooks TrainHooks
	// Warn, if not nil, is called with what a person should know.
	Warn func(message string)
	// Progress, if not nil, is called as in [Options], as in [train.Hooks], and while
	// held-out questions are answered.
	Progress func(phase string, done, total int64)
}

// WandB names an offline run of Weights & Biases.
type WandB struct {
	// Project and Entity are where the run is uploaded to; by default
	// WANDB_PROJECT and WANDB_ENTITY, then "uncategorized" and the user's own.
	Project, Entity string
	// Name is what its page is called; by default W&B finds one.
	Name string
}

// TrainHooks are called by [Train] as it goes on; nil ones are left out. An
// error ends the run and is returned.
type TrainHooks struct {
	// Hooks are the trainer's. Score is taken, if it is set, in place of the
	// options' Metric.
	train.Hooks
	// Plan is called with what will be done, before the model is loaded.
	Plan func(*TrainPlan) error
	// Start is called before the first step.
	Start func(TrainStart) error
	// Address is called, from another goroutine, with where an uploaded run of
	// Weights & Biases is seen.
	Address func(url string)
}

// TrainStart is where a run begins.
type TrainStart struct {
	train.Status
	// Resumed is the checkpoint that the run goes on from; nil for a new one.
	Resumed *train.Resumed
	// Losses are those of the steps before.
	Losses []float64
	// WandBDir is the run of Weights & Biases, which "wandb sync" uploads; "" for
	// none.
	WandBDir string
	// Parameters is how many numbers are trained, in so many Layers, of a model
	// with ModelParameters.
	Parameters, Layers int
	ModelParameters    int64
	// Memory returns the most bytes used so far, 0 if that is not known.
	Memory func() int64
}

// Averaging says which checkpoints the result of a run is the mean of.
type Averaging struct {
	Checkpoints int                `json:"checkpoints"` // the newest so many, at least as many of which are kept; 0 for none
	Method      lora.AverageMethod `json:"method"`      // what is averaged
	Rank        int                `json:"rank"`        // highest rank of a mean of updates; 0 for the sum of the ranks, which is exact
}

// DefaultTrainOptions returns the defaults of [lora.DefaultConfig],
// [train.DefaultConfig], [dataset.DefaultSplitOptions] and
// [dataset.DefaultPlanOptions], examples of up to 2048 tokens, a checkpoint every
// 50 steps of which two are kept, an end after three evaluations that were not
// better, and four sample answers. The adapter of the least loss on held-out
// examples is the result.
func DefaultTrainOptions() TrainOptions {
	o := TrainOptions{
		Contract:          chatml.Contract{Date: chatml.DefaultDate, DefaultSystem: true, Layout: chatml.Layout{Indent: 2}},
		LoRA:              lora.DefaultConfig(),
		Train:             train.DefaultConfig(),
		AutoCheckpointing: true,
		MaxLength:         2048,
		Split:             dataset.DefaultSplitOptions(),
		Plan:              dataset.DefaultPlanOptions(),
		Metric:            "loss",
		Average:           Averaging{Method: lora.AverageDelta},
		Samples:           4,
		Dtype:             "auto",
	}
	o.Train.EarlyStoppingPatience = 3
	o.Train.Checkpoints = train.Checkpoints{Steps: 50, Limit: 2}
	return o
}

func (o *TrainOptions) warn(message string) {
	if o.Warn != nil {
		o.Warn(message)
	}
}

// name is what the caller's users know a field by.
func (o *TrainOptions) name(field string) string {
	if o.Name == nil {
		return field
	}
	return o.Name(field)
}

// open returns the options with which a model is opened as this one is trained.
func (o *TrainOptions) open() Options {
	opts := Options{Backend: o.Backend, Device: o.Device, Dtype: o.Dtype, Quantize: quantizeOption(o.Quantize), Shards: o.Shards, Download: o.Download, Name: o.Name, Warn: o.Warn, Progress: o.Progress}
	opts.setDefaults()
	return opts
}
