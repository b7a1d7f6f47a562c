package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// mergeOptions are the flags of merge.
type mergeOptions struct {
	AdapterPath, OutputPath, BaseModel string
	Dtype                              string
	MaxShardSize                       int64
	AllowDrift, Download               bool
}

func newMergeCommand() *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:     "merge",
		Short:   "Merge an adapter into its base, as a model directory for deployment",
		Example: `  impulse merge --adapter-path models/impulse --output-path models/impulse-merged`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runMerge(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.AdapterPath, "adapter-path", "", "adapter directory (required)")
	f.StringVar(&o.OutputPath, "output-path", "", "directory to write; it must not exist or be empty (required)")
	f.StringVar(&o.BaseModel, "base-model", "", "base of the adapter, if it is not where the adapter says")
	f.StringVar(&o.Dtype, "dtype", "keep", "dtype of the merged weights: keep, bfloat16, float16 or float32")
	f.Int64Var(&o.MaxShardSize, "max-shard-size", 0, "largest file in bytes; 0 for 5 GB, as Transformers writes")
	f.BoolVar(&o.Download, "download", false, "fetch a base that is not in the local cache")
	f.BoolVar(&o.AllowDrift, "allow-drift", false, "merge although tokenizer or base differ from training")
	return cmd
}

// runMerge merges and says what was done.
func runMerge(ctx context.Context, o mergeOptions, out, log io.Writer) error {
	var faults []error
	for _, r := range []struct{ flag, value string }{{"--adapter-path", o.AdapterPath}, {"--output-path", o.OutputPath}} {
		if r.value == "" {
			faults = append(faults, fmt.Errorf("%s is required", r.flag))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	adapter, err := lora.ReadAdapter(o.AdapterPath)
	if err != nil {
		return err
	}
	base, err := findBase(ctx, adapter, o.BaseModel, o.Download, log)
	if err != nil {
		return err
	}
	if err := o.checkContract(ctx, base, out); err != nil {
		return err
	}
	bar := newProgress(log, "merging")
	report, err := lora.Merge(ctx, lora.MergeOptions{
		Base: base, Adapter: o.AdapterPath, Output: o.OutputPath, Dtype: o.Dtype, MaxShardSize: o.MaxShardSize,
		Progress: func(p lora.MergeProgress) { bar.set(p.Done, p.Total, "") },
	})
	bar.done()
	if err != nil {
		return err
	}
	for _, w := range report.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	fmt.Fprintf(out, "merged %d of %d tensors into %s; %.2f %% of the changed weights were lost to rounding\n",
		len(report.Merged), len(report.Merged)+len(report.Untouched), o.OutputPath, 100*report.LostShare)
	return nil
}

// checkContract refuses a base or tokenizer other than that of training.
func (o *mergeOptions) checkContract(ctx context.Context, base string, out io.Writer) error {
	trained, err := chatml.ReadContract(filepath.Join(o.AdapterPath, chatml.ContractFile))
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "no %s in %s: nothing says how the model was prompted\n", chatml.ContractFile, o.AdapterPath)
		return nil
	}
	if err != nil {
		return err
	}
	tok, err := tokenizer.Load(base)
	if err != nil {
		return err
	}
	return checkDrift(ctx, trained, tok, base, o.AllowDrift, out)
}
