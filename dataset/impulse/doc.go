// Package impulse reads the annotated questions of the IMPULSE project and
// makes training examples of them: a question in Catalan, Spanish or English
// about research projects, and the JSON answer that a query parser should give.
//
//	batches, err := impulse.ReadDir(ctx, "batches", impulse.DefaultPattern, impulse.Options{Validate: true})
//	system := impulse.SystemPrompt(batches.Variant)
//	for _, r := range batches.Records {
//		examples = append(examples, r.Conversation(system, false))
//	}
//	err = dataset.WriteFile(ctx, "train.jsonl", examples)
//
// # Batch files
//
// A file is a JSON array of records, or an object with the array under
// "queries". A record of the [Current] variant is
//
//	{
//	  "doc_type": "projects",
//	  "filters": {"programme": "ERC", "funding_level": null, "year": ">=2018", "location": null, "location_level": null},
//	  "organisations": [{"type": "company", "name": null, "location": "Italia", "location_level": "country"}],
//	  "semantic_query": "grafeno",
//	  "query_rewrite": "Lista de proyectos ERC ...",
//	  "meta": {"id": "q1", "lang": "ES", "original_query": "proyectos ERC ...", "notes": null}
//	}
//
// and the answer is the same without meta.id, unknown top-level keys and other
// keys of meta. [V1] has metric and metric_params after semantic_query. A record
// with metric is of that variant, unless a schema is given; one run reads one
// variant.
//
// # What is refused
//
// Always: files that are not JSON, not UTF-8, nested deeper than 64 levels or
// without records; a key given twice; a top-level key or one of meta (notes
// excepted) that is missing or of a wrong type; control tokens of the chat
// template in a text; mixed variants. A byte-order mark is a warning.
//
// With [Options.Validate] also: whatever the variant's [Schema], or the given
// one, excludes; unknown keys, those of meta excepted; blank texts; an id used
// twice in any of the files. Warnings are a location without its level or the
// reverse, a span of years that runs backwards, and a query_rewrite that begins
// as in another language.
//
// # What this package is not for
//
// It does not score answers (see evalx), build batches of tokens (see dataset)
// or read other data sets: their conversations go to dataset directly.
package impulse
