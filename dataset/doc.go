// Package dataset goes from chat records to the batches a trainer runs.
//
//	records, format, err := dataset.ReadFile("train.jsonl") // messages, ShareGPT, prompt and completion, Alpaca
//	set, err := dataset.Builder{...}.Build(records)         // ids + trained mask
//	train, eval, err := dataset.Split(set.Examples, dataset.DefaultSplitOptions())
//	plan, evalPlan, err := dataset.NewPlan(train, eval, dataset.DefaultPlanOptions())
//	for _, indices := range plan.Epoch(0, 42) {
//		batch, err := plan.Batch(indices)                   // plain slices
//	}
//
// A plan keeps the number of tensor shapes small, because each is compiled
// anew, and lets the tokens that all examples begin with, such as a long system
// prompt, be computed once per batch. Everything is deterministic: the same
// records, options and seeds give the same batches.
//
// # What this package is not for
//
// It knows neither tokenizers (see chatml.Tokenizer) nor tensors, downloads
// nothing, and does not pack several examples into one row: short examples are
// put into batches of their own length instead.
package dataset
