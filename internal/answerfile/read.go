// Package answerfile keeps the answers of a model in files: JSON Lines of
// {"id", "response"}, which others write too, in a journal after a first line that
// says how the questions were asked.
package answerfile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

// Answer is an answer that was written down.
type Answer struct {
	ID       string // of the answer
	Question string // id of the question, mostly the same
	Text     string
}

// line is a line of a file. ID can stand for both ids.
type line struct {
	ID       string  `json:"id"`
	TestID   string  `json:"test_id,omitempty"` // of the question
	Response *string `json:"response"`
}

// head is the first line of a journal.
type head struct {
	Run map[string]string `json:"run"`
}

// Read reads a file of answers; run is what a journal says of them, nil in
// others. Half a surrogate pair in a response, which models that answer in bytes
// can leave, becomes U+FFFD. name stands for the file in errors, which list every
// line that is no answer or repeats an id.
func Read(name string, data []byte) (answers []Answer, run map[string]string, err error) {
	var faults []error
	lines, number := map[string]int{}, 0
	for text := range bytes.Lines(data) {
		if number++; len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if number == 1 {
			if run = readHead(text); run != nil {
				continue
			}
		}
		a, err := parse(text)
		if before, repeated := lines[a.ID]; err == nil && repeated {
			err = fmt.Errorf("repeated id: %q is in line %d too", a.ID, before)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", name, number, err))
			continue
		}
		lines[a.ID] = number
		answers = append(answers, a)
	}
	if faults != nil {
		return nil, nil, errors.Join(faults...)
	}
	return answers, run, nil
}

func readHead(text []byte) map[string]string {
	var h head
	if json.Unmarshal(text, &h) != nil {
		return nil
	}
	return h.Run
}

func parse(text []byte) (Answer, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Answer{}, fmt.Errorf("not an answer: %w", err)
	}
	if l.Response == nil {
		return Answer{}, errors.New(`not an answer: want its text under "response"`)
	}
	a := Answer{cmp.Or(l.ID, l.TestID), cmp.Or(l.TestID, l.ID), *l.Response}
	if a.ID == "" {
		return a, errors.New(`not an answer: want the question's id under "test_id" or "id"`)
	}
	return a, nil
}
