package report_test

import (
	"os"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/evalx/report"
)

func ExampleWriteResult() {
	task := evalx.Task{Fields: []evalx.Field{{Path: "year"}, {Path: "topic"}}}
	r := task.Score(map[string]any{"year": nil, "topic": "hydrogen"}, `{"year": null, "topic": "solar"}`)
	r.ID = "Q1"
	report.WriteResult(os.Stdout, r)
	// Output:
	// FAILED Q1 ()
	//   topic: want "hydrogen", got "solar"
}
