package hub

import (
	"errors"
	"strings"
)

// Causes of failure. They come wrapped in an [*Error], except that the context's
// error, when it ends, is wrapped as it is.
var (
	// ErrNotFound: a model, revision or file is neither a directory nor in the
	// cache, or the hub does not have it.
	ErrNotFound = errors.New("model not found")
	// ErrUnauthorized: the hub wants a token, or refuses this one.
	ErrUnauthorized = errors.New("not authorized")
	// ErrGated: the model's terms have not been accepted.
	ErrGated = errors.New("gated model")
	// ErrOffline: the environment forbids requests.
	ErrOffline = errors.New("offline mode")
	// ErrUnavailable: the hub did not answer, or not usefully, and trying again
	// did not help.
	ErrUnavailable = errors.New("hub unavailable")
	// ErrCorrupt: what came has not the size or hash that the hub lists.
	ErrCorrupt = errors.New("corrupt download")
	// ErrRefused: the hub's list has names or hashes that no hub gives, such
	// as a file name that leads out of the directory, or the request itself
	// makes no sense.
	ErrRefused = errors.New("refused")
)

// Error is a failure with its place. Its text is one line and ends with what
// would help.
type Error struct {
	ID   string // model, as the caller named it
	File string // file in the model; empty where all are meant
	Err  error  // wraps one of the causes above
	Help string // what to do; may be empty
}

// Error returns "hub: ID: File: Err; Help".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("hub: ")
	for _, place := range []string{e.ID, e.File} {
		if place != "" {
			b.WriteString(place + ": ")
		}
	}
	b.WriteString(e.Err.Error())
	if e.Help != "" {
		b.WriteString("; " + e.Help)
	}
	return strings.ReplaceAll(b.String(), "\n", " ")
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
