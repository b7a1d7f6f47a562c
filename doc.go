// Package finetune fine-tunes Salamandra language models (BSC-LT's
// Llama-architecture models for Catalan, Spanish, English and 32 other languages)
// with LoRA, and runs the result inside Go programs: a question in, JSON that is
// valid by a schema out.
//
//	import _ "github.com/gomlx/compute/gobackend" // or go-xla/compute/xla
//
//	m, err := finetune.Open(ctx, "models/impulse", finetune.Options{})
//	defer m.Close()
//	a, err := m.Ask(ctx, "projectes d'hidrogen verd a Catalunya")
//	fmt.Println(a.Text) // {"doc_type": "projects", ...}
//
// [Open] takes an adapter, a merged model, a base model or a hub id. [Train] makes
// an adapter from records; package lora merges it into its base.
//
// Behind this door are the rooms, each usable by itself:
//
//   - [github.com/impulse-salamandra/finetune/salamandra]: the model, and the
//     engine that generates.
//   - [github.com/impulse-salamandra/finetune/salamandra/serve]: answers over HTTP.
//   - [github.com/impulse-salamandra/finetune/salamandra/constrain]: JSON Schema to
//     token masks.
//   - [github.com/impulse-salamandra/finetune/lora]: adapters in PEFT's files, merge.
//   - [github.com/impulse-salamandra/finetune/lora/train]: the trainer.
//   - [github.com/impulse-salamandra/finetune/chatml]: messages to token ids, the
//     prompt contract.
//   - [github.com/impulse-salamandra/finetune/dataset]: records, splits, batches.
//   - [github.com/impulse-salamandra/finetune/evalx]: scoring of JSON answers.
//
// The program in examples/impulse does the whole job from a terminal.
package finetune
