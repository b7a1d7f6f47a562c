// Package evalx scores model answers that should be JSON: it reads an answer,
// checks it against a JSON Schema, compares its fields with the wanted ones and
// counts the outcomes.
//
//	answer text --[Parse]--> [Value] --[Schema.Validate]--> violations
//	                           |
//	                           +------[Field]s-----------> correct or not
//
// [NewTask] derives the fields of any task from its schema and wanted answers;
// [Task.Score] takes all the steps, [Summarize] counts, [Compare] sets two runs
// side by side. Package report shows.
//
// # An answer that cannot be read stays one
//
// Parse is strict and never repairs. An answer that it refuses is a [Result]
// with the reason in ParseError and every field wrong, also those whose wanted
// value is null: it is counted, and nothing stands in for it unless the task has a
// StandIn. [Extract] is the lenient reading, and a task has to ask for it:
//
//	"```json\n{}\n```"    Parse: syntax error    Extract, then Parse: {}
//	`{"a": 1, "a": 2}`    Parse: duplicate key   the same
//	`{"a": NaN}`          Parse: syntax error    the same
//
// # Null, missing and empty
//
// A key that is null and a key that is not there are different: Lookup gives
// nil for the first and [Missing] for the second, and no comparator of this
// package takes one for the other. Precision and recall ask another question,
// whether there is anything to be right about: there null, Missing, "", [] and {}
// all count as no value.
//
// # What this package is not for
//
// It does not run models, does not repair or complete answers, and does not
// judge free text beyond the words it shares with the wanted text. It reads no
// files and opens no connections: schemas and equivalence sets come as bytes.
package evalx
