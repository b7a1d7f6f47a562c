package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// applyConfig sets the flags that the command line does not set, from a JSON file
// whose keys are flag names: {"lora-r": 8, "data": "train.jsonl"}. Underscores
// count as hyphens. The error lists every key and value that does not fit.
func applyConfig(cmd *cobra.Command, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	list := faults.List{Subject: "--config " + path}
	values := strictjson.ReadFields(data, &list, nil)
	if values == nil {
		return list.Err()
	}
	given := map[string]bool{}
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
	for _, key := range values.Keys() {
		name := strings.ReplaceAll(key, "_", "-")
		f := cmd.Flags().Lookup(name)
		if f == nil || name == "config" || name == "help" {
			list.Addf("", "no flag --%s", name)
			continue
		}
		value := values.Value(key)
		if given[name] || value == nil {
			continue
		}
		list.Add(key, setFlag(f, value))
		f.Changed = true
	}
	return list.Err()
}

// setFlag gives a flag the value of a JSON file.
func setFlag(f *pflag.Flag, value *strictjson.Value) error {
	switch value.Kind {
	case strictjson.Object:
		return errors.New("an object, want one value")
	case strictjson.Array:
	default:
		err := f.Value.Set(value.Text)
		want := map[string]string{"int": "a whole number", "float64": "a number", "bool": "true or false"}[f.Value.Type()]
		if err != nil && want != "" {
			err = fmt.Errorf("%q, want %s", value.Text, want)
		}
		return err
	}
	s, ok := f.Value.(pflag.SliceValue)
	if !ok {
		return errors.New("a list, want one value")
	}
	items := make([]string, len(value.Items))
	for i, v := range value.Items {
		items[i] = v.Text
	}
	return s.Replace(items)
}

// onceFlags are for one command line only: a file of flags does not hold them.
var onceFlags = []string{"config", "help", "dry-run", "watch", "gpu", "device-memory", "overwrite", "resume", "resume-anyway", "device-deadline", "rank-deadline"}

// configJSON writes the flags as a file that applyConfig reads, from whatever
// directory.
func configJSON(flags *pflag.FlagSet) ([]byte, error) {
	values := map[string]any{}
	var faults []error
	flags.VisitAll(func(f *pflag.Flag) {
		text := f.Value.String()
		list, isList := f.Value.(pflag.SliceValue)
		switch {
		case slices.Contains(onceFlags, f.Name):
		case f.Value.Type() == "string" && text == "", isList && len(list.GetSlice()) == 0: // not given
		case isList:
			values[f.Name] = list.GetSlice()
		case f.Value.Type() != "string":
			values[f.Name] = json.RawMessage(text) // numbers and booleans
		default:
			if namesPath(f.Name, text) {
				var err error
				text, err = filepath.Abs(text)
				faults = append(faults, err)
			}
			values[f.Name] = text
		}
	})
	data, err := json.MarshalIndent(values, "", "  ")
	return append(data, '\n'), errors.Join(append(faults, err)...)
}

// namesPath reports whether the value of a flag is a path: a model may be a hub id
// and a schema a word.
func namesPath(flag, value string) bool {
	switch flag {
	case "data", "output-dir", "test-file", "prompt-file", "init-adapter":
		return true
	case "model":
		return exists(value)
	case "schema":
		return value != "auto" && value != "none"
	}
	return false
}
