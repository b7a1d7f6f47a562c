// Package report writes scored answers: as text for the terminal, tables (TSV),
// result files (JSON) that can be compared later, and pages for the browser.
//
//	run := report.Run{Name: "models/tickets", Task: task.Name, Constrained: new(true), Results: results}
//	err := report.WriteText(os.Stdout, run)
//	err = report.WriteJSON(file, run)
//	err = report.WriteHTML(page, "Tickets", run)
//
// Text of answers is escaped wherever it could steer a terminal, a spreadsheet or
// a page.
package report
