// Package constrain keeps a language model's answer within a JSON Schema: it
// turns a schema and a layout into an automaton over bytes, and the automaton's
// states into masks over the tokens of a vocabulary. An answer written under
// the masks is valid by construction, and it can always be completed, also
// within a given number of tokens.
//
// [Compile] makes a [Grammar] from a schema, [NewVocabulary] a trie from a
// tokenizer, and [Grammar.Matcher] a [Matcher] that follows one answer. Values
// known from a request are fixed by [Grammar.With].
//
// # One text for each value
//
// Answers are written as json.dumps of Python writes them with the same indent
// and ensure_ascii=False: members in the order of properties, "[]" and "{}"
// for empty values, strings with the escapes \" \\ \n \r \t \b \f, \u00xx in
// lower case for other control characters, and all else as raw UTF-8. White
// space is never free, so no answer is lost in it. Only numbers that are not
// integers can be written in several ways. Whitespace of [Options] lets a model that
// was not trained on this put white space where JSON allows it, within a bound.
//
// # Keywords
//
// Drafts 4, 6, 7, 2019-09 and 2020-12 are read by $schema, each with its own
// meaning of items, exclusiveMinimum, id, and what stands beside $ref; a schema
// that names none is read by 2020-12, and keywords that it no longer has by what
// they meant. These constrain, by themselves and in any combination:
//
//	type, enum, const           values compared as JSON Schema does: numbers by value, objects by members
//	properties, required, additionalProperties, patternProperties, propertyNames,
//	minProperties, maxProperties, dependentRequired, dependentSchemas, dependencies,
//	unevaluatedProperties       members that the schema names come first, in its order, then others
//	items, prefixItems, additionalItems, minItems, maxItems, contains, minContains,
//	maxContains, unevaluatedItems
//	uniqueItems                 of strings, integers, booleans and null with minItems up to 1, or of at
//	                            most 64 listed values
//	minLength, maxLength        in code points
//	pattern                     with the meaning of ECMA-262, unicode flag set, lookarounds too; no back references
//	format                      those of the specification, unless [Options] leaves them annotations
//	minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf
//	allOf, anyOf, oneOf, not, if, then, else, $ref, $dynamicRef, $recursiveRef, $id, $anchor
//
// What they say together is worked out as a set of values by types: a union of
// conjunctions, which allOf intersects, anyOf unites and not turns into its
// opposite; oneOf takes from each schema what is valid under those that overlap it.
// Where that needs the opposite of uniqueItems or of unevaluatedProperties and
// unevaluatedItems, the schema is refused. A reference may lead back to a schema around
// it: values are then nested at most 24 deep.
//
// All other keywords are annotations, as the specification says; [Options] can
// refuse them. What cannot be enforced is refused by name, all at once in a
// [CompileError], with the nearest form that is taken: nothing that constrains is
// dropped in silence. Some valid values
// are never written: of numbers, those with more digits than the schema's limits ask
// for (18, and 17 after the point; only a number without a limit may have an
// exponent, of two digits); of formats, what only some validators take, and
// of the opposite of a format, what some validators may take; of members, other orders than the schema's,
// and where one of an unlisted name must have a value, it comes after those that
// could have its name.
//
// # Cost
//
// States are made when an answer first comes to them, and so are their masks.
// The masks inside strings, which walk the whole vocabulary, are shared by all
// strings without a pattern, in all grammars made by [Grammar.With]; the other
// states see few tokens. The automata of patterns and formats are made while compiling
// and shared by all grammars, up to 32 MB of them; limits of states and time are those
// of a first use.
//
// Schemas of strangers are compiled with [UntrustedOptions], which bound size,
// counts, states, time, and the work for one answer. No reference leads out of the schema, so that nothing
// is read or fetched.
//
// The package chooses no tokens and knows no model. It has one layout per grammar.
package constrain
