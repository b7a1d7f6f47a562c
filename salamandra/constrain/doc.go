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
// integers can be written in several ways.
//
// # Keywords
//
// These of draft 2020-12 are enforced:
//
//   - type, also several; enum; const. Without type, the types that the other
//     keywords speak of are written.
//   - properties, required, additionalProperties true or false. Members that
//     properties does not list are never written.
//   - items, prefixItems, minItems, maxItems. Without items, no item beyond
//     prefixItems is written.
//   - minLength and maxLength, in code points; pattern, with the meaning of
//     Go's regexp package, matched anywhere unless anchored; format date.
//   - minimum, maximum, exclusiveMinimum, exclusiveMaximum. Where a limit does
//     not say otherwise, integers and integer parts have up to 18 digits, and
//     fractions up to 17, without zeros at the end but for ".0". Only a number
//     without a limit may have an exponent, of two digits.
//   - anyOf; oneOf where it is certain that no two schemas hold for one value:
//     they differ in type, in const or enum, or in these of a property that both
//     require; allOf; $ref to a place in the same schema, not recursive. They may
//     stand beside each other and beside the keywords above: what must hold
//     together is joined keyword by keyword, and anyOf multiplies it into at most
//     64 alternatives. Two different patterns are not joined.
//   - if, then, else, where if asks whether properties are required or have
//     certain values (const, enum), and the schema lists the values that these
//     properties can have.
//
// Keywords that assert nothing (title, default and the like, and names that
// begin with "x-") are ignored. Every other keyword, value of format, and
// schema that allows any value is refused by name, all at once in a
// [CompileError]: nothing is dropped in silence.
//
// # Cost
//
// States are made when an answer first comes to them, and so are their masks.
// The masks inside strings, which walk the whole vocabulary, are shared by all
// strings without a pattern, in all grammars made by [Grammar.With]; the other
// states see few tokens.
//
// Schemas of strangers are compiled with [UntrustedOptions], which bound size,
// counts, states, time, and the work for one answer. No reference leads out of the schema, so that nothing
// is read or fetched.
//
// The package chooses no tokens and knows no model. It is not for schemas of
// unbounded depth, nor for layouts other than one per grammar.
package constrain
