package finetune

import (
	"encoding/json"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// Options say how [Open] opens a model. The zero value is right for an adapter
// or a merged model that this module made.
type Options struct {
	// Backend is what to compute on: "auto" or "" for the best of the backends
	// that the program imports, "go", "xla:cpu", "xla:cuda" or
	// "xla:/path/to/plugin.so"; see package salamandra/device.
	Backend string
	// Device, if not nil, is used in place of Backend and stays open.
	Device *device.Device
	// Dtype is that of the weights: "float32", "bfloat16", "float16", or "auto"
	// or "" for the stored one on an accelerator and float32 on a CPU.
	Dtype string
	// Quantize is how the linear layers of the base are stored: "none" in Dtype,
	// "4bit" or "8bit" as in [salamandra.Options], "auto" or "" as the base was when
	// the adapter was trained, and in Dtype for other models. What differs from
	// training is warned of.
	Quantize string
	// Devices are those of the backend that have a copy of the model each, which take
	// parts of many questions that are asked together ([Model.AskAll], [Model.Score]) and
	// not drawn; as in [device.OpenSeveral], but one by default. With Device they are its
	// own, and with Shards there are none. Where they are alike the answers do not depend
	// on them.
	Devices string
	// Shards, above 1, divides the weights among as many devices, the backend's first
	// ones, which compute each token together: for a model that one has no room for.
	Shards int
	// Base is the base of an adapter, a directory or a hub id; by default the
	// one that the adapter names.
	Base string
	// SystemPrompt, if not nil, takes the place of the contract's, with a
	// warning if it differs.
	SystemPrompt *string
	// Schema, if not nil, is a JSON Schema that takes the place of the
	// contract's, with a warning if it differs.
	Schema json.RawMessage
	// MaxRank, unless 0, is the rank up to which adapters are filled up, so that
	// [Model.Swap] and [Model.With] need no new programs for those of up to that
	// rank.
	MaxRank int
	// Slots is the most requests computed together, 8 by default.
	Slots int
	// MaxNewTokens bounds an answer in tokens, 512 by default.
	MaxNewTokens int
	// Whitespace, if above 0, lets answers by a schema, the contract's or one of
	// [ChatOptions], have white space of up to so many bytes wherever JSON allows it, in
	// place of the contract's layout: for models that were not trained on one. 16 suffices for one line, 64 for lines
	// that are indented.
	Whitespace int
	// Download allows to fetch what path and Base name by hub id and is not in
	// the local cache; DownloadBase also what only an adapter names, which may
	// come from a stranger.
	Download, DownloadBase bool
	// AllowDrift turns differences between training and now, in tokenizer, base
	// weights and the system prompts of [Model.Score], from errors into warnings.
	AllowDrift bool
	// NoWarmUp leaves compiling to the first requests, or to [Model.Warm].
	NoWarmUp bool
	// Name, if not nil, returns what the caller's users know a field by, such as a
	// flag for "Base" or "AllowDrift", for errors.
	Name func(field string) string
	// Warn, if not nil, is called with what a person should know: an adapter
	// that has no effect, a prompt that differs from training. It may be called by
	// several goroutines.
	Warn func(message string)
	// Progress, if not nil, is called while files are fetched and loaded and
	// programs compiled: phase says what is done ("loading models/base"), done and
	// total count it, in bytes, parameters or programs; a total of 0 is not known.
	Progress func(phase string, done, total int64)
}

// quantizations are the values of Options.Quantize once defaults are set.
var quantizations = []string{"auto", "none", "4bit", "8bit"}

// check lists every option that is out of range.
func (o *Options) check() error {
	var wrong faults.List
	want := func(ok bool, field, format string, args ...any) {
		if !ok {
			wrong.Addf(o.name(field), format, args...)
		}
	}
	if o.Device == nil {
		wrong.Add(o.name("Backend"), device.Check(o.Backend))
		wrong.Add(o.name("Devices"), device.CheckDevices(o.Devices))
	}
	want(slices.Contains([]string{"auto", "float32", "bfloat16", "float16"}, o.Dtype), "Dtype", "%q, want auto, float32, bfloat16 or float16", o.Dtype)
	want(slices.Contains(quantizations, o.Quantize), "Quantize", "%q, want auto, none, 4bit or 8bit", o.Quantize)
	want(o.Shards >= 0, "Shards", "%d, want 1 or more", o.Shards)
	want(o.Slots > 0, "Slots", "%d, want 1 or more", o.Slots)
	want(o.MaxNewTokens > 0, "MaxNewTokens", "%d, want 1 or more", o.MaxNewTokens)
	want(o.Whitespace >= 0 && o.Whitespace <= 1000, "Whitespace", "%d, want 0 to 1000", o.Whitespace)
	want(o.MaxRank >= 0, "MaxRank", "%d, want 0 or more", o.MaxRank)
	want(o.Schema == nil || json.Valid(o.Schema), "Schema", "is not JSON")
	return wrong.Err()
}

// name is what the caller's users know a field by.
func (o *Options) name(field string) string {
	if o.Name == nil {
		return field
	}
	return o.Name(field)
}

func (o *Options) warnAll(messages []string) {
	for _, m := range messages {
		o.warn(m)
	}
}

func (o *Options) warn(message string) {
	if o.Warn != nil {
		o.Warn(message)
	}
}

func (o *Options) progress(phase string, done, total int64) {
	if o.Progress != nil {
		o.Progress(phase, done, total)
	}
}

// setDefaults completes the options.
func (o *Options) setDefaults() {
	if o.Dtype == "" {
		o.Dtype = "auto"
	}
	if o.Quantize == "" {
		o.Quantize = "auto"
	}
	if o.Slots == 0 {
		o.Slots = 8
	}
	if o.MaxNewTokens == 0 {
		o.MaxNewTokens = generate.DefaultOptions().MaxNewTokens
	}
}
