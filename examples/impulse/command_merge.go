package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
)

// mergeOptions are the flags of merge.
type mergeOptions struct {
	AdapterPaths          []string
	OutputPath, BaseModel string
	Base                  string
	Dtype                 string
	MaxShardSize          int64
	AllowDrift, Download  bool
	Weights               []float64 // of each adapter; none for 1
	Method                string
	Density               float64
	Seed                  uint64
	Rank                  int
	Verify                int // prompts
	VerifyDtype, VerifyOn string
}

func newMergeCommand() *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:   "merge",
		Short: "Merge an adapter into its base, as a model directory for deployment",
		Long: `Merge an adapter, or several, into their base, as a model directory for
deployment. The directory gets its name when it is complete, was read back, and,
with --verify, answers as base and adapter do. "impulse verify DIR" checks its
files at any time later.`,
		Example: `  impulse merge --adapter-path models/impulse --output-path models/impulse-merged --verify 4
  impulse merge --adapter-path a --adapter-path b --weights 0.7,0.3 --method ties --density 0.5 --output-path merged`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runMerge(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.AdapterPaths, "adapter-path", nil, "adapter directory, several times to merge several (required)")
	f.StringVar(&o.OutputPath, "output-path", "", "directory to write; it must not exist or be empty (required)")
	f.StringVar(&o.BaseModel, "base-model", "", "base of the adapter, if it is not where the adapter says")
	f.StringVar(&o.Base, "base", "stored", "what to merge into: stored, the base as its files have it, or dequantised, what an adapter of a quantised base was trained on")
	f.StringVar(&o.Dtype, "dtype", "keep", "dtype of the merged weights: keep, bfloat16, float16 or float32")
	f.Int64Var(&o.MaxShardSize, "max-shard-size", 0, "largest file in bytes; 0 for 5 GB, as Transformers writes")
	f.BoolVar(&o.Download, "download", false, "fetch the base model that the adapter names if it is not in the local cache")
	f.BoolVar(&o.AllowDrift, "allow-drift", false, "merge although tokenizer or base differ from training")
	f.Float64SliceVar(&o.Weights, "weights", nil, "factor of each adapter's update, in the order of --adapter-path; without it, 1")
	f.StringVar(&o.Method, "method", "linear", "how updates of several adapters become one: linear, cat, svd, ties or dare")
	f.Float64Var(&o.Density, "density", 0, "part of each update that ties and dare keep, above 0 and up to 1")
	f.Uint64Var(&o.Seed, "seed", 0, "where dare takes its random choices from")
	f.IntVar(&o.Rank, "rank", 0, "rank that svd reduces the update to")
	f.IntVar(&o.Verify, "verify", 0, "compare the merged model with base and adapter after this many prompts; 0 for not at all")
	f.StringVar(&o.VerifyDtype, "verify-dtype", "float32", "dtype to compute that in: float32, bfloat16, float16 or auto")
	f.StringVar(&o.VerifyOn, "backend", "auto", "for --verify: auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	return cmd
}

// check lists what is wrong with the flags.
func (o *mergeOptions) check() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	o.Dtype, o.Method = cmp.Or(o.Dtype, "keep"), cmp.Or(o.Method, string(lora.MethodLinear)) // of demo, which has no such flags
	check(len(o.AdapterPaths) > 0, "--adapter-path is required")
	check(o.OutputPath != "", "--output-path is required")
	check(len(o.Weights) == 0 || len(o.Weights) == len(o.AdapterPaths), "--weights has %d numbers for %d adapters", len(o.Weights), len(o.AdapterPaths))
	check(o.Base == "stored" || o.Base == "dequantised", "--base is %q, want stored or dequantised", o.Base)
	check(o.Verify >= 0, "--verify is %d, want 0 or more", o.Verify)
	check(slices.Contains([]string{"float32", "bfloat16", "float16", "auto"}, o.VerifyDtype), "--verify-dtype is %q, want float32, bfloat16, float16 or auto", o.VerifyDtype)
	check(slices.Contains([]string{"keep", "float32", "bfloat16", "float16"}, o.Dtype), "--dtype %q, want keep, bfloat16, float16 or float32", o.Dtype)
	check(slices.Contains([]string{"linear", "cat", "svd", "ties", "dare"}, o.Method), "--method %q, want linear, cat, svd, ties or dare", o.Method)
	check((o.Method == string(lora.MethodSVD)) == (o.Rank > 0), "--rank %d with --method %s, want 1 or more for svd and 0 for others", o.Rank, o.Method)
	full := o.Method == string(lora.MethodTIES) || o.Method == string(lora.MethodDARE)
	check(full && o.Density > 0 && o.Density <= 1 || !full && o.Density == 0, "--density %v with --method %s, want above 0 and up to 1 for ties and dare, and 0 for others", o.Density, o.Method)
	check(o.Verify == 0 || !full, "--verify with --method %s: there is no adapter to compare with, as the update has full rank", o.Method)
	return errors.Join(faults...)
}

// adapters are those to be merged, with their weights.
func (o *mergeOptions) adapters() []lora.WeightedAdapter {
	var list []lora.WeightedAdapter
	for i, dir := range o.AdapterPaths {
		weight := 1.0
		if i < len(o.Weights) {
			weight = o.Weights[i]
		}
		list = append(list, lora.WeightedAdapter{Dir: dir, Weight: weight})
	}
	return list
}

// runMerge merges and says what was done.
func runMerge(ctx context.Context, o mergeOptions, out, log io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	base, err := findBase(ctx, o.AdapterPaths[0], o.BaseModel, o.Download, log)
	if err != nil {
		return err
	}
	for _, dir := range o.AdapterPaths {
		if _, err := os.Stat(filepath.Join(dir, chatml.ContractFile)); errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(out, "no %s in %s: nothing says how the model was prompted\n", chatml.ContractFile, dir)
		}
	}
	opts := lora.MergeOptions{
		Base: base, Adapters: o.adapters(), Output: o.OutputPath, Dtype: o.Dtype, MaxShardSize: o.MaxShardSize,
		Method: lora.MergeMethod(o.Method), Density: o.Density, Seed: o.Seed, Rank: o.Rank,
		Dequantized: o.Base == "dequantised", AllowDrift: o.AllowDrift, Verify: o.Verify, VerifyDtype: o.VerifyDtype, Backend: o.VerifyOn,
	}
	bar := newProgress(log, "merging")
	opts.Progress = func(phase string, done, total int64) { bar.set(done, total, phase) }
	report, err := lora.Merge(ctx, opts)
	bar.done()
	if errors.Is(err, chatml.ErrDrift) {
		err = fmt.Errorf("%w (--allow-drift to merge all the same)", err)
	}
	if err != nil {
		return err
	}
	if report.Verified != nil {
		fmt.Fprintf(out, "verified%s: %v\n", besideBase(report), report.Verified)
	}
	if report.FromTrained != nil {
		d := report.FromTrained
		fmt.Fprintf(out, "beside the base as it was in training, quantised, logits are off by %.2g, at most %.2g, likeliest token equal %d of %d times\n",
			d.Error, d.Largest, d.SameToken, d.Prompts)
	}
	for _, c := range report.ChangedFiles {
		fmt.Fprintf(out, "%s\n", c)
	}
	for _, w := range report.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	fmt.Fprintf(out, "merged %d of %d tensors into %s; %.2f %% of the changed weights were lost to rounding\n",
		len(report.Merged), len(report.Merged)+len(report.Untouched), o.OutputPath, 100*report.LostShare)
	return nil
}

// besideBase says what a merge was compared with, where there are two bases to choose from.
func besideBase(r lora.MergeReport) string {
	switch {
	case r.Dequantized != "":
		return " beside the base as it was in training, " + r.Dequantized
	case r.FromTrained != nil:
		return " beside the base as its files have it"
	}
	return ""
}
