package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// Options configure a [Server].
type Options struct {
	// Models are what is served from the start; the first one answers requests
	// that name none. All have the tokenizer below.
	Models []Model
	// Tokenizer turns text into ids.
	Tokenizer Tokenizer
	// StopTokens end an answer.
	StopTokens []int32
	// Load makes the model that has the adapter called name, for
	// /admin/adapter; its Name does not matter. With nil there is no such
	// endpoint. [AdapterDir.Load] is one.
	Load func(ctx context.Context, name string) (Model, error)

	// Keys open the endpoints that compute, by "Authorization: Bearer KEY";
	// without any they are open to all.
	Keys []string
	// AdminKeys open /admin/adapter; without any, Keys do, and without either
	// the endpoint is off.
	AdminKeys []string
	// Hosts are the names under which the server is reached, beside localhost
	// and addresses in digits; "*" allows any.
	Hosts []string
	// Insecure lets [Server.Serve] listen beyond this machine without keys.
	Insecure bool

	Limits
	// Sampling is used where a request says nothing of it; /parse always does.
	Sampling salamandra.Sampling
	// Logger gets a line for each request, never its text, and what fails; those
	// of /healthz, /readyz and /metrics are at the level of debugging.
	Logger *slog.Logger
}

// Limits bound what requests cost.
type Limits struct {
	// Context is the number of tokens of prompt and answer together.
	Context int
	// MaxNewTokens bounds an answer; /parse and requests that name no length
	// have this one.
	MaxNewTokens int
	// InFlight is how many requests are computed or wait for it; one more is
	// refused with 503.
	InFlight int
	// Timeout bounds the time from a request's admission to its last token, and
	// how long a shutdown waits for what runs.
	Timeout time.Duration
	// MaxBody bounds a request in bytes.
	MaxBody int64
	// BodyTimeout bounds the time a client takes to send its body, and that in
	// which it must take each part of an answer.
	BodyTimeout time.Duration
	// Rate is how many requests a client, which is a key or an address, may
	// send in a second on average, and at once; 0 for any number.
	Rate float64
}

// DefaultOptions returns an answer of at most 512 tokens in a context of 8,192,
// 64 requests in flight, a minute for each, 256 KiB of body within ten seconds,
// no rate limit, and greedy decoding. Models, Tokenizer and StopTokens are still
// to be set.
func DefaultOptions() Options {
	return Options{
		Limits: Limits{
			Context: 8192, MaxNewTokens: 512, InFlight: 64, Timeout: time.Minute, MaxBody: 256 << 10, BodyTimeout: 10 * time.Second,
		},
		Sampling: salamandra.Greedy(),
		Logger:   slog.New(slog.DiscardHandler),
	}
}

// Validate lists every option that is missing or out of range.
func (o Options) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("serve: "+format, args...))
		}
	}
	check(len(o.Models) > 0, "no model")
	check(o.Tokenizer != nil, "no tokenizer")
	check(o.Logger != nil, "no logger; slog.DiscardHandler makes one that is silent")
	check(len(o.StopTokens) > 0, "no stop token: answers would not end")
	check(o.MaxNewTokens > 0 && o.Context > o.MaxNewTokens, "answers of %d tokens in a context of %d: want 1 or more, and a greater context", o.MaxNewTokens, o.Context)
	check(o.InFlight > 0, "%d requests in flight, want 1 or more", o.InFlight)
	check(o.Timeout > 0 && o.BodyTimeout > 0, "timeout %v, body timeout %v: want more than 0", o.Timeout, o.BodyTimeout)
	check(o.MaxBody > 0, "bodies of %d bytes, want 1 or more", o.MaxBody)
	check(o.Rate >= 0 && !math.IsInf(o.Rate, 0), "rate limit %v, want 0 or more", o.Rate)
	for i, key := range append(append([]string{}, o.Keys...), o.AdminKeys...) {
		check(len(key) >= MinKey, "key %d has %d characters, want %d or more", i+1, len(key), MinKey)
	}
	return errors.Join(append(faults, o.Sampling.Validate())...)
}
