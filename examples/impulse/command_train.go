package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// Names of what train writes beside the adapter.
const (
	trainingArgsFile = "training_args.json"
	metricsFile      = "metrics.jsonl"
)

func newTrainCommand() *cobra.Command {
	var o trainOptions
	var config string
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Fine-tune a model with LoRA on prepared examples",
		Example: `  impulse train --model BSC-LT/salamandra-7b-instruct --data impulse_training.jsonl \
      --output-dir models/impulse --epochs 3 --batch-size 4 --learning-rate 2e-4`,
		Args: func(cmd *cobra.Command, args []string) error {
			// A flag that needs no value takes none after a space.
			if f := cmd.Flags().Lookup("gradient-checkpointing"); len(args) == 1 && f.Changed && checkpointingModes[args[0]] != nil {
				return f.Value.Set(args[0])
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := readFlags(cmd, config, &o); err != nil {
				return err
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

// runTrain trains an adapter and writes it. Results go to out, progress to log.
func runTrain(ctx context.Context, o trainOptions, out, log io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	base, err := o.baseModel(ctx, log)
	if err != nil {
		return err
	}
	if o.WandB {
		fmt.Fprintf(out, "--use-wandb: metrics go to %s; docs/metrics.md has ten lines of Python that upload it\n", filepath.Join(o.OutputDir, metricsFile))
	}
	data, err := o.readData(ctx, base, out)
	if err != nil {
		return err
	}
	device, line, err := openBackend(o.Backend)
	if err != nil {
		return err
	}
	defer device.backend.Finalize()
	fmt.Fprintln(out, line)
	if o.DryRun {
		return o.planMemory(device.backend, base, data, out)
	}
	if err := tryDir(o.OutputDir); err != nil {
		return named("--output-dir", err)
	}
	return o.train(ctx, device, base, data, out, log)
}

// baseModel finds the model to train and checks that the flags suit it.
func (o *trainOptions) baseModel(ctx context.Context, log io.Writer) (string, error) {
	base, err := findModel(ctx, "--model", o.Model, log)
	if err != nil {
		return "", err
	}
	return base, o.checkBase(base)
}

// trainRun is a run whose model is loaded.
type trainRun struct {
	o       *trainOptions
	data    *trainingData
	model   *salamandra.Model
	layers  *lora.Layers
	trainer *train.Trainer
	metrics *metricsWriter
	memory  func() *int64

	out, log io.Writer
}

// train loads the model, trains and writes the adapter.
func (o *trainOptions) train(ctx context.Context, device device, base string, data *trainingData, out, log io.Writer) error {
	err := o.planMemory(device.backend, base, data, out)
	if err != nil {
		return err
	}
	if data.contract.BaseSHA256, err = hashWeights(ctx, base); err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &trainRun{o: o, data: data, memory: peakMemory(watching, device.backend), out: out, log: log}
	if r.model, err = loadModel(ctx, device, base, o.Dtype, log); err != nil {
		return err
	}
	defer r.model.Close()
	if r.layers, err = o.adapter(r.model, base); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d numbers to train in %d layers, %.2f %% of the model's %d\n", r.layers.NumParameters(), len(r.layers.Names()),
		100*float64(r.layers.NumParameters())/float64(r.model.Config.NumParameters()), r.model.Config.NumParameters())
	config := o.Train
	config.Checkpoints.Dir, config.Checkpoints.AddFiles = o.OutputDir, r.addFiles
	if config.Checkpoints.Limit > 0 {
		config.Checkpoints.Limit = max(config.Checkpoints.Limit, o.Average.Checkpoints)
	}
	config.Checkpoints.Identity = map[string]string{
		"base weights": data.contract.BaseSHA256, "tokenizer": data.contract.TokenizerSHA256,
		"backend": device.backend.Name(), "dtype": r.model.DType().String(), "metric": fmt.Sprint(o.Metric, " constrained ", o.Constrained),
	}
	if r.trainer, err = train.New(r.model, r.layers, data.train, data.eval, config); err != nil {
		return err
	}
	defer r.trainer.Close()
	if err := r.checkAverage(); err != nil {
		return err
	}
	if err := r.fit(ctx); err != nil {
		return err
	}
	return r.finish(ctx)
}

// fit runs the trainer. Whatever follows a run is one of the hooks: a reporter
// has its own file and one line here.
func (r *trainRun) fit(ctx context.Context) error {
	scorer, err := r.newScorer()
	if err != nil {
		return err
	}
	if err := r.begin(); err != nil {
		return err
	}
	defer r.metrics.close()
	screen := newScreen(r)
	defer screen.close()
	report := newReporter(ctx, r, scorer, screen)
	defer report.close()
	hooks := train.Join(r.metrics.hooks(), report.hooks(), screen.hooks())
	if scorer != nil {
		defer scorer.generator.Close()
		hooks.Score = scorer.score
	}
	if err := r.trainer.Run(ctx, hooks); err != nil {
		return r.stoppedAt(err, ctx.Err() != nil)
	}
	return r.metrics.close()
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
