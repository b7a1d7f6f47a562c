package main

import (
	"fmt"
	"io"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
)

// dataFormats are the formats of files with examples: those of package dataset,
// and IMPULSE's annotated records, which get the system prompt in the file, or
// the built-in one if it is "".
func dataFormats(promptFile string) ([]dataset.Format, error) {
	system := ""
	if promptFile != "" {
		var err error
		if system, err = impulse.ReadPrompt(promptFile); err != nil {
			return nil, err
		}
	}
	annotated, err := impulse.Formats(system, impulse.Options{Validate: true})
	return annotated, err
}

// warnRecords says what is odd about records.
func warnRecords(records []dataset.Record, out io.Writer) {
	var odd dataset.Faults
	for _, r := range records {
		odd = append(odd, r.Warnings...)
	}
	if odd != nil {
		fmt.Fprintf(out, "warning: %v\n", odd)
	}
}

// readRecords reads a file of examples, which must hold one, and returns its
// format.
func readRecords(path, promptFile string) (records []dataset.Record, format string, err error) {
	formats, err := dataFormats(promptFile)
	if err != nil {
		return nil, "", err
	}
	records, format, err = dataset.ReadFile(path, formats...)
	if err == nil && len(records) == 0 {
		err = fmt.Errorf("%s: no examples", path)
	}
	return records, format, err
}
