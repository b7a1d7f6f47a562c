// Package gguf writes models and LoRA adapters as GGUF files, which llama.cpp
// and the servers built on it load.
//
// [ExportModel] converts a Hugging Face model directory of Llama architecture
// with a SentencePiece-like tokenizer, such as a merged Salamandra, and
// [ExportAdapter] a PEFT adapter directory for use beside its base. The file
// appears under its name only when it is complete and on disk, and memory stays
// near the size of the largest tensor.
//
// A GGUF file is a list of metadata, a list of tensors, and their data:
//
//	"GGUF", version 3, number of tensors, number of metadata entries
//	each entry   key, type, value
//	each tensor  name, dimensions (innermost first), type, offset in the data
//	the data     each tensor at a multiple of 32 bytes
//
// all little-endian, with strings and arrays led by their length.
//
// The package does not read GGUF files, does not quantise below eight bits, and
// does not convert tokenizers of the GPT-2 kind: what llama.cpp would compute
// differently is refused by name, or, where texts rarely show it, warned of.
//
// Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
package gguf
