// Package lang identifies which of three languages a short text is in: Catalan,
// Spanish or English.
//
// It is for checking that a model answered in the language it was asked in, on
// texts of a sentence or less that are full of names and technical words. It
// knows words that are frequent in these languages, endings and letters that are
// typical of one of them, and says [Unknown] where these do not decide: for a
// name, a number, a single technical word.
//
// # What this package is not for
//
// It knows no other languages: a text in Portuguese, Italian or French can be
// taken for a neighbour. It does not tell which parts of a mixed text are in
// which language.
package lang
