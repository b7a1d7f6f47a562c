package answers

import (
	"cmp"
	"iter"
	"strconv"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// maxDepth is how many arrays and objects may lie within one another in an answer.
const maxDepth = 200

// answer is one of a record.
type answer struct {
	record  *dataset.Record
	index   int // of the record
	message int
	text    []byte
}

// all yields the answers that are trained.
func all(records []dataset.Record) iter.Seq[answer] {
	return func(yield func(answer) bool) {
		for i := range records {
			for k, m := range records[i].Messages {
				if m.Role != chatml.Assistant || m.Untrained {
					continue
				}
				if !yield(answer{&records[i], i, k, []byte(m.Content)}) {
					return
				}
			}
		}
	}
}

// value is the JSON object or array that the answer is.
func (a answer) value() (*strictjson.Value, bool) {
	v, faults, _ := strictjson.Parse(a.text, 0, maxDepth)
	return &v, len(faults) == 0 && (v.Kind == strictjson.Object || v.Kind == strictjson.Array)
}

func (a answer) fault(err error) dataset.Fault {
	field, n := "", 0 // by the number of the answer: a system prompt may have been put before the messages of the file
	for _, m := range a.record.Messages[:a.message+1] {
		if m.Role == chatml.Assistant {
			n++
		}
	}
	if a.message != len(a.record.Messages)-1 {
		field = "answer " + strconv.Itoa(n)
	}
	id := cmp.Or(a.record.ID, "#"+strconv.Itoa(a.index+1))
	return dataset.Fault{File: a.record.File, Line: a.record.Line, Record: id, Field: field, Err: err}
}
