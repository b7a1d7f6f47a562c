package impulse_test

import (
	"fmt"

	annotated "github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx/impulse"
)

func Example() {
	task, err := impulse.New(impulse.Standard, impulse.Options{Schema: annotated.Schema(annotated.Current)})
	if err != nil {
		fmt.Println(err)
		return
	}
	want := map[string]any{"filters": map[string]any{"year": "2020"}}
	r := task.Score(want, `{"filters": {"year": 2020}}`)
	year, _ := r.Field("filters.year")
	fmt.Println("year right:", year.Correct, "- complies with the schema:", r.Compliant())
	// Output: year right: true - complies with the schema: false
}
