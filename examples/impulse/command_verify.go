package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/lora"
)

func newVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "verify DIR",
		Short:   "Check that a merged model is as merge wrote it, file by file",
		Example: `  impulse verify models/impulse-merged`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runVerify(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
}

// runVerify fails with one line for each file that differs from the
// certificate.
func runVerify(ctx context.Context, dir string, out io.Writer) error {
	report, err := lora.VerifyDir(ctx, dir)
	if err != nil {
		return err
	}
	c := report.Certificate
	var size int64
	for _, sum := range report.Files {
		size += sum.Size
	}
	fmt.Fprintf(out, "%s is as it was merged: %d files, %.1f MB\n", dir, len(report.Files), float64(size)/1e6)
	fmt.Fprintf(out, "base:     %s\n", c.Base)
	for _, a := range c.Adapters {
		fmt.Fprintf(out, "adapter:  %s, weight %v\n", a.Dir, a.Weight)
	}
	fmt.Fprintf(out, "tensors:  %d merged (%s), %d untouched\n", len(c.Merged), c.Method, len(c.Untouched))
	fmt.Fprintf(out, "rounding: %.2f %% of the changed weights were lost\n", 100*c.LostShare)
	fmt.Fprintf(out, "seal:     %s\n", c.Seal)
	for _, w := range c.Warnings {
		fmt.Fprintf(out, "warning of the merge: %s\n", w)
	}
	return nil
}
