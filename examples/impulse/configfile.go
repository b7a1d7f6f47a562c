package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// applyConfig sets the flags that the command line left alone from a JSON file
// whose keys are flag names: {"lora-r": 8, "data": "train.jsonl"}. Underscores
// count as hyphens. The error lists every key and value that does not fit.
func applyConfig(cmd *cobra.Command, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var values map[string]any
	if err := dec.Decode(&values); err != nil {
		return fmt.Errorf("--config %s: want a JSON object of flags: %w", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("--config %s: text after the JSON object", path)
	}
	given := map[string]bool{}
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
	var faults []error
	for key, value := range values {
		name := strings.ReplaceAll(key, "_", "-")
		f := cmd.Flags().Lookup(name)
		if f == nil || name == "config" || name == "help" {
			faults = append(faults, fmt.Errorf("--config %s: no flag --%s", path, name))
			continue
		}
		if given[name] {
			continue
		}
		if err := setFlag(f, value); err != nil {
			faults = append(faults, fmt.Errorf("--config %s: %s: %w", path, key, err))
		}
		f.Changed = true
	}
	return errors.Join(faults...)
}

// setFlag gives a flag the value of a JSON file.
func setFlag(f *pflag.Flag, value any) error {
	list, ok := value.([]any)
	if !ok {
		return f.Value.Set(fmt.Sprint(value))
	}
	s, ok := f.Value.(pflag.SliceValue)
	if !ok {
		return fmt.Errorf("a list, want one value")
	}
	items := make([]string, len(list))
	for i, v := range list {
		items[i] = fmt.Sprint(v)
	}
	return s.Replace(items)
}

// onceFlags are for one command line alone: a file of flags does not hold them.
var onceFlags = []string{"config", "help", "dry-run", "overwrite", "resume", "resume-anyway"}

// configJSON writes the flags as a file that applyConfig reads.
func configJSON(flags *pflag.FlagSet) ([]byte, error) {
	values := map[string]any{}
	flags.VisitAll(func(f *pflag.Flag) {
		switch {
		case slices.Contains(onceFlags, f.Name):
		case f.Value.Type() == "string" && f.Value.String() == "": // not given
		case f.Value.Type() == "string":
			values[f.Name] = f.Value.String()
		default:
			if s, ok := f.Value.(pflag.SliceValue); ok {
				values[f.Name] = s.GetSlice()
			} else {
				values[f.Name] = json.RawMessage(f.Value.String()) // numbers and booleans
			}
		}
	})
	data, err := json.MarshalIndent(values, "", "  ")
	return append(data, '\n'), err
}
