package evalx

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteTSV writes results as a table for spreadsheets, one line for each:
// id, the groups, valid_json, schema_compliant, the fields by their labels,
// all_correct, passed (1 or 0), the errors and the answer. Groups and fields are
// those of the first result, as all of one task have them.
//
// Cells are separated by tabs, lines end with CR LF, and a cell with a tab, a
// quote or a line break is quoted. Questions and answers are not trusted, and
// spreadsheets run a cell that begins with =, +, - or @: [SafeCell] makes text of
// it.
func WriteTSV(w io.Writer, results []Result) error {
	var rows [][]string
	if len(results) > 0 {
		header := []string{"id"}
		for _, g := range results[0].Groups {
			header = append(header, g.Name)
		}
		header = append(header, "valid_json", "schema_compliant")
		for _, f := range results[0].Fields {
			header = append(header, f.Label())
		}
		rows = append(rows, append(header, "all_correct", "passed", "errors", "answer"))
	}
	for _, r := range results {
		row := []string{r.ID}
		for _, g := range r.Groups {
			row = append(row, g.Value)
		}
		row = append(row, bit(r.ValidJSON()), bit(r.Compliant()))
		for _, f := range r.Fields {
			row = append(row, bit(f.Correct))
		}
		var errs []string
		for _, e := range r.Errors {
			errs = append(errs, e.String())
		}
		rows = append(rows, append(row, bit(r.AllCorrect), bit(r.Passed), strings.Join(errs, "; "), r.Answer))
	}
	for _, row := range rows {
		for i := range row {
			row[i] = SafeCell(row[i])
		}
	}
	table := csv.NewWriter(w)
	table.Comma, table.UseCRLF = '\t', true
	if err := table.WriteAll(rows); err != nil {
		return fmt.Errorf("evalx: write table: %w", err)
	}
	return nil
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// SafeCell returns text as a spreadsheet shows it without running it: with an
// apostrophe in front if, after white space and marks that do not print, it
// begins with =, +, - or @ or one of their full-width forms. A number with a sign
// stays one. NUL, which ends a cell in some programs, becomes U+FFFD.
func SafeCell(s string) string {
	s = strings.ReplaceAll(s, "\x00", "\ufffd")
	first := strings.TrimLeftFunc(s, func(r rune) bool { return r <= ' ' || !strconv.IsPrint(r) })
	if first == "" || !strings.ContainsRune("=+-@＝＋－＠", []rune(first)[0]) {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	return "'" + s
}
