package hub

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Patience is what a test sets in place of the clock and the file system; nil
// fields stand for the real ones.
type Patience struct {
	Sleep   func(context.Context, time.Duration) error
	Symlink func(target, link string) error
	Proxy   string // that all requests go to
}

// DownloadWith is Download.
func DownloadWith(ctx context.Context, id string, opts Options, p Patience) (string, error) {
	c, err := newClient()
	if err != nil {
		return "", &failure{ID: id, Err: err}
	}
	if p.Sleep != nil {
		c.sleep = p.Sleep
	}
	if p.Proxy != "" {
		proxy, err := url.Parse(p.Proxy)
		if err != nil {
			return "", err
		}
		c.http.Transport.(*http.Transport).Proxy = http.ProxyURL(proxy)
	}
	r := repo{id: id, symlink: os.Symlink}
	if p.Symlink != nil {
		r.symlink = p.Symlink
	}
	return download(ctx, c, r, opts)
}

// Causes that only tests look for.
var (
	ErrUnauthorized = errUnauthorized
	ErrGated        = errGated
	ErrOffline      = errOffline
	ErrUnavailable  = errUnavailable
	ErrCorrupt      = errCorrupt
	ErrRefused      = errRefused
)
