// Package salamandra loads Llama-architecture language models, such as BSC-LT's
// Salamandra, computes with them on a gomlx backend, and generates text.
//
// The parts, in the order they are used:
//
//   - [ReadConfig] and [Config]: what config.json says, every field that changes
//     the mathematics known or refused.
//   - [Load] and [Model]: weights from safetensors files to the device.
//   - [Transformer]: the forward pass as functions that build a graph:
//     embedding, block, head. Sequences enter through an [Attention] alone, so
//     that training with a shared prefix, prompts and cached decoding are the
//     same blocks; linear layers through a [LinearFunc] alone, so that an
//     adapter needs no change here.
//   - [Program]: a compiled graph function over the weights.
//   - [Generator]: answers to prompts, with a cache of keys and values and the
//     prompts' common beginning computed once.
//
// The numbers are those of Transformers, within 2e-5 in float32. The package
// imports no backend: a program imports the ones it wants and passes one in.
// It is not for other architectures, for full fine-tuning, nor for quantised
// weights, all of which it refuses by name.
package salamandra
