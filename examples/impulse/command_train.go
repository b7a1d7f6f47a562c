package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// Names of what train writes beside the adapter.
const (
	trainingArgsFile = "training_args.json"
	metricsFile      = "metrics.jsonl"
)

// trainOptions are the flags of train.
type trainOptions struct {
	Model, Data, OutputDir, InitAdapter string
	Schema, Backend, Dtype, Quantize    string
	Date                                string
	BOS, NoDefaultSystem                bool
	BatchSize, MaxLength, MaxShapes     int
	EvalSplit                           float64
	Overlong                            string
	Shuffle, SharedPrefix, LossAll      bool
	Overwrite, DryRun, WandB, Download  bool

	LoRA  lora.Config
	Train train.Config

	args []byte // all flags, for training_args.json
}

func newTrainCommand() *cobra.Command {
	var o trainOptions
	var config string
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Fine-tune a model with LoRA on prepared examples",
		Example: `  impulse train --model BSC-LT/salamandra-7b-instruct --data impulse_training.jsonl \
      --output-dir models/impulse --epochs 3 --batch-size 4 --learning-rate 2e-4`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config != "" {
				if err := applyConfig(cmd, config); err != nil {
					return err
				}
			}
			var err error
			if o.args, err = configJSON(cmd.Flags()); err != nil {
				return err
			}
			return runTrain(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd)
	cmd.Flags().StringVar(&config, "config", "", "JSON file of flags, such as the training_args.json of an earlier run; flags on the command line win")
	return cmd
}

func (o *trainOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.LoRA, o.Train = lora.DefaultConfig(), train.DefaultConfig()
	f.StringVar(&o.Model, "model", "", "base model: a directory, or a hub id in the local cache (required)")
	f.BoolVar(&o.Download, "download", false, "fetch a hub model that is not in the local cache")
	f.StringVar(&o.Data, "data", "", "prepared examples, JSONL of {\"messages\": [...]} (required)")
	f.StringVar(&o.OutputDir, "output-dir", "", "directory for the adapter (required)")
	f.StringVar(&o.InitAdapter, "init-adapter", "", "start from this adapter instead of a new one")
	f.StringVar(&o.Schema, "schema", "auto", "JSON Schema of the answers, kept in prompt.json: auto (the built-in one if all answers fit), none, or a file")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.StringVar(&o.Dtype, "dtype", "auto", "auto, float32, bfloat16 or float16")
	f.StringVar(&o.Quantize, "quantize", "none", "none; 8bit and 4bit are refused")
	f.StringVar(&o.Date, "date", chatml.DefaultDate, "date in the default system message, yyyy-mm-dd")
	f.BoolVar(&o.BOS, "bos", false, "begin every example with <s>, as the public IMPULSE scripts do")
	f.BoolVar(&o.NoDefaultSystem, "no-default-system", false, "add no system message where an example has none")

	f.IntVar(&o.Train.Epochs, "epochs", o.Train.Epochs, "passes over the examples")
	f.IntVar(&o.Train.MaxSteps, "max-steps", 0, "stop after this many optimiser steps; 0 for no limit")
	f.IntVar(&o.BatchSize, "batch-size", 4, "examples per batch")
	f.IntVar(&o.Train.GradientAccumulationSteps, "gradient-accumulation-steps", 1, "batches per optimiser step")
	f.Float64Var(&o.Train.LearningRate, "learning-rate", o.Train.LearningRate, "highest learning rate")
	f.StringVar(&o.Train.Scheduler, "lr-scheduler", o.Train.Scheduler, "linear, cosine or constant")
	f.IntVar(&o.Train.WarmupSteps, "warmup-steps", 0, "steps over which the learning rate rises from 0")
	f.Float64Var(&o.Train.MaxGradNorm, "gradient-clip", o.Train.MaxGradNorm, "longest gradient; 0 for no limit")
	f.Float64Var(&o.Train.WeightDecay, "weight-decay", 0, "decoupled weight decay")
	f.Uint64Var(&o.Train.Seed, "seed", o.Train.Seed, "seed of the split, the order, the adapter and the dropout")
	f.BoolVar(&o.Train.GradientCheckpointing, "gradient-checkpointing", false, "keep one activation per block and recompute the rest: less memory, slower")
	f.IntVar(&o.Train.HeadChunk, "head-chunk", o.Train.HeadChunk, "trained tokens that go through the head at once")

	f.IntVar(&o.LoRA.Rank, "lora-r", o.LoRA.Rank, "rank of the adapter")
	f.Float64Var(&o.LoRA.Alpha, "lora-alpha", o.LoRA.Alpha, "scale of the adapter times its rank")
	f.Float64Var(&o.LoRA.Dropout, "lora-dropout", o.LoRA.Dropout, "dropout before the adapter")
	f.StringSliceVar(&o.LoRA.TargetModules, "target-modules", o.LoRA.TargetModules, "linear layers to adapt")
	f.BoolVar(&o.LoRA.UseRSLoRA, "use-rslora", false, "scale by the root of the rank")
	f.BoolVar(&o.LoRA.UseDoRA, "use-dora", false, "train a magnitude per output as well")

	f.IntVar(&o.MaxLength, "max-length", 2048, "longest example in tokens")
	f.StringVar(&o.Overlong, "overlong", "error", "longer examples: error, drop or truncate-prompt")
	f.Float64Var(&o.EvalSplit, "eval-split", 0.1, "share of the examples kept for evaluation")
	f.BoolVar(&o.Shuffle, "shuffle", true, "new order of the examples in each epoch; false keeps the file's")
	f.BoolVar(&o.SharedPrefix, "shared-prefix", true, "compute what all examples begin with once per batch")
	f.BoolVar(&o.LossAll, "loss-all", false, "train all tokens instead of the answers")
	f.IntVar(&o.MaxShapes, "max-shapes", 3, "most tensor shapes to compile for")
	f.BoolVar(&o.Overwrite, "overwrite", false, "write into an output directory that is not empty")
	f.BoolVar(&o.DryRun, "dry-run", false, "check everything, print the plan, train nothing")
	f.BoolVar(&o.WandB, "use-wandb", false, "say how the metrics reach Weights & Biases")
}

// check lists what is wrong with the flags before anything is read.
func (o *trainOptions) check() error {
	faults := []error{o.Train.Validate(), o.LoRA.Validate()}
	for _, r := range []struct{ flag, value string }{{"--model", o.Model}, {"--data", o.Data}, {"--output-dir", o.OutputDir}} {
		if r.value == "" {
			faults = append(faults, fmt.Errorf("%s is required", r.flag))
		}
	}
	switch o.Quantize {
	case "none":
	case "8bit", "4bit":
		faults = append(faults, fmt.Errorf("--quantize %s: quantised bases are not supported yet; on a GPU of 12 to 16 GB use the 2B model in bfloat16", o.Quantize))
	default:
		faults = append(faults, fmt.Errorf("--quantize %q, want none", o.Quantize))
	}
	if _, ok := overlongPolicies[o.Overlong]; !ok {
		faults = append(faults, fmt.Errorf("--overlong %q, want error, drop or truncate-prompt", o.Overlong))
	}
	if entries, err := os.ReadDir(o.OutputDir); o.OutputDir != "" && !o.Overwrite && !o.DryRun && err == nil && len(entries) > 0 {
		faults = append(faults, fmt.Errorf("--output-dir %s is not empty; choose another or say --overwrite", o.OutputDir))
	}
	return errors.Join(faults...)
}

var overlongPolicies = map[string]dataset.OverlongPolicy{
	"error": dataset.OverlongError, "drop": dataset.OverlongDrop, "truncate-prompt": dataset.OverlongTruncate,
}

// trainingData is what the examples file became.
type trainingData struct {
	train, eval *dataset.Plan
	contract    chatml.Contract
}

// runTrain trains an adapter and writes it. Results go to out, progress to log.
func runTrain(ctx context.Context, o trainOptions, out, log io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	base, err := findModel(ctx, "--model", o.Model, o.Download, log)
	if err != nil {
		return err
	}
	if o.WandB {
		fmt.Fprintf(out, "--use-wandb: metrics go to %s; docs/metrics.md has ten lines of Python that upload it\n", filepath.Join(o.OutputDir, metricsFile))
	}
	data, err := o.readData(ctx, base, out)
	if err != nil || o.DryRun {
		return err
	}
	backend, line, err := openBackend(o.Backend)
	if err != nil {
		return err
	}
	defer backend.Finalize()
	fmt.Fprintln(out, line)
	return o.train(ctx, backend, base, data, out, log)
}

// train loads the model, trains and writes the adapter.
func (o *trainOptions) train(ctx context.Context, backend compute.Backend, base string, data *trainingData, out, log io.Writer) error {
	model, err := loadModel(ctx, backend, base, o.Dtype, log)
	if err != nil {
		return err
	}
	defer model.Close()
	layers, err := o.adapter(model, base)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d numbers to train in %d layers, %.2f %% of the model's %d\n", layers.NumParameters(), len(layers.Names()),
		100*float64(layers.NumParameters())/float64(model.Config.NumParameters()), model.Config.NumParameters())
	if err := os.MkdirAll(o.OutputDir, 0o755); err != nil {
		return err
	}
	if err := o.fit(ctx, backend, model, layers, data, out, log); err != nil {
		return err
	}
	return o.write(layers, data.contract, out)
}

// readData encodes the examples, splits them and plans the batches.
func (o *trainOptions) readData(ctx context.Context, base string, out io.Writer) (*trainingData, error) {
	records, err := dataset.ReadJSONL(o.Data)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("%s: no examples", o.Data)
	}
	tok, err := tokenizer.Load(base)
	if err != nil {
		return nil, err
	}
	contract, err := o.newContract(ctx, base, tok, records, out)
	if err != nil {
		return nil, err
	}
	if err := warnTemplate(base, contract.Template(), out); err != nil {
		return nil, err
	}
	set, err := dataset.Builder{Tokenizer: tok, Template: contract.Template(), MaxLength: o.MaxLength, Overlong: overlongPolicies[o.Overlong]}.Build(records)
	if err != nil {
		return nil, err
	}
	for _, d := range set.Dropped {
		fmt.Fprintf(out, "dropped %s: %d tokens, --max-length %d\n", d.ID, d.Tokens, o.MaxLength)
	}
	for _, d := range set.Truncated {
		fmt.Fprintf(out, "prompt of %s shortened: %d tokens, --max-length %d\n", d.ID, d.Tokens, o.MaxLength)
	}
	trained, held, err := dataset.Split(set.Examples, o.EvalSplit, o.Train.Seed)
	if err != nil {
		return nil, err
	}
	data := &trainingData{contract: contract}
	if data.train, err = o.plan(trained); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "training on %s", data.train)
	if len(held) > 0 {
		if data.eval, err = o.plan(held); err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "evaluating on %s", data.eval)
	}
	return data, nil
}

func (o *trainOptions) plan(examples []dataset.Example) (*dataset.Plan, error) {
	opts := dataset.DefaultPlanOptions()
	opts.BatchSize, opts.MaxShapes = o.BatchSize, o.MaxShapes
	opts.Shuffle, opts.SharedPrefix, opts.LossAll = o.Shuffle, o.SharedPrefix, o.LossAll
	return dataset.NewPlan(examples, opts)
}

// newContract records how the examples are prompted.
func (o *trainOptions) newContract(ctx context.Context, base string, tok *tokenizer.Tokenizer, records []dataset.Record, out io.Writer) (chatml.Contract, error) {
	c := chatml.Contract{
		Date: o.Date, DefaultSystem: !o.NoDefaultSystem, BOS: o.BOS,
		SystemPrompt: commonSystem(records), Layout: chatml.Layout{Indent: 2}, TokenizerSHA256: tok.Hash(),
	}
	var err error
	if c.BaseSHA256, err = hashWeights(ctx, base); err != nil {
		return c, err
	}
	var answers []string
	for _, r := range records {
		if n := len(r.Messages); n > 0 {
			answers = append(answers, r.Messages[n-1].Content)
		}
	}
	schema, said, err := answerSchema(o.Schema, answers)
	if err != nil {
		return c, err
	}
	fmt.Fprintln(out, said)
	c.Schema = schema
	return c, c.Validate()
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

// adapter makes or reads the adapter to train.
func (o *trainOptions) adapter(model *salamandra.Model, base string) (*lora.Layers, error) {
	if o.InitAdapter == "" {
		config := o.LoRA
		config.BaseModelNameOrPath = base
		return lora.Inject(model, config, o.Train.Seed)
	}
	a, err := lora.ReadAdapter(o.InitAdapter)
	if err != nil {
		return nil, err
	}
	a.Config.Dropout = o.LoRA.Dropout
	return lora.Attach(model, a)
}

// stepLine is the line of metrics.jsonl for an optimiser step.
type stepLine struct {
	Step            int     `json:"step"`
	Epoch           float64 `json:"epoch"`
	Loss            float64 `json:"loss"`
	GradNorm        float64 `json:"grad_norm"`
	LearningRate    float64 `json:"learning_rate"`
	Tokens          int     `json:"tokens"`
	TrainedTokens   int     `json:"trained_tokens"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	PeakMemory      *int64  `json:"peak_memory_bytes"`
}

// evaluationLine is the line of metrics.jsonl for an evaluation.
type evaluationLine struct {
	Step     int     `json:"step"`
	Epoch    float64 `json:"epoch"`
	EvalLoss float64 `json:"eval_loss"`
}

// fit runs the trainer, with metrics and progress.
func (o *trainOptions) fit(ctx context.Context, backend compute.Backend, model *salamandra.Model, layers *lora.Layers, data *trainingData, out, log io.Writer) error {
	trainer, err := train.New(model, layers, data.train, data.eval, o.Train)
	if err != nil {
		return err
	}
	defer trainer.Close()
	file, err := os.Create(filepath.Join(o.OutputDir, metricsFile))
	if err != nil {
		return err
	}
	defer file.Close()
	metrics := json.NewEncoder(file)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	memory := peakMemory(ctx, backend)

	bar := newProgress(log, "training")
	defer bar.done()
	var last train.Step
	err = trainer.Run(ctx, train.Hooks{
		Step: func(s train.Step) error {
			last = s
			bar.set(int64(s.Step), int64(trainer.TotalSteps()), fmt.Sprintf("loss %.4f", s.Loss))
			return metrics.Encode(stepLine{
				Step: s.Step, Epoch: s.Epoch, Loss: s.Loss, GradNorm: s.GradNorm, LearningRate: s.LearningRate,
				Tokens: s.SequenceTokens, TrainedTokens: s.TrainedTokens,
				TokensPerSecond: math.Round(float64(s.SequenceTokens)/s.Duration.Seconds()*10) / 10, PeakMemory: memory(),
			})
		},
		Evaluation: func(e train.Evaluation) error {
			fmt.Fprintf(out, "after %.2f epochs, %d steps: loss %.4f, on held-out examples %.4f\n", e.Epoch, e.Step, last.Loss, e.Loss)
			return metrics.Encode(evaluationLine{e.Step, e.Epoch, e.Loss})
		},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "loss %.4f after %d steps\n", last.Loss, last.Step)
	return file.Sync()
}

// write puts the adapter and what belongs to it into the output directory.
func (o *trainOptions) write(layers *lora.Layers, contract chatml.Contract, out io.Writer) error {
	a, err := layers.Adapter()
	if err != nil {
		return err
	}
	if err := a.Write(o.OutputDir); err != nil {
		return err
	}
	if err := contract.Write(filepath.Join(o.OutputDir, chatml.ContractFile)); err != nil {
		return err
	}
	if err := safetensors.WriteFile(filepath.Join(o.OutputDir, trainingArgsFile), o.args); err != nil {
		return err
	}
	fmt.Fprintf(out, "adapter written to %s\n", o.OutputDir)
	return nil
}

// loadModel loads a model and shows how far it is.
func loadModel(ctx context.Context, backend compute.Backend, dir, dtype string, log io.Writer) (*salamandra.Model, error) {
	bar := newProgress(log, "loading "+dir)
	defer bar.done()
	return salamandra.Load(ctx, backend, dir, salamandra.Options{Dtype: dtype, Progress: func(done, total int64) { bar.set(done, total, "") }})
}

// hashWeights is the identity of a model's weights in a contract.
func hashWeights(ctx context.Context, dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("no *.safetensors in %s: it holds no weights that can be trained or served", dir)
	}
	return chatml.HashFiles(ctx, files...)
}
