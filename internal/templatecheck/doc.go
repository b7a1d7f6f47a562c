// Package templatecheck compares the chat template in a model's directory with
// [chatml.Template], by what both write.
//
// Whoever serves a model with other software uses the directory's Jinja
// template, while this project prompts with [chatml.Template]; where the two
// differ, the model is served otherwise than it was trained. [Check] renders a
// few conversations with both and returns a warning with the first difference;
// [Compare] does so for the templates of two directories.
//
// Same means that these conversations agree: questions with and without a
// system message, several turns, finished or to be answered, with white space
// and marks that templates like to strip or escape. Tools, documents and other
// roles are not tried.
//
// # Limits
//
// A template comes from whoever published the model. It is rendered without
// files, clock or environment; includes and imports do not exist. It may have
// 64 KiB, take one second and write 1 MiB; each turn of a loop and each call of
// a macro asks whether these are used up, and a range has at most 100,000
// numbers, as in Transformers' sandbox. Multiplication is refused, because one
// product with a string could take all memory.
//
// One expression, once begun, cannot be interrupted, and its memory is not
// bounded: if it outlasts the second, Check returns and the expression runs to
// its end behind it. That stops mistakes and simple mischief; it is no wall
// against a template made to exhaust memory.
//
// # What this package is not for
//
// It makes no prompts: see [chatml.Template.Encode] for that.
package templatecheck
