// Package lora holds LoRA adapters: which layers of a model they change, their
// files, and their merge into the model's weights.
//
// An adapter adds scale*B*A to the weight W [out, in] of a linear layer, with
// A [R, in], B [out, R] and R far smaller than in and out, so that only A and
// B are trained and stored. Files are those of Hugging Face PEFT in both
// directions: adapter_config.json and adapter_model.safetensors, with PEFT's
// names, matching rules and arithmetic.
//
// [Config] describes an adapter, [Inject] puts a new one on a model,
// [ReadAdapter] and [Adapter.Write] move one between memory and a directory, and
// [Merge] writes a model directory in which one adapter, or several, have become
// part of the weights, with a certificate that [VerifyDir] checks; [Unmerge]
// restores what was merged into. [Combine] makes one adapter of several, and
// [CheckServing] reports what a server would make of one.
//
// The package is not a trainer (see lora/train), does not quantise, and does
// not read other adapter methods: what it cannot compute as PEFT does, it
// refuses by name.
package lora
