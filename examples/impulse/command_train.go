package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/runlog"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// trainingArgsFile keeps the flags of a run in its output directory.
const trainingArgsFile = "training_args.json"

func newTrainCommand() *cobra.Command {
	var o trainOptions
	var config string
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Fine-tune a model with LoRA on prepared examples",
		Example: `  impulse train --model BSC-LT/salamandra-7b-instruct --data impulse_training.jsonl \
      --output-dir models/impulse --epochs 3 --batch-size 4 --learning-rate 2e-4
  impulse train --model BSC-LT/salamandra-7b-instruct --data tickets.jsonl --prompt-file prompt.txt --schema schema.json \
      --output-dir models/tickets --metric strict`,
		Args: func(cmd *cobra.Command, args []string) error {
			// A flag that needs no value takes none after a space.
			if f := cmd.Flags().Lookup("gradient-checkpointing"); len(args) == 1 && f.Changed && slices.Contains([]string{"auto", "on", "off"}, args[0]) {
				return f.Value.Set(args[0])
			}
			return flagsOnly(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config == "" {
				if err := o.chooseOutputDir(cmd.OutOrStdout()); err != nil {
					return err
				}
			}
			if saved := filepath.Join(o.OutputDir, trainingArgsFile); config == "" && o.Resume && exists(saved) {
				config = saved // the flags of that run
			}
			if config != "" {
				if err := applyConfig(cmd, config); err != nil {
					return err
				}
				if err := o.chooseOutputDir(cmd.OutOrStdout()); err != nil {
					return err
				}
			}
			return inRanks(cmd.Context(), o.rankDeadline, cmd.OutOrStdout(), cmd.ErrOrStderr(), func(ranks train.Ranks, out, log io.Writer) error {
				o.Ranks = ranks
				return runTrain(cmd.Context(), &o, out, log)
			})
		},
	}
	o.addFlags(cmd)
	cmd.Flags().StringVar(&config, "config", "", "JSON file of flags, such as the training_args.json of an earlier run; flags on the command line win")
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// runTrain trains an adapter and writes it. Results go to out, progress to log.
func runTrain(ctx context.Context, o *trainOptions, out, log io.Writer) error {
	if err := errors.Join(o.settle(), o.takeAdapter(), o.Validate()); err != nil {
		return err
	}
	if o.forecast.asked() && !o.DryRun {
		return errors.New("--gpu and --device-memory forecast a run elsewhere: add --dry-run")
	}
	if o.forecast.asked() {
		o.forecast.shards, o.Shards = o.Shards, 1 // of cards that are not here
	}
	if err := o.readData(out); err != nil {
		return err
	}
	o.Settings = func(p *finetune.TrainPlan) (json.RawMessage, error) {
		o.Checkpointing = map[bool]string{true: "on", false: "off"}[p.Memory.Checkpointing] // the flag, as it is used
		return configJSON(o.flags)
	}
	o.Download = true
	if o.Watch && !o.DryRun && (o.Ranks == nil || o.Ranks.Rank() == 0) {
		stop, err := serveWatch(o.OutputDir, watchPort, false, out)
		if err != nil {
			return err
		}
		defer stop()
	}
	screen := newScreen(o, out, log)
	loaded := showTrainProgress(o, screen, log)
	defer loaded()
	o.Hooks = finetune.TrainHooks{Hooks: screen.hooks(), Plan: func(p *finetune.TrainPlan) error {
		o.printPlan(p, out)
		screen.plan(p)
		return nil
	}, Start: func(r finetune.TrainStart) error {
		loaded()
		return screen.start(r)
	}, Address: screen.address}
	result, err := finetune.Train(ctx, o.TrainOptions)
	screen.close()
	if o.forecast.asked() && (err == nil || errors.Is(err, train.ErrMemory)) {
		return o.writeForecast(result.Plan, out)
	}
	if err != nil {
		return o.explain(ctx, result, err)
	}
	if !o.DryRun {
		o.printResult(result, out)
	}
	return nil
}

// showTrainProgress shows what is fetched, loaded, compiled and answered, and warns.
func showTrainProgress(o *trainOptions, screen *screen, log io.Writer) (done func()) {
	var opts finetune.Options
	done = sync.OnceFunc(showProgress(&opts, log))
	o.Progress = func(phase string, finished, total int64) {
		if screen.started() {
			screen.progress(phase, finished, total)
			return
		}
		opts.Progress(phase, finished, total)
	}
	o.Warn = func(w string) { screen.say("warning: %s", w) }
	return done
}

// takeAdapter makes the flags that were not given those of --init-adapter, whose
// they are; those that were and differ are the library's to refuse.
func (o *trainOptions) takeAdapter() error {
	if o.InitAdapter == "" {
		return nil
	}
	a, err := lora.ReadAdapter(o.InitAdapter)
	if err != nil {
		return fmt.Errorf("--init-adapter: %w", err)
	}
	config := a.Config
	for flag, keep := range map[string]func(){
		"lora-r": func() { config.Rank = o.LoRA.Rank }, "lora-alpha": func() { config.Alpha = o.LoRA.Alpha }, "lora-dropout": func() { config.Dropout = o.LoRA.Dropout },
		"target-modules": func() { config.TargetModules = o.LoRA.TargetModules },
		"use-rslora":     func() { config.UseRSLoRA = o.LoRA.UseRSLoRA }, "use-dora": func() { config.UseDoRA = o.LoRA.UseDoRA },
	} {
		if o.flags.Changed(flag) {
			keep()
		}
	}
	o.LoRA = config
	return nil
}

// printPlan says what will be done.
func (o *trainOptions) printPlan(p *finetune.TrainPlan, out io.Writer) {
	if p.Overlap != nil && p.Overlap.Found == 0 {
		fmt.Fprintf(out, "--test-file %s: none of its %d queries, nor a near duplicate, is in the training data\n", o.TestFile, p.Overlap.Tests)
	}
	fmt.Fprint(out, p)
	if o.Metric != "loss" && p.Eval != nil {
		fmt.Fprintln(out, o.describeMetric(p.Eval.Len()))
	}
}

// printResult says what the run gave.
func (o *trainOptions) printResult(r finetune.TrainResult, out io.Writer) {
	fmt.Fprintf(out, "curves and answers: %s\n", filepath.Join(o.OutputDir, "report.html"))
	if r.StoppedEarly {
		fmt.Fprintf(out, "stopped early, after %d of %d steps: %d evaluations in a row were not better\n", r.Step, r.TotalSteps, o.Train.EarlyStoppingPatience)
	}
	is := fmt.Sprintf("the last, after %d steps", r.Step)
	if r.Best != nil {
		is = fmt.Sprintf("the best, after %d steps (%s)", r.Best.Step, o.describe(r.Best.Loss, r.Best.Score))
	}
	if m := r.Mean; m != nil {
		fmt.Fprintf(out, "mean of %s, method %s, rank %d: ", strings.Join(m.Checkpoints, ", "), o.Average.Method, m.Rank)
		fmt.Fprintf(out, "%.2g %% from the mean of the updates, where averaging the factors A and B is %.2g %% off\n", 100*m.Result, 100*m.Factors)
		if r.Best != nil {
			fmt.Fprintf(out, "the mean has loss %.4f on held-out examples\n", m.Loss)
			fmt.Fprintf(out, "%s, is in %s\n", is, filepath.Join(o.OutputDir, fmt.Sprintf("checkpoint-%d", r.Best.Step)))
		}
		is = "the mean of checkpoints"
	}
	fmt.Fprintf(out, "adapter written to %s: %s\n", o.OutputDir, is)
	if r.Last != "" {
		fmt.Fprintf(out, "the last, after %d steps, is in %s\n", r.Step, r.Last)
	}
	fmt.Fprintf(out, "ask it: impulse ask --model-path %s\n", shellWord(o.OutputDir))
}

// explain turns an error of the run into one that says what is left and how to go
// on.
func (o *trainOptions) explain(ctx context.Context, r finetune.TrainResult, err error) error {
	var changed *train.ChangedError
	var full *dataset.NoRoomError
	switch {
	case errors.As(err, &full):
		return fmt.Errorf("%w\n%s", err, adviseLength(full))
	case errors.As(err, &changed):
		text := fmt.Sprintf("the run has changed since %s:", changed.Dir)
		for _, d := range changed.Differences {
			text += "\n  " + flagDifference(d)
		}
		return errors.New(text + "\n--resume-anyway goes on all the same; --overwrite starts anew")
	case errors.Is(err, runlog.ErrShort):
		return fmt.Errorf("%w\n--resume-anyway goes on without them; --overwrite starts anew", err)
	case ctx.Err() != nil && r.Saved == "":
		return errors.New("stopped before the first step was finished")
	case ctx.Err() != nil:
		return fmt.Errorf("stopped; %s is complete: go on with --resume", r.Saved)
	case r.Saved == "", errors.Is(err, train.ErrNotFinite), errors.Is(err, train.ErrNoGradient):
		return err
	}
	return fmt.Errorf("%w\n%s is complete: go on with --resume", err, r.Saved)
}

// adviseLength says what to do about a limit that the instruction fills.
func adviseLength(full *dataset.NoRoomError) string {
	return fmt.Sprintf("--max-length %d takes every record; a batch computes its instruction once, so that a lower limit would save little. "+
		"To save memory: --batch-size 1 --gradient-accumulation-steps 16 --gradient-checkpointing=on", full.Longest)
}

// settingFlags are the flags of settings that are not called like them.
var settingFlags = map[string]string{"r": "lora-r", "max_grad_norm": "gradient-clip", "shared_prefix": "no-shared-prefix", "loss_all": "loss", "unconstrained": "constrained"}

// settingValues are what flags call values of a setting.
var settingValues = map[string]map[string]string{
	"shared_prefix": {"true": "false", "false": "true"}, "unconstrained": {"true": "false", "false": "true"},
	"loss_all": {"true": "all", "false": "completion"}, "gradient_checkpointing": {"true": "on", "false": "off"},
}

// flagDifference shows a difference by the flag that makes it, if one does.
func flagDifference(d train.Difference) string {
	name, ok := settingFlags[d.Setting]
	if !ok {
		name = strings.ReplaceAll(d.Setting, "_", "-")
	}
	if newTrainCommand().Flags().Lookup(name) == nil {
		return d.String()
	}
	for _, value := range []*string{&d.Then, &d.Now} {
		if said, ok := settingValues[d.Setting][*value]; ok {
			*value = said
		}
	}
	d.Setting = "--" + name
	return d.String()
}
