package impulse_test

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
)

func Example() {
	text := `[{
  "doc_type": "projects",
  "filters": {"programme": "ERC", "funding_level": null, "year": ">=2018", "location": null, "location_level": null},
  "organisations": [],
  "semantic_query": "graphene",
  "query_rewrite": "List of ERC projects since 2018 on graphene",
  "meta": {"id": "q1", "lang": "EN", "original_query": "ERC projects on graphene since 2018"}
}]`
	batches, err := impulse.Parse([]byte(text), "batch1.json", impulse.Options{Validate: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := batches.Records[0]
	fmt.Println(r.Query)
	fmt.Println(r.Answer)
	fmt.Println(len(r.Conversation("Answer in JSON.", false).Messages), "messages")
	// Output:
	// ERC projects on graphene since 2018
	// {
	//   "doc_type": "projects",
	//   "filters": {
	//     "programme": "ERC",
	//     "funding_level": null,
	//     "year": ">=2018",
	//     "location": null,
	//     "location_level": null
	//   },
	//   "organisations": [],
	//   "semantic_query": "graphene",
	//   "query_rewrite": "List of ERC projects since 2018 on graphene",
	//   "meta": {
	//     "lang": "EN",
	//     "original_query": "ERC projects on graphene since 2018",
	//     "notes": null
	//   }
	// }
	// 3 messages
}

func ExampleFaultsError() {
	text := `[{"doc_type": "projects", "filters": [], "organisations": [], "meta": {"id": "q1", "lang": "EN"}}]`
	_, err := impulse.Parse([]byte(text), "batch1.json", impulse.Options{})
	fmt.Println(err)
	// Output:
	// 4 faults:
	//   batch1.json:1: index 0 (q1) semantic_query: missing; also batch1.json:1: index 0 (q1) query_rewrite, batch1.json:1: index 0 (q1) meta.original_query
	//   batch1.json:1: index 0 (q1) filters: want object, got array
	// impulse: errors: 4, warnings: 0, files with faults: 1
}
