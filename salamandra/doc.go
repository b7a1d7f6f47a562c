// Package salamandra loads Llama-architecture language models, such as BSC-LT's
// Salamandra, and computes with them on a gomlx backend. Package llama reads what
// a model directory says of itself; package generate continues prompts.
//
// The parts, in the order they are used:
//
//   - [Load] and [Model]: weights from safetensors files to the device.
//   - [Transformer]: the forward pass as functions that build a graph:
//     embedding, block, head. The layout of sequences is known to an [Attention]
//     only, so that training with a shared prefix ([SharedPrefix]) and cached
//     decoding ([Cached]) are the same blocks; linear layers go through a
//     [LinearFunc], so that an adapter needs no change here.
//   - [Program]: a compiled graph function over the weights.
//
// The numbers are those of Transformers, within 2e-5 in float32. The package
// imports no backend: a program imports the ones it wants and passes one in.
// It is not for other architectures nor for full fine-tuning, which it refuses by
// name.
package salamandra
