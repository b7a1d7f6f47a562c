package main

import (
	"fmt"

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
	return append(dataset.Formats(), annotated...), err
}

// readRecords reads a file of examples, which must hold one, and tells its
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
