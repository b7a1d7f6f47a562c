// Package finetune is the root of a library that fine-tunes Salamandra
// language models (BSC-LT's Llama-architecture models for Catalan, Spanish,
// English and 32 other languages) with LoRA and runs the result inside Go
// programs.
//
// The root package holds no code. Start with one of these:
//
//   - [github.com/impulse-salamandra/finetune/salamandra]: load a model
//     directory, compute logits, generate text.
//   - [github.com/impulse-salamandra/finetune/lora]: adapters: create, read,
//     write (PEFT's files), merge into the base weights.
//   - [github.com/impulse-salamandra/finetune/lora/train]: the trainer.
//   - [github.com/impulse-salamandra/finetune/chatml]: messages to token ids,
//     with the mask of trained tokens.
//   - [github.com/impulse-salamandra/finetune/dataset]: records, splits and
//     batches.
//   - [github.com/impulse-salamandra/finetune/evalx]: scoring of JSON answers.
//
// The program in examples/impulse does the whole job from raw annotations to
// a merged model: prepare, train, validate, merge.
package finetune
