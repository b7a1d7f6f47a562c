package serve

import (
	"context"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// Engine computes answers; *salamandra.Generator is one. Its methods are called
// from many goroutines.
type Engine interface {
	// Do answers one request, together with those that run already. It ends
	// early with ctx's error.
	Do(ctx context.Context, r salamandra.Request) (salamandra.Generation, error)
	// Warm keeps what a prefix of later prompts computes to.
	Warm(ctx context.Context, prefix []int32) error
}

// Tokenizer is what this package needs of a tokenizer;
// *salamandra/tokenizer.Tokenizer is one.
type Tokenizer interface {
	chatml.Tokenizer
	constrain.Tokenizer
}

// Model is what a client asks for by name: an engine and how it is prompted.
type Model struct {
	// Name is what requests say in "model".
	Name string
	// Engine answers.
	Engine Engine
	// Contract is the prompt, schema and layout of training. Without a schema
	// the model does not answer /parse.
	Contract chatml.Contract
	// Adapter says which adapter the engine has, for people; it may be empty.
	Adapter string
	// Warning, unless empty, is told to the log and to whoever loaded the
	// adapter: that it has no effect, for one.
	Warning string
	// Close, if not nil, is called once the model is replaced or the server
	// closed and no request uses it any more.
	Close func()
}
