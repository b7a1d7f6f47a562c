package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/spreadsheet"
)

// WriteTSV writes a run as a table for spreadsheets, one line for each answer: id,
// the groups, constrained, valid_json, schema_compliant, the fields by their names,
// all_correct, passed (1 or 0, constrained empty if not known, schema_compliant without a schema), the errors and the
// answer. Groups and fields are those of the first result, as all of one task have
// them.
//
// Cells are separated by tabs, lines end with CR LF, and a cell with a tab, a
// quote or a line break is quoted. Questions and answers are not trusted, and
// spreadsheets run a cell that begins with =, +, - or @: such text gets an
// apostrophe in front.
func WriteTSV(w io.Writer, run Run) error {
	var rows [][]string
	for i, r := range run.Results {
		if i == 0 {
			rows = append(rows, tableHead(r))
		}
		rows = append(rows, tableRow(run, r))
	}
	for _, row := range rows {
		for i := range row {
			row[i] = spreadsheet.Cell(row[i])
		}
	}
	table := csv.NewWriter(w)
	table.Comma, table.UseCRLF = '\t', true
	if err := table.WriteAll(rows); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func tableHead(r evalx.Result) []string {
	head := []string{"id"}
	for _, g := range r.Groups {
		head = append(head, g.Name)
	}
	head = append(head, "constrained", "valid_json", "schema_compliant")
	for _, f := range r.Fields {
		head = append(head, f.Name)
	}
	return append(head, "all_correct", "passed", "errors", "answer")
}

func tableRow(run Run, r evalx.Result) []string {
	row := []string{r.ID}
	for _, g := range r.Groups {
		row = append(row, g.Value)
	}
	constrained := ""
	if run.Constrained != nil {
		constrained = bit(*run.Constrained)
	}
	compliant := ""
	if !r.NoSchema {
		compliant = bit(r.Compliant())
	}
	row = append(row, constrained, bit(r.ValidJSON()), compliant)
	for _, f := range r.Fields {
		row = append(row, bit(f.Correct))
	}
	var errs []string
	for _, e := range r.Errors {
		errs = append(errs, e.String())
	}
	return append(row, bit(r.AllCorrect), bit(r.Passed), strings.Join(errs, "; "), r.Answer)
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
