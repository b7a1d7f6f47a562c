package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
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

// fit runs the trainer. Whatever follows a run is one of the hooks: a reporter
// has its own file and one line here.
func (o *trainOptions) fit(ctx context.Context, backend compute.Backend, model *salamandra.Model, layers *lora.Layers, data *trainingData, out, log io.Writer) error {
	trainer, err := train.New(model, layers, data.train, data.eval, o.Train)
	if err != nil {
		return err
	}
	defer trainer.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	metrics, err := createMetrics(filepath.Join(o.OutputDir, metricsFile), peakMemory(ctx, backend))
	if err != nil {
		return err
	}
	defer metrics.close()
	screen := newScreen(trainer.TotalSteps(), out, log)
	defer screen.close()
	if err := trainer.Run(ctx, train.Join(metrics.hooks(), screen.hooks())); err != nil {
		return err
	}
	return metrics.close()
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
