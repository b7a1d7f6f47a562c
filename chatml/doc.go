// Package chatml turns conversations into token ids for Salamandra's ChatML
// template, with the mask of the tokens that are trained, and keeps the record
// of how an adapter was prompted.
//
// [Template.Encode] makes training ids and [Template.EncodePrompt] makes the
// ids a model is asked to continue. Both run the same code, so that
//
//	training ids of a conversation = prompt ids of the messages before an
//	                                 answer + answer ids + <|im_end|> + ...
//
// holds id by id. Ids are the contract, text is only shown to people: message
// text is encoded with special tokens off and the control tokens are added by
// id, hence a user who types <|im_end|> cannot close a turn.
//
// # One border is fixed
//
// At inference the model continues the ids of "assistant\n". In training the
// same border is kept, even where encoding the header and the answer together
// would give other ids: if a vocabulary has the token "\n\n" and an answer
// starts with a newline, "assistant\n" + "\nHola" as one text is
//
//	assistant, "\n\n", "Hola"
//
// a sequence that no prompt ends inside of and that generation could not reach.
// Encode gives
//
//	assistant, "\n", | "\n", "Hola"
//
// instead. Everywhere else the ids are those of the rendered text.
//
// # What this package is not for
//
// It does not read Jinja templates, does not tokenize (see [Tokenizer]) and
// reads no clock: the date in the default system message is an argument.
package chatml
