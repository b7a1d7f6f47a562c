package main

import (
	"io"

	"github.com/impulse-salamandra/finetune/evalx"
)

// writeReport writes results as a page for the browser. model is what was
// scored, for the title.
func (r rules) writeReport(w io.Writer, model string, results []evalx.Result) error {
	opts := evalx.HTMLOptions{Title: "IMPULSE: " + model, Task: r.Name, QuestionPath: "meta.original_query"}
	return evalx.WriteHTML(w, opts, results)
}
