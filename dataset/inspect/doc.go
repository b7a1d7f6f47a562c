// Package inspect shows what examples are before they are trained on: what
// cannot be used, how long they are, which languages and repetitions there are,
// what a plan makes of them, and which tokens are trained.
//
//	r, err := dataset.Open("train.jsonl")
//	report, err := inspect.Read(r.Records(), inspect.Options{
//		Builder: dataset.Builder{Tokenizer: tok, MaxLength: 2048}, Plan: dataset.DefaultPlanOptions(),
//		Split: dataset.DefaultSplitOptions(), Decoder: tok,
//	})
//	err = report.WriteText(w, inspect.WriteOptions{Conversations: 3})
//	err = report.WriteHTML(f, inspect.WriteOptions{Title: "train.jsonl", Conversations: 20})
//
// A record that cannot be used is part of the report, not an error: all others
// are looked at all the same. Texts of records are printed such that nothing in
// them reaches a terminal or a browser as a command.
//
// # What this package is not for
//
// It changes no data and decides nothing; it loads no model, so that times and
// memory are for its caller to add, as [Fact]s.
package inspect
