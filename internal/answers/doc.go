// Package answers looks at the JSON answers of records as texts: a model writes
// them as they were written in training, and constrained decoding has to write the
// same.
//
//	survey := answers.Read(records)                           // indent, separators
//	schema, err := answers.OrderKeys(schema, records)         // keys as in the answers
//	faults, err := answers.Check(records, schema, survey.Layout)
//	records = answers.Normalise(records, schema, survey.Layout) // if wanted
//
// Read finds the layout of most answers, OrderKeys puts the properties of a schema
// in the order that the answers have, Check lists the answers that constrained
// decoding would not write, and Normalise rewrites them.
//
// # What this package is not for
//
// It does not judge what answers say: see evalx.
package answers
