package runlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
)

// Sample is an answer to a held-out question, as the bare model gave it.
type Sample struct {
	Step     int     `json:"step"`
	Epoch    float64 `json:"epoch"`
	ID       string  `json:"id"`
	Query    string  `json:"query"`
	Expected string  `json:"expected"`
	Answer   string  `json:"answer"`
	Complete bool    `json:"complete"` // it came to its end
	Timeout  bool    `json:"timeout"`  // it was given up
}

// readSamples reads the answers of epochs that ended before a step, since the
// end of an epoch is repeated if its checkpoint is resumed.
func readSamples(path string, step int) ([]Sample, error) {
	if step == 0 {
		return nil, nil
	}
	text, err := readIfThere(path)
	if err != nil {
		return nil, err
	}
	samples, err := parseSamples(text, path)
	return slices.DeleteFunc(samples, func(s Sample) bool { return s.Step >= step }), err
}

func parseSamples(text []byte, path string) ([]Sample, error) {
	var samples []Sample
	n := 0
	for line := range bytes.Lines(text) {
		n++
		var s Sample
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		samples = append(samples, s)
	}
	return samples, nil
}

func writeSamples(path string, samples []Sample) error {
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	for _, s := range samples {
		if err := lines.Encode(s); err != nil {
			return err
		}
	}
	return atomicfile.Write(path, b.Bytes())
}
