package main

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// flagGroup is flags that a help text shows together.
type flagGroup struct {
	title string
	names []string
}

// trainGroups are the groups of train's help; what is in none comes last.
var trainGroups = []flagGroup{
	{"Model", []string{"model", "dtype", "backend", "devices", "device-deadline", "rank-deadline", "init-adapter", "bos", "no-default-system", "date"}},
	{"Data", []string{"data", "prompt-file", "schema", "request-values", "normalise-answers", "max-length", "overlong", "loss", "eval-split", "shuffle", "seed", "test-file", "allow-test-overlap"}},
	{"LoRA", []string{"lora-r", "lora-alpha", "lora-dropout", "target-modules", "use-rslora", "use-dora", "lora-plus-ratio"}},
	{"Optimiser", []string{"epochs", "max-steps", "batch-size", "gradient-accumulation-steps", "learning-rate", "lr-scheduler", "warmup-steps", "weight-decay", "gradient-clip", "neftune-alpha"}},
	{"Evaluation", []string{"metric", "constrained", "comparators", "early-stopping-patience", "report-samples"}},
	{"Memory", []string{"quantize", "shard", "gradient-checkpointing", "head-chunk", "no-shared-prefix", "max-shapes", "gpu", "device-memory", "dry-run"}},
	{"Output", []string{"output-dir", "title", "description", "examples", "overwrite", "resume", "resume-anyway", "save-steps", "save-total-limit", "average-checkpoints", "average-method", "average-rank", "use-wandb", "watch", "config"}},
}

// setUsage has the commands show every default, zero ones too, and the flags of
// train in groups.
func setUsage(root *cobra.Command) {
	cobra.AddTemplateFunc("flagUsages", flagUsages)
	text := root.UsageTemplate()
	text = strings.ReplaceAll(text, "Flags:\n{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}", "{{flagUsages .}}")
	root.SetUsageTemplate(text)
}

// flagUsages describes the flags of a command.
func flagUsages(cmd *cobra.Command) string {
	flags := cmd.LocalFlags()
	if cmd.Name() != "train" {
		return "Flags:\n" + groupUsages(flags, func(*pflag.Flag) bool { return true })
	}
	var parts []string
	shown := map[string]bool{}
	for _, g := range trainGroups {
		parts = append(parts, g.title+":\n"+groupUsages(flags, func(f *pflag.Flag) bool { return slices.Contains(g.names, f.Name) }))
		for _, name := range g.names {
			shown[name] = true
		}
	}
	parts = append(parts, "Other flags:\n"+groupUsages(flags, func(f *pflag.Flag) bool { return !shown[f.Name] }))
	return strings.Join(parts, "\n\n")
}

// groupUsages describes some of the flags.
func groupUsages(flags *pflag.FlagSet, among func(*pflag.Flag) bool) string {
	some := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.VisitAll(func(f *pflag.Flag) {
		if among(f) {
			c := *f
			c.Usage += zeroDefault(f)
			some.AddFlag(&c)
		}
	})
	return strings.TrimRight(some.FlagUsagesWrapped(helpWidth()), "\n")
}

// zeroDefault is the default of a flag where pflag leaves it out.
func zeroDefault(f *pflag.Flag) string {
	switch {
	case f.Name == "help" || f.Name == "version":
		return ""
	case slices.Contains([]string{"0", "false", "0s"}, f.DefValue):
		return " (default " + f.DefValue + ")"
	case f.DefValue == "" || f.DefValue == "[]":
		for _, said := range []string{"required", "without it", "default", "instead of", "unless"} {
			if strings.Contains(f.Usage, said) {
				return "" // what there is without the flag
			}
		}
		return " (default none)"
	}
	return ""
}

// helpWidth is the width of help texts in characters.
func helpWidth() int {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 100
	}
	return max(60, min(cmp.Or(width, 100), 140))
}
