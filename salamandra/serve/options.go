package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// Options configure a [Server].
type Options struct {
	// Name is what requests call the model in "model"; they may leave it out.
	Name string
	// Title, Description and Examples, questions one can ask, are what the page
	// and /v1/models say of the model; what is empty is the contract's.
	Title, Description string
	Examples           []string
	// AdaptersDir, unless empty, is a directory whose directories are adapters of
	// the model's base, each as lora.Adapter.Write and PEFT leave it, with the
	// prompt.json of its training. /admin/adapter loads them by name; without
	// AdaptersDir there is no such endpoint.
	AdaptersDir string

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

	// MaxNewTokens is the longest answer that a request may ask for, in tokens.
	// /parse and requests that name no length have that of the model's options.
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

	// Sampling is used where a request says nothing of it; /parse always does.
	Sampling generate.Sampling
	// Logger gets a line for each request, never its text, and what fails; those
	// of /healthz, /readyz and /metrics are at the level of debugging.
	Logger *slog.Logger
}

// DefaultOptions returns a model called salamandra, answers of up to 512 tokens, 64
// requests in flight, a minute for each, 256 KiB of body within ten seconds, no rate
// limit, greedy decoding, no keys and no log.
func DefaultOptions() Options {
	return Options{
		Name: "salamandra", MaxNewTokens: 512, InFlight: 64, Timeout: time.Minute, MaxBody: 256 << 10, BodyTimeout: 10 * time.Second,
		Sampling: generate.Greedy(),
		Logger:   slog.New(slog.DiscardHandler),
	}
}

// check lists every option that is missing or out of range.
func (o Options) check() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("serve: "+format, args...))
		}
	}
	check(o.Name != "", "the model has no name")
	check(o.Logger != nil, "no logger; slog.DiscardHandler makes one that is silent")
	check(o.MaxNewTokens > 0, "answers of %d tokens, want 1 or more", o.MaxNewTokens)
	check(o.InFlight > 0, "%d requests in flight, want 1 or more", o.InFlight)
	check(o.Timeout > 0 && o.BodyTimeout > 0, "timeout %v, body timeout %v: want more than 0", o.Timeout, o.BodyTimeout)
	check(o.MaxBody > 0, "bodies of %d bytes, want 1 or more", o.MaxBody)
	check(o.Rate >= 0 && !math.IsInf(o.Rate, 0), "rate limit %v, want 0 or more", o.Rate)
	for i, key := range append(append([]string{}, o.Keys...), o.AdminKeys...) {
		check(len(key) >= MinKey, "key %d has %d characters, want %d or more", i+1, len(key), MinKey)
	}
	return errors.Join(append(faults, o.Sampling.Validate())...)
}
