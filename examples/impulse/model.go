package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/internal/templatecheck"
	"github.com/impulse-salamandra/finetune/salamandra/device"
)

// modelOptions are the flags that say which model answers and how it is
// prompted.
type modelOptions struct {
	ModelPath, BaseModel string
	PromptFile, Schema   string
	Dtype, Quantize      string
	Shards               int
	AllowDrift, Download bool

	// otherTask: a model that does not say how it is prompted is not asked as
	// IMPULSE's are.
	otherTask bool
}

func (o *modelOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.ModelPath, "model-path", "", "adapter or model directory, or a hub id (required)")
	f.StringVar(&o.BaseModel, "base-model", "", "base of the adapter, if it is not where the adapter says")
	f.StringVar(&o.PromptFile, "prompt-file", "", "system prompt, instead of the one in prompt.json")
	f.StringVar(&o.Schema, "schema", "", "JSON Schema of the answers, instead of the one in prompt.json")
	f.StringVar(&o.Dtype, "dtype", "auto", "auto, float32, bfloat16 or float16")
	f.StringVar(&o.Quantize, "quantize", "auto", "linear layers of the base: none, 8bit, 4bit, or auto: as they were when the adapter was trained")
	f.IntVar(&o.Shards, "shard", 1, "divide the model among so many devices, for one that a single device has no room for")
	f.BoolVar(&o.Download, "download", false, "fetch the base model that the adapter names if it is not in the local cache")
	f.BoolVar(&o.AllowDrift, "allow-drift", false, "go on although tokenizer, base or system prompts differ from training")
}

// open opens the model. Warnings go to out, progress to log.
func (o *modelOptions) open(ctx context.Context, opts finetune.Options, out, log io.Writer) (*finetune.Model, error) {
	dir, builtIn, err := o.settle(ctx, &opts, log)
	if err != nil {
		return nil, err
	}
	if builtIn != "" {
		fmt.Fprintf(out, "no %s in %s: asked with IMPULSE's %s\n", chatml.ContractFile, dir, builtIn)
	}
	opts.Warn = func(w string) { fmt.Fprintf(out, "warning: %s\n", w) }
	defer showProgress(&opts, log)()
	return finetune.Open(ctx, dir, opts)
}

// settle finds the model's directory and completes the options by the flags. One
// that says nothing of how it is prompted is asked as IMPULSE's are, unless flags
// say otherwise or the task is another: builtIn names what is IMPULSE's.
func (o *modelOptions) settle(ctx context.Context, opts *finetune.Options, log io.Writer) (dir, builtIn string, err error) {
	if dir, err = findModel(ctx, "--model-path", o.ModelPath, log); err != nil {
		return "", "", err
	}
	opts.Base, opts.Dtype, opts.Quantize, opts.Shards, opts.Name = o.BaseModel, o.Dtype, o.Quantize, o.Shards, flagOf
	opts.AllowDrift, opts.DownloadBase, opts.Download = o.AllowDrift, o.Download, true
	if o.PromptFile != "" {
		prompt, err := impulse.ReadPrompt(o.PromptFile)
		if err != nil {
			return "", "", err
		}
		opts.SystemPrompt = &prompt
	}
	if o.Schema != "" {
		if opts.Schema, err = readSchema(o.Schema); err != nil {
			return "", "", err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, chatml.ContractFile)); o.otherTask || !errors.Is(err, fs.ErrNotExist) {
		return dir, "", nil
	}
	var own []string
	if opts.SystemPrompt == nil {
		prompt := impulse.SystemPrompt(impulse.Current)
		opts.SystemPrompt, own = &prompt, append(own, "prompt")
	}
	if opts.Schema == nil {
		opts.Schema, own = impulse.Schema(impulse.Current), append(own, "schema")
	}
	return dir, strings.Join(own, " and "), nil
}

// showProgress shows what the options tell of; done takes the last bar away.
func showProgress(opts *finetune.Options, log io.Writer) (done func()) {
	var bar *progress
	opts.Progress = func(phase string, done, total int64) {
		if bar == nil || bar.title != phase {
			if bar != nil {
				bar.done()
			}
			bar = newProgress(log, phase)
		}
		bar.set(done, total, "")
	}
	return func() {
		if bar != nil {
			bar.done()
		}
	}
}

// openDevice opens the backend that a flag names and says which it is.
func openDevice(flag string, out io.Writer) (*device.Device, error) {
	d, err := device.Open(flag)
	if err == nil {
		fmt.Fprintln(out, d)
	}
	return d, err
}

// findModel returns the directory of the model that a flag names. A hub model
// that is not in the cache is fetched, which the user has asked for by its name.
func findModel(ctx context.Context, flag, name string, log io.Writer) (string, error) {
	opts := finetune.Options{Download: true}
	defer showProgress(&opts, log)()
	dir, err := finetune.FindModel(ctx, name, opts)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return dir, nil
}

// findBase finds the base of an adapter: what the flag names, else what the
// adapter names. A hub model that only the adapter names, which may come from a
// stranger, is fetched only if told so.
func findBase(ctx context.Context, adapter, flag string, mayDownload bool, log io.Writer) (string, error) {
	opts := finetune.Options{Base: flag, Download: true, DownloadBase: mayDownload, Name: flagOf}
	defer showProgress(&opts, log)()
	return finetune.FindBase(ctx, adapter, opts)
}

// warnTemplate says so if a model's own chat template would prompt it otherwise
// than we do.
func warnTemplate(dir string, t chatml.Template, out io.Writer) error {
	warning, err := templatecheck.Check(dir, t)
	if err == nil && warning != "" {
		fmt.Fprintf(out, "warning: %s\n", warning)
	}
	return err
}
