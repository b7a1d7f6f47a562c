package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// otherNames are what people who know other programs call flags of this one, with
// the value if the name holds it. The first that a command has is meant.
var otherNames = map[string][]string{
	"bf16": {"dtype bfloat16"}, "fp16": {"dtype float16"}, "fp32": {"dtype float32"}, "torch-dtype": {"dtype"}, "precision": {"dtype"},
	"load-in-8bit": {"quantize 8bit"}, "load-in-4bit": {"quantize 4bit"}, "quantization": {"quantize"}, "qlora": {"quantize 4bit"},
	"model": {"model-path", "adapter-path"}, "model-id": {"model", "model-path"}, "model-name-or-path": {"model", "model-path"}, "model-path": {"model", "adapter-path"},
	"adapter-path": {"model-path", "init-adapter"}, "adapter": {"model-path", "adapter-path", "init-adapter"}, "base": {"base-model"}, "base-model-path": {"base-model"},
	"dataset": {"data"}, "train-file": {"data"}, "train-data": {"data"}, "data-path": {"data"}, "input": {"input-dir", "data"}, "input-file": {"data"},
	"test": {"test-file"}, "test-data": {"test-file"}, "eval-file": {"test-file"}, "system-prompt": {"prompt-file"}, "prompt": {"prompt-file"}, "system": {"prompt-file"},
	"output": {"output-dir", "output-path", "output-file"}, "out": {"output-dir", "output-path", "output-file"}, "output-path": {"output-dir"}, "output-dir": {"output-path", "output-file"},
	"save-path": {"output-path", "output-dir"}, "results": {"save-results"}, "output-file": {"save-results", "output-path"},
	"num-train-epochs": {"epochs"}, "num-epochs": {"epochs"}, "lr": {"learning-rate"}, "lr-scheduler-type": {"lr-scheduler"}, "scheduler": {"lr-scheduler"},
	"per-device-train-batch-size": {"batch-size"}, "train-batch-size": {"batch-size"}, "per-device-eval-batch-size": {"batch-size"}, "batch": {"batch-size"},
	"gradient-accumulation": {"gradient-accumulation-steps"}, "grad-accum": {"gradient-accumulation-steps"}, "accumulation-steps": {"gradient-accumulation-steps"},
	"max-seq-length": {"max-length"}, "max-seq-len": {"max-length"}, "cutoff-len": {"max-length"}, "max-grad-norm": {"gradient-clip"}, "warmup": {"warmup-steps"},
	"lora-rank": {"lora-r"}, "rank": {"lora-r"}, "r": {"lora-r"}, "alpha": {"lora-alpha"}, "dropout": {"lora-dropout"}, "lora-target-modules": {"target-modules"}, "rslora": {"use-rslora"}, "dora": {"use-dora"},
	"validation-split": {"eval-split"}, "val-split": {"eval-split"}, "test-size": {"eval-split"}, "wandb": {"use-wandb"}, "report-to": {"use-wandb"}, "patience": {"early-stopping-patience"},
	"resume-from-checkpoint": {"resume"}, "overwrite-output-dir": {"overwrite"}, "force": {"overwrite"}, "device": {"backend"}, "device-map": {"backend"}, "gpus": {"devices"}, "load-adapter": {"init-adapter"},
	"max-tokens": {"max-new-tokens"}, "temp": {"temperature"}, "port": {"addr 127.0.0.1:PORT"}, "listen": {"addr"}, "bind": {"addr"}, "api-key": {"api-key-file"}, "key": {"api-key"}, "v": {"verbose"},
}

// explainFlag says which flag is meant by one that a command does not have.
func explainFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s %q, want %s", invalid.GetFlag().Name, invalid.GetValue(), kindOf(invalid.GetFlag()))
	case !errors.As(err, &unknown):
		return err
	}
	name, written := unknown.GetSpecifiedName(), "--"+unknown.GetSpecifiedName()
	if shorts := unknown.GetSpecifiedShortnames(); len(shorts) > 1 {
		name, written = shorts, "-"+shorts // one hyphen where there should be two
	}
	name, _, _ = strings.Cut(name, "=")
	if meant := meantFlag(cmd, strings.ReplaceAll(strings.ToLower(name), "_", "-")); meant != "" {
		return fmt.Errorf("%s has no flag %s: do you mean --%s?", commandName(cmd), written, meant)
	}
	var others []string
	for _, other := range cmd.Root().Commands() {
		if other.Flags().Lookup(name) != nil {
			others = append(others, other.Name())
		}
	}
	if len(others) > 0 {
		return fmt.Errorf("%s has no flag %s: it is one of %s", commandName(cmd), written, strings.Join(others, ", "))
	}
	return fmt.Errorf("%s has no flag %s: %s --help lists those it has", commandName(cmd), written, cmd.CommandPath())
}

// kindOf is what the value of a flag is.
func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int", "int64":
		return "a whole number"
	case "uint", "uint64":
		return "a whole number, 0 or more"
	case "float64":
		return "a number"
	case "bool":
		return "true or false, behind ="
	case "duration":
		return "a time such as 30s or 2m"
	}
	return "another " + f.Value.Type()
}

// commandName is what a command is called behind the program's name.
func commandName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// meantFlag is the flag of a command, with its value if the name holds one, that a
// name comes nearest to; "" for none.
func meantFlag(cmd *cobra.Command, name string) string {
	if cmd.Flags().Lookup(name) != nil {
		return name
	}
	for _, meant := range otherNames[name] {
		if flag, _, _ := strings.Cut(meant, " "); cmd.Flags().Lookup(flag) != nil {
			return meant
		}
	}
	best, least := "", 1+len(name)/4
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := editDistance(name, f.Name); d <= least && (best == "" || d < least) {
			best, least = f.Name, d
		}
	})
	return best
}

// editDistance is how many characters have to be put in, taken out, changed or
// exchanged with their neighbour to make b of a.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
		for j := 1; j <= len(b); j++ {
			if i == 0 {
				rows[i][j] = j
				continue
			}
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// flagsOnly refuses arguments that are no flags, and says which flag they belong to.
func flagsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return explainArgument(cmd, args[0])
}

func explainArgument(cmd *cobra.Command, arg string) error {
	for _, f := range argumentFlags(arg) {
		if cmd.Flags().Lookup(f) != nil {
			return fmt.Errorf("%s takes no argument %s: do you mean --%s %s?", commandName(cmd), arg, f, arg)
		}
	}
	if arg == "true" || arg == "false" {
		return fmt.Errorf("%s takes no argument %s: the value of a flag that is on or off comes behind =, as in --shuffle=%s", commandName(cmd), arg, arg)
	}
	return fmt.Errorf("%s takes no argument, and %q is one: %s --help lists its flags", commandName(cmd), arg, cmd.CommandPath())
}

// explainCommand says which command is meant by one that there is not.
func explainCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	root.SuggestionsMinimumDistance = 2
	if meant := root.SuggestionsFor(args[0]); len(meant) > 0 {
		return fmt.Errorf("there is no command %s: do you mean %s?", args[0], strings.Join(meant, " or "))
	}
	return fmt.Errorf("there is no command %s: impulse --help lists those there are", args[0])
}

// argumentFlags are the flags that a path may belong to, the likeliest first.
func argumentFlags(arg string) []string {
	info, err := os.Stat(arg)
	switch {
	case isModelDir(arg) || err != nil && strings.Count(arg, "/") == 1 && !strings.HasPrefix(arg, "."):
		return []string{"model-path", "adapter-path", "model"}
	case err == nil && info.IsDir():
		return []string{"input-dir", "output-dir"}
	case slices.Contains([]string{".json", ".jsonl", ".csv", ".tsv"}, strings.ToLower(filepath.Ext(arg))):
		return []string{"data", "test-file", "output-file"}
	}
	return nil
}

// isModelDir reports whether a directory holds a model or an adapter.
func isModelDir(path string) bool {
	return exists(filepath.Join(path, "config.json")) || exists(filepath.Join(path, "adapter_config.json"))
}
