// Package impulse has the rule sets by which answers are scored, by name: those of
// the IMPULSE project's queries, [Standard] and [Published], whose figures can be put
// beside those that the project publishes, and [Generic] for any other questions.
//
//	task, err := impulse.New("auto", impulse.Options{Schema: schema, Answers: wanted})
//	result := task.Score(want, answer)
package impulse
