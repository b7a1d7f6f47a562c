// Package generate continues prompts with a model: continuous batching, a prefix
// cache, constrained and speculative decoding.
//
//	g := generate.New(model, adapter)
//	defer g.Close()
//	answer, err := g.Do(ctx, generate.Request{Prompt: ids, Sampling: generate.Greedy(), MaxNewTokens: 256})
//
// Answers are independent of batching, of the prefix cache and of speculation:
// the same request gives the same tokens, greedily or with a seed.
//
// To read the package, begin with engine.go: the loop, and what a step does. The
// files are, in the order a request meets them:
//
//	generator.go   Generator: what callers use
//	request.go     requests, answers, and the hand-over to the engine
//	engine.go      the loop: admit, step, retire
//	prefix.go      the prefix cache
//	speculate.go   drafts of the tokens that may come next
//	pace.go        how long steps take
//	shape.go       the few shapes that steps are rounded up to
//	layout.go      where each token of a step goes, and the token masks
//	program.go     the compiled programs
//	blocks.go      those of a step on a CPU, with attention by the host between them
//	attend.go      the host's attention
//	stretch.go     keys and values in the host's memory
//	compile.go     compiling them ahead of time
//	cache.go       keys and values of the rows
//	sampling.go    the choice of a token from the logits
//	row.go         a request under way takes its tokens
package generate
