package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of patience.
const (
	tries     = 6                // without any progress between
	stall     = time.Minute      // without a byte, a connection counts as cut
	firstWait = time.Second      // doubles with each try
	maxWait   = 30 * time.Second // unless the hub names a time
	maxAsked  = 5 * time.Minute  // that the hub may name
	enough    = 1 << 20          // bytes that make the count of tries start over
)

// client asks one endpoint.
type client struct {
	endpoint *url.URL
	token    string
	http     *http.Client
	// sleep waits, or notes what would have been waited for in a test.
	sleep func(context.Context, time.Duration) error
}

// newClient reads HF_ENDPOINT and the token.
func newClient() (*client, error) {
	text := strings.TrimRight(cmp.Or(os.Getenv("HF_ENDPOINT"), "https://huggingface.co"), "/")
	endpoint, err := url.Parse(text)
	if err != nil || endpoint.Scheme != "https" && endpoint.Scheme != "http" || endpoint.Host == "" ||
		endpoint.User != nil || endpoint.RawQuery != "" || endpoint.Fragment != "" {
		return nil, fmt.Errorf("%w: HF_ENDPOINT is not the address of a hub, want one such as https://huggingface.co", errRefused)
	}
	token, err := readToken()
	if err != nil {
		return nil, fmt.Errorf("read the stored token: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // sizes and ranges are those of the file
	transport.ResponseHeaderTimeout = stall
	c := &client{endpoint: endpoint, token: token, sleep: sleep}
	c.http = &http.Client{Transport: transport, CheckRedirect: c.redirect}
	return c, nil
}

// readToken returns HF_TOKEN, else the token that hf auth login stored, else "".
func readToken() (string, error) {
	if t := strings.TrimSpace(os.Getenv("HF_TOKEN")); t != "" {
		return t, nil
	}
	name := os.Getenv("HF_TOKEN_PATH")
	if name == "" {
		home, err := hfHome()
		if err != nil {
			return "", nil // no home, nothing stored
		}
		name = filepath.Join(home, "token")
	}
	name, err := expandHome(name)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// redirect keeps the token at its origin: net/http would also give it to the
// endpoint's subdomains, and to the endpoint after a way through others.
func (c *client) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return fmt.Errorf("%w: more than 10 redirects", errUnavailable)
	}
	last := via[len(via)-1].URL
	if last.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("%w: a redirect from https to %s", errRefused, req.URL.Scheme)
	}
	for _, u := range append(via[:len(via):len(via)], req) {
		if u.URL.Scheme != c.endpoint.Scheme || u.URL.Host != c.endpoint.Host {
			req.Header.Del("Authorization")
		}
	}
	return nil
}

// tokenSafe reports whether the endpoint may see the token.
func (c *client) tokenSafe() bool {
	if c.endpoint.Scheme == "https" {
		return true
	}
	host := c.endpoint.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// errTransient marks what is worth another try.
type errTransient struct {
	error
	after time.Duration // what the hub asks for, or 0
}

func (e errTransient) Unwrap() error { return e.error }

// again runs one, and runs it again after transient failures. one returns how
// many bytes it got on.
func (c *client) again(ctx context.Context, one func() (int64, error)) error {
	for try := 0; ; try++ {
		n, err := one()
		if n >= enough {
			try = 0
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var transient errTransient
		if !errors.As(err, &transient) {
			return err
		}
		if try+1 >= tries {
			return fmt.Errorf("%w: tried %d times: %w", errUnavailable, tries, transient.error)
		}
		if transient.after > maxAsked {
			return fmt.Errorf("%w: it asks to wait %v: %w", errUnavailable, transient.after, transient.error)
		}
		if err := c.sleep(ctx, cmp.Or(transient.after, min(firstWait<<try, maxWait))); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// getAll returns a body of at most limit bytes.
func (c *client) getAll(ctx context.Context, address string, limit int64) (data []byte, err error) {
	err = c.again(ctx, func() (int64, error) {
		res, err := c.get(ctx, address, 0)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		if data, err = io.ReadAll(io.LimitReader(res.Body, limit+1)); err != nil {
			return 0, errTransient{error: fmt.Errorf("the connection was cut: %w", err)}
		}
		if int64(len(data)) > limit {
			return 0, fmt.Errorf("%w: the list of files is longer than %d bytes", errRefused, limit)
		}
		return 0, nil
	})
	return data, err
}

// getPart brings the part to its full size.
func (c *client) getPart(ctx context.Context, address string, p *part) error {
	return c.again(ctx, func() (int64, error) {
		if p.at == p.want.size {
			return 0, nil
		}
		from := p.at
		err := c.getRest(ctx, address, p)
		return p.at - from, err
	})
}

// getRest asks once for what the part lacks.
func (c *client) getRest(ctx context.Context, address string, p *part) error {
	res, err := c.get(ctx, address, p.at)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if p.at > 0 && !strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", p.at)) {
		if res.StatusCode == http.StatusPartialContent {
			return fmt.Errorf("%w: asked for the file from byte %d, got the range %q", errCorrupt, p.at, res.Header.Get("Content-Range"))
		}
		if err := p.restart(); err != nil { // the server gives no ranges
			return err
		}
	}
	if n := res.ContentLength; n >= 0 && p.at+n != p.want.size {
		return fmt.Errorf("%w: the file has %d bytes, the hub lists %d", errCorrupt, p.at+n, p.want.size)
	}
	body := &patientReader{r: res.Body, timer: time.AfterFunc(stall, func() { res.Body.Close() })}
	defer body.timer.Stop()
	_, err = io.Copy(p, body)
	if body.err != nil || err == nil && p.at < p.want.size {
		return errTransient{error: fmt.Errorf("the connection was cut after %d of %d bytes: %w", p.at, p.want.size, cmp.Or(body.err, io.ErrUnexpectedEOF))}
	}
	return err
}

// patientReader keeps the error of reading apart from that of writing, and puts
// off the timer with each read.
type patientReader struct {
	r     io.Reader
	timer *time.Timer
	err   error
}

func (p *patientReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.timer.Reset(stall)
	if err != io.EOF {
		p.err = err
	}
	return n, err
}

// get asks for an address below the endpoint, from byte at on, and returns an
// answer with a body to read, or an error by its status.
func (c *client) get(ctx context.Context, address string, at int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoint.String()+address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "impulse-salamandra-finetune")
	if c.token != "" && c.tokenSafe() {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", at))
	}
	res, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, errRefused) || errors.Is(err, errUnavailable) {
			return nil, err
		}
		return nil, errTransient{error: err}
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent {
		return res, nil
	}
	res.Body.Close()
	return nil, statusError(res)
}

// statusError says what an answer other than success means.
func statusError(res *http.Response) error {
	reason := fmt.Sprintf("%s answered %s", res.Request.URL.Host, res.Status)
	switch code := res.StatusCode; {
	case code == http.StatusTooManyRequests, code >= 500, code == http.StatusRequestTimeout:
		return errTransient{error: errors.New(reason), after: retryAfter(res.Header.Get("Retry-After"), time.Now())}
	case res.Header.Get("X-Error-Code") == "GatedRepo":
		return fmt.Errorf("%w: %s", errGated, reason)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fmt.Errorf("%w: %s", errUnauthorized, reason)
	case code == http.StatusNotFound:
		return fmt.Errorf("%w: %s", ErrNotFound, reason)
	case code == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: the file is shorter than what is here: %s", errCorrupt, reason)
	}
	return fmt.Errorf("%w: %s", errUnavailable, reason)
}

// retryAfter reads the header's two forms, seconds and a date; 0 if there is none.
func retryAfter(header string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// explain adds the place and what would help.
func (c *client) explain(id, file string, err error) error {
	e := &failure{ID: id, File: file, Err: err}
	page := c.endpoint.String() + "/" + id
	switch {
	case errors.Is(err, errGated) && c.token != "" && c.tokenSafe():
		e.Help = "accept its terms at " + page + " with the account of the token"
	case errors.Is(err, errGated):
		e.Help = "accept its terms at " + page + " and set HF_TOKEN"
	case errors.Is(err, errUnauthorized) && c.token == "":
		e.Help = "check the name; if the model is private or gated, set HF_TOKEN"
	case errors.Is(err, errUnauthorized) && !c.tokenSafe():
		e.Help = "the token is not sent over plain http: use an https HF_ENDPOINT"
	case errors.Is(err, errUnauthorized):
		e.Help = "check the name, and that the token is valid and may read the model"
	case errors.Is(err, ErrNotFound):
		e.Help = "check the name and the revision at " + page
	case errors.Is(err, errUnavailable):
		e.Help = "try again later; what has arrived is kept"
	case errors.Is(err, errCorrupt):
		e.Help = "it was removed; try again, or ask whoever runs " + c.endpoint.Host
	}
	return e
}
