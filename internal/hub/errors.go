package hub

import (
	"errors"
	"strings"
)

// Causes of failure. They come wrapped in a failure, except that the context's
// error, when it ends, is wrapped as it is.
var (
	// ErrNotFound reports that a model, revision or file is neither a directory nor in the
	// cache, or that the hub does not have it.
	ErrNotFound = errors.New("model not found")
	// errUnauthorized: the hub wants a token, or refuses this one.
	errUnauthorized = errors.New("not authorized")
	// errGated: the model's terms have not been accepted.
	errGated = errors.New("gated model")
	// errOffline: the environment forbids requests.
	errOffline = errors.New("offline mode")
	// errUnavailable: the hub did not answer, or not usefully, and trying again
	// did not help.
	errUnavailable = errors.New("hub unavailable")
	// errCorrupt: what came has not the size or hash that the hub lists.
	errCorrupt = errors.New("corrupt download")
	// errRefused: the hub's list has names or hashes that no hub gives, such
	// as a file name that leads out of the directory, or the request itself
	// makes no sense.
	errRefused = errors.New("refused")
)

// failure is an error with its place. Its text is one line and ends with what
// would help.
type failure struct {
	ID   string // model, as the caller named it
	File string // file in the model; empty where all are meant
	Err  error  // wraps one of the causes above
	Help string // what to do; may be empty
}

// Error returns "ID: File: Err; Help".
func (e *failure) Error() string {
	var b strings.Builder
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
func (e *failure) Unwrap() error { return e.Err }
