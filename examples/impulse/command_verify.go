package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/lora"
)

func newVerifyCommand() *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check a merged model's files against its certificate, or an adapter for a server",
		Long: `Check that a merged model is as merge wrote it, file by file; or, of an adapter
directory, that it is whole, and what stands between it and vLLM or llama.cpp.`,
		Example: `  impulse verify models/impulse-merged
  impulse verify models/impulse --server vllm`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("verify wants one directory, not %d: impulse verify DIR", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runVerify(cmd.Context(), args[0], server, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "fail if the adapter has a problem with this server: vllm or llama.cpp; without it, both are reported")
	return cmd
}

// runVerify checks what is in dir.
func runVerify(ctx context.Context, dir, server string, out io.Writer) error {
	if _, err := os.Stat(filepath.Join(dir, lora.ConfigFile)); err == nil {
		return verifyAdapter(dir, server, out)
	}
	if server != "" {
		return fmt.Errorf("--server: %s is no adapter directory, it has no %s", dir, lora.ConfigFile)
	}
	return verifyMerged(ctx, dir, out)
}

// verifyMerged fails with one line for each file that differs from the
// certificate.
func verifyMerged(ctx context.Context, dir string, out io.Writer) error {
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

// verifyAdapter says which servers take the adapter as it is. It fails with one
// line for each problem with the server asked for.
func verifyAdapter(dir, server string, out io.Writer) error {
	servers := []string{"vllm", "llama.cpp"}
	if server != "" {
		servers = []string{server}
	}
	var faults []error
	for _, name := range servers {
		problems, err := lora.CheckServing(name, dir)
		if err != nil {
			return err
		}
		for _, p := range problems {
			if server != "" {
				faults = append(faults, fmt.Errorf("%s: %v", name, p))
			} else {
				fmt.Fprintf(out, "%s: %v\n", name, p)
			}
		}
		if len(problems) == 0 {
			fmt.Fprintf(out, "%s: takes %s as it is\n", name, dir)
		}
	}
	return errors.Join(faults...)
}
