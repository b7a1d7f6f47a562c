package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
)

// Causes of a line of predictions that cannot be scored.
var (
	errPredictionLine     = errors.New("not a prediction")
	errPredictionUnknown  = errors.New("no such question")
	errPredictionRepeated = errors.New("repeated id")
)

// prediction is a line of a file of predictions. ID can stand for both ids.
type prediction struct {
	ID       string  `json:"id"`
	TestID   string  `json:"test_id"` // the question
	Response *string `json:"response"`
}

// scorePredictionsFile is scorePredictions of a file.
func scorePredictionsFile(ctx context.Context, path string, records []impulse.Record, task evalx.Task) (results []evalx.Result, unanswered []string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("predictions: %w", err)
	}
	defer file.Close()
	return scorePredictions(ctx, file, path, records, task)
}

// scorePredictions scores answers that were written down, a JSON object with
// "response" and "id", "test_id" or both on each line, in their order. A result
// has the id of its line. Questions without an answer are returned by their ids:
// they count nowhere. name stands for the file in errors, which tell of every
// line that cannot be scored.
func scorePredictions(ctx context.Context, r io.Reader, name string, records []impulse.Record, task evalx.Task) (results []evalx.Result, unanswered []string, err error) {
	questions, err := wantedValues(records)
	if err != nil {
		return nil, nil, err
	}
	var faults []error
	ids, answered := map[string]int{}, map[string]bool{}
	input := bufio.NewReader(r)
	for number := 1; ; number++ {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		line, err := input.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, nil, fmt.Errorf("predictions: %w", err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			p, fault := parsePrediction(line)
			want, known := questions[p.TestID]
			before, repeated := ids[p.ID]
			switch {
			case fault != nil:
			case !known:
				fault = fmt.Errorf("%w: %q", errPredictionUnknown, p.TestID)
			case repeated:
				fault = fmt.Errorf("%w: %q is in line %d too", errPredictionRepeated, p.ID, before)
			default:
				ids[p.ID], answered[p.TestID] = number, true
				if p.ID != p.TestID {
					want = withID(want, p.TestID)
				}
				result := task.Score(want, *p.Response)
				result.ID = p.ID
				results = append(results, result)
			}
			if fault != nil {
				faults = append(faults, fmt.Errorf("%s:%d: %w", name, number, fault))
			}
		}
		if err == io.EOF {
			break
		}
	}
	if faults != nil {
		return nil, nil, errors.Join(faults...)
	}
	for _, record := range records {
		if !answered[record.ID] {
			unanswered = append(unanswered, record.ID)
		}
	}
	return results, unanswered, nil
}

// parsePrediction reads a line. Half a surrogate pair in the response, which
// models that answer in bytes can leave, becomes U+FFFD.
func parsePrediction(line []byte) (prediction, error) {
	var p prediction
	if err := json.Unmarshal(line, &p); err != nil {
		return p, fmt.Errorf("%w: %w", errPredictionLine, err)
	}
	if p.Response == nil {
		return p, fmt.Errorf(`%w: want the answer as text under "response"`, errPredictionLine)
	}
	if p.ID == "" {
		p.ID = p.TestID
	}
	if p.TestID == "" {
		p.TestID = p.ID
	}
	if p.ID == "" {
		return p, fmt.Errorf(`%w: want the question's id under "test_id" or "id"`, errPredictionLine)
	}
	return p, nil
}

// wantedValues are the annotations of records by their ids.
func wantedValues(records []impulse.Record) (map[string]evalx.Value, error) {
	questions := make(map[string]evalx.Value, len(records))
	for _, r := range records {
		want, err := evalx.Parse(r.Answer)
		if err != nil {
			return nil, fmt.Errorf("annotation of %s: %w", r.ID, err)
		}
		questions[r.ID] = want
	}
	return questions, nil
}

// withID returns an annotation that has its id as meta.id, where tables look for
// the question of a result by another id.
func withID(want evalx.Value, id string) evalx.Value {
	object, ok1 := want.(map[string]any)
	meta, ok2 := evalx.Lookup(want, "meta").(map[string]any)
	if !ok1 || !ok2 {
		return want
	}
	object, meta = maps.Clone(object), maps.Clone(meta)
	meta["id"], object["meta"] = id, meta
	return object
}
