// Package tokenizer turns text into the token ids of a model and back, as the
// file tokenizer.json of a Hugging Face model directory says. The ids equal
// those of Hugging Face tokenizers (compared with version 0.23.3).
//
// It is for BPE models in the layouts of Llama's family, Salamandra among them,
// and in that of SmolLM2:
//
//   - normalizer: NFC, NFD, NFKC, NFKD, Prepend, Replace of a String, Sequence
//   - pre_tokenizer: Metaspace, ByteLevel, Digits, Sequence
//   - model: BPE without dropout and without affixes of pieces
//   - post_processor: TemplateProcessing with one sequence, ByteLevel, Sequence
//   - decoder: Replace of a String, ByteFallback, Fuse, Strip, Metaspace,
//     ByteLevel, Sequence
//   - added_tokens: all flags
//
// Anything else in a file is an error that names it; nothing is guessed. Not
// read are the sections truncation and padding, which record how a tokenizer
// was last used, and the file tokenizer_config.json. The package does not
// train tokenizers, and it does not read SentencePiece's tokenizer.model,
// whose ids differ from those of the tokenizer.json made from it.
//
// # Special tokens in text
//
// [Tokenizer.Encode] recognises special tokens written in the text, as the
// reference does: "<|im_end|>" typed by a user closes the turn.
// [Tokenizer.EncodeText] takes them as the characters they are, also where the
// file does not call them special. Build prompts
// from control tokens by id and text by EncodeText.
//
// # Unicode
//
// Text should be UTF-8. Each byte that is not counts as U+FFFD, as in a range
// loop; so text that is not UTF-8 has the ids of its repaired form, and
// decoding them gives that form.
//
// Letters, digits and normal forms are those of the Unicode version that the
// Go release knows. The reference follows other versions in places, so ids may
// differ for characters that are newer than Unicode 9 when a normalizer is
// used, or newer than 15 with ByteLevel or Digits. A normal form breaks a
// sequence of more than 30 combining marks with U+034F, which the reference
// does not.
//
// # Speed
//
// A word is encoded once: the longest stretches of text that no merge can join
// to their neighbours are found when the file is read, and the ids of recent
// ones are kept.
package tokenizer
