// Package safetensors reads and writes the safetensors format, in which
// Hugging Face tools store model weights and adapters.
//
// A file is
//
//	8 bytes   N, the length of the header, little-endian
//	N bytes   a JSON object, padded with spaces
//	the rest  the tensors' elements, little-endian, row-major, without gaps
//
// and the header names every tensor:
//
//	{"__metadata__":{"format":"pt"},
//	 "w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}
//
// [Open] maps one file, [OpenModel] a model directory of one file or of shards
// with an index. Nothing is read until it is asked for by name. A file is not
// trusted: sizes are bounded and checked before anything is allocated, no byte
// of the data may belong to two tensors or to none, and every fault found is
// in the error.
//
// [Create] writes a file tensor by tensor without holding it, and the file
// appears under its name only when it is complete and on disk.
//
// The package knows bytes and shapes, not models: it has no tensor arithmetic
// beyond the conversion of float formats, and no pickle files. It differs from
// the reference implementation in refusing keys inside a tensor's description
// that the format does not define.
//
// Source: https://github.com/huggingface/safetensors, section Format.
package safetensors
