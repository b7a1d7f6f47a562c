package evalx_test

import (
	"fmt"
	"os"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/evalx/report"
)

// A task like that of the IMPULSE project: questions about research projects,
// answered with the filters that find them.
func Example() {
	schema, err := evalx.CompileSchema("answer", []byte(`{
		"type": "object",
		"required": ["filters", "organisations", "semantic_query", "meta"],
		"additionalProperties": false,
		"properties": {
			"filters": {
				"type": "object",
				"required": ["programme", "year"],
				"properties": {
					"programme": {"type": ["string", "null"]},
					"year": {"type": ["string", "null"], "pattern": "^(>=|<=)?[0-9]{4}$"}
				}
			},
			"organisations": {"type": "array", "items": {"type": "object"}},
			"semantic_query": {"type": ["string", "null"]},
			"meta": {"type": "object", "properties": {"lang": {"enum": ["CA", "ES", "EN"]}}}
		}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	programmes := evalx.Equivalent(evalx.Fold, []string{"Horizon 2020", "H2020", "Horitzó 2020"})
	organisation := evalx.Object(
		evalx.Field{Path: "name", Compare: evalx.Folded(evalx.FoldAccents)},
		evalx.Field{Path: "type"},
	)
	task := evalx.Task{
		Name:   "queries",
		Schema: schema,
		Fields: []evalx.Field{
			{Path: "filters.programme", Compare: evalx.Folded(programmes)},
			{Path: "filters.year"},
			{Path: "organisations", Compare: evalx.Assignment(organisation)},
			{Path: "semantic_query", Compare: evalx.TokenOverlap(evalx.Words, 0.6)},
		},
		Groups: []evalx.Group{evalx.GroupBy("language", "meta.lang")},
	}

	questions := []struct{ id, want, answer string }{
		{"Q1", `{"filters": {"programme": "Horizon 2020", "year": null}, "organisations": [], "semantic_query": "hidrogen verd", "meta": {"lang": "CA"}}`,
			`{"filters": {"programme": "H2020", "year": null}, "organisations": [], "semantic_query": "Hidrogen verd", "meta": {"lang": "CA"}}`},
		{"Q2", `{"filters": {"programme": null, "year": ">=2018"}, "organisations": [], "semantic_query": "stem cells", "meta": {"lang": "EN"}}`,
			`{"filters": {"programme": null, "year": "since 2018"}, "organisations": [], "semantic_query": "stem cells", "meta": {"lang": "EN"}}`},
		{"Q3", `{"filters": {"programme": null, "year": null}, "organisations": [], "semantic_query": null, "meta": {"lang": "ES"}}`,
			`{"filters": {"programme": null,`},
	}
	var results []evalx.Result
	for _, q := range questions {
		want, err := evalx.Parse(q.want)
		if err != nil {
			fmt.Println(err)
			return
		}
		r := task.Score(want, q.answer)
		r.ID = q.id
		if !r.Passed {
			report.WriteResult(os.Stdout, r)
		}
		results = append(results, r)
	}
	report.WriteText(os.Stdout, report.Run{Task: task.Name, Results: results})
	// Output:
	// FAILED Q2 (language EN)
	//   schema: /filters/year: pattern: "since 2018" does not match ^(>=|<=)?[0-9]{4}$
	//   filters.year: want ">=2018", got "since 2018"
	// FAILED Q3 (language ES)
	//   answer, line 1, column 32: answer ends too early: want a key in double quotes
	// TEST RESULTS SUMMARY
	// ================================================================================
	// Overall:
	//   Total tests: 3
	//   Passed: 1 (33.3%)
	//   Failed: 2 (66.7%)
	//
	// By language:
	//   CA: 1/1 (100.0%)
	//   EN: 0/1 (0.0%)
	//   ES: 0/1 (0.0%)
	//
	// Rates (95% interval):
	//   JSON validity: 2/3 (66.7%), 20.8% to 93.9%
	//   Schema compliance: 1/3 (33.3%), 6.1% to 79.2%
	//   All fields correct: 1/3 (33.3%), 6.1% to 79.2%
	//   Fields correct: 7/12 (58.3%), 32.0% to 80.7%
	//
	// By field:
	//   filters.programme: 2/3 (66.7%), precision 1/1 (100.0%), recall 1/1 (100.0%), F1 100.0%
	//   filters.year: 1/3 (33.3%), precision 0/1 (0.0%), recall 0/1 (0.0%), F1 0.0%
	//   organisations: 2/3 (66.7%), precision 0/0 (n/a), recall 0/0 (n/a), F1 n/a
	//   semantic_query: 2/3 (66.7%), precision 2/2 (100.0%), recall 2/2 (100.0%), F1 100.0%
}

// Parse is strict and says where an answer goes wrong.
func ExampleParse() {
	for _, answer := range []string{
		`{"year": 2023}`,
		"Here you are:\n{\"year\": 2023}",
		`{"year": 2023, "year": 2024}`,
		`{"year": 20`,
	} {
		v, err := evalx.Parse(answer)
		fmt.Println(v, err)
	}
	// Output:
	// map[year:2023] <nil>
	// <nil> answer, line 1, column 1: syntax error: unexpected 'H', want a value
	// <nil> answer, line 1, column 16: duplicate key "year"
	// <nil> answer, line 1, column 12: answer ends too early: want ',' or '}'
}

// A task that tolerates prose and code fences says so.
func ExampleExtract() {
	task := evalx.Task{
		Fields: []evalx.Field{{Path: "year"}},
		Read: func(answer string) (evalx.Value, error) {
			text, err := evalx.Extract(answer)
			if err != nil {
				return nil, err
			}
			return evalx.Parse(text)
		},
	}
	want := map[string]any{"year": 2023}
	fmt.Println(task.Score(want, "```json\n{\"year\": 2023}\n```").Passed)
	fmt.Println(task.Score(want, "The year is 2023.").ParseError)
	// Output:
	// true
	// answer, line 1, column 1: no object in braces
}

// A task like that of a support desk: the schema says which fields there are and
// how they are compared, a comparators file where that is not enough.
func ExampleNewTask() {
	schema, err := evalx.CompileSchema("ticket", []byte(`{
		"type": "object",
		"required": ["product", "priority", "amount", "tags", "summary"],
		"additionalProperties": false,
		"properties": {
			"product": {"type": "string"},
			"priority": {"enum": ["low", "normal", "high"]},
			"amount": {"type": ["number", "null"]},
			"tags": {"type": "array", "items": {"type": "string"}},
			"summary": {"type": "string"}
		}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	task, err := evalx.NewTask(evalx.TaskOptions{
		Name: "tickets", Schema: schema, Comparators: []byte(`{"summary": {"words": 0.5}, "amount": {"numeric": 0.005}}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range task.Fields {
		fmt.Printf("%s: %s\n", f.Path, task.Comparators[f.Path])
	}
	want, err := evalx.Parse(`{"product": "Printer", "priority": "high", "amount": 12.5, "tags": ["fire", "office"], "summary": "The printer burns"}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	r := task.Score(want, `{"product": "printer", "priority": "low", "amount": 12.50, "tags": ["office", "fire"], "summary": "the printer is burning"}`)
	fmt.Println(r.Passed, r.Errors)
	// Output:
	// product: folded
	// priority: exact
	// amount: numeric 0.005
	// tags: set of folded
	// summary: words 0.5
	// false [wrong_value:priority]
}
