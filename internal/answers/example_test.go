package answers_test

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/answers"
)

// The layout and the order of keys come from the answers; what differs from them
// is listed, and rewritten if wanted.
func Example() {
	var records []dataset.Record
	for _, a := range []string{`{"urgent":true,"topic":"screen"}`, `{"urgent":false,"topic":"mail"}`, `{"topic": "disk", "urgent": true}`} {
		records = append(records, dataset.Record{Messages: []chatml.Message{{Role: chatml.User, Content: "..."}, {Role: chatml.Assistant, Content: a}}})
	}
	schema := []byte(`{"type": "object", "properties": {"topic": {"type": "string"}, "urgent": {"type": "boolean"}}, "required": ["topic", "urgent"]}`)

	survey := answers.Read(records)
	fmt.Println(survey)
	schema, err := answers.OrderKeys(schema, records)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", schema)
	faults, err := answers.Check(records, schema, survey.Layout)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(faults)
	records, changed, err := answers.Normalise(records, schema, survey.Layout)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(changed, records[2].Answer())
	// Output:
	// 3 of 3 answers are JSON, 2 of them with indent 0, separators "," and ":"
	// {"type":"object","properties":{"urgent":{"type":"boolean"},"topic":{"type":"string"}},"required":["topic","urgent"]}
	// record "#3": answer: it is laid out with indent 0, separators ", " and ": ", not with indent 0, separators "," and ":"
	// 1 {"urgent":true,"topic":"disk"}
}
