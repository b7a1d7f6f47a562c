package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/salamandra/gguf"
)

// exportOptions are the flags of export.
type exportOptions struct {
	ModelPath, AdapterPath string
	Output                 string
	Type                   string
}

func newExportCommand() *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a model, or an adapter, as a GGUF file for llama.cpp",
		Long: "Write a model directory, or with --adapter-path an adapter beside its base, as a GGUF file for llama.cpp.\n" +
			"An adapter is loaded there with --lora; it can have neither DoRA nor a quantised base.",
		Example: `  impulse export --model-path models/impulse-merged --output impulse.gguf --type q8_0
  impulse export --adapter-path models/impulse --output impulse-lora.gguf`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runExport(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.ModelPath, "model-path", "", "model directory; with --adapter-path its base, if it is not where the adapter says")
	f.StringVar(&o.AdapterPath, "adapter-path", "", "adapter directory, to write only the adapter")
	f.StringVar(&o.Output, "output", "", "file to write (required)")
	f.StringVar(&o.Type, "type", "f32", "format of the matrices: f32, f16, bf16 or q8_0")
	return cmd
}

// runExport writes the file and says what is in it.
func runExport(ctx context.Context, o exportOptions, out, log io.Writer) error {
	var faults []error
	if o.Output == "" {
		faults = append(faults, errors.New("--output is required"))
	}
	if o.ModelPath == "" && o.AdapterPath == "" {
		faults = append(faults, errors.New("--model-path or --adapter-path is required"))
	}
	if !slices.Contains(gguf.Types(), strings.ToLower(o.Type)) {
		faults = append(faults, fmt.Errorf("--type %q, want one of %s", o.Type, strings.Join(gguf.Types(), ", ")))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	export := exportModel
	if o.AdapterPath != "" {
		export = exportAdapter
	}
	report, err := export(ctx, o, log)
	if err != nil {
		return err
	}
	for _, w := range report.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	fmt.Fprintf(out, "wrote %d tensors as %s to %s\n", report.Tensors, strings.ToLower(o.Type), o.Output)
	return nil
}

// exportModel writes a whole model.
func exportModel(ctx context.Context, o exportOptions, log io.Writer) (gguf.Report, error) {
	dir, err := findModel(ctx, "--model-path", o.ModelPath, log)
	if err != nil {
		return gguf.Report{}, err
	}
	bar := newProgress(log, "exporting")
	report, err := gguf.ExportModel(ctx, gguf.ModelOptions{
		Model: dir, Output: o.Output, Type: o.Type,
		Progress: func(_ string, done, total int64) { bar.set(done, total, "") },
	})
	bar.done()
	return report, err
}

// exportAdapter writes an adapter.
func exportAdapter(ctx context.Context, o exportOptions, log io.Writer) (gguf.Report, error) {
	base, err := findBase(ctx, o.AdapterPath, o.ModelPath, false, log)
	if err != nil {
		return gguf.Report{}, err
	}
	return gguf.ExportAdapter(ctx, gguf.AdapterOptions{Adapter: o.AdapterPath, Model: base, Output: o.Output, Type: o.Type})
}
