// Package augment makes variants of the questions of a data set: as people type
// them, in a hurry, without accents, politely, in another order, or said in other
// words by a model. The answer stays, so a variant is kept only if it keeps what the
// answer needs:
//
//	result, err := augment.Make(ctx, records, augment.DefaultOptions())
//	err = dataset.WriteFile(ctx, "augmented.jsonl", result.Records)
//	fmt.Print(result.Report)
//
// What the answer needs are the values in it that the question holds, case and
// accents aside, as the question has them, and whatever in the question has digits.
// The items of an array keep their order. An answer that repeats the question, as
// it is, repeats the variant.
//
// Variants carry the id of their source in VariantOf, by which [dataset.Split] keeps
// them on its side, and in Extra, under "variant_by", how they were made.
//
// # What this package is not for
//
// What a question says without naming it (that it is urgent, say) cannot be looked
// up in a paraphrase: read some before training on them. Answers that are not JSON
// have no values to look for, and such records are left as they are.
package augment
