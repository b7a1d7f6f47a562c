package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// access says whom a route is for.
type access int

const (
	forAll access = iota
	forUsers
	forAdmins
)

// MinKey is the least length of a key in characters.
const MinKey = 16

// keyring holds the SHA-256 of keys: comparing those takes the same time
// whatever is asked, also whatever its length.
type keyring [][sha256.Size]byte

func newKeyring(keys []string) keyring {
	var k keyring
	for _, key := range keys {
		k = append(k, sha256.Sum256([]byte(key)))
	}
	return k
}

func (k keyring) empty() bool { return len(k) == 0 }

// find returns a name for a key of the ring that reveals nothing of it.
func (k keyring) find(key string) (name string, ok bool) {
	sum, found := sha256.Sum256([]byte(key)), -1
	for i := range k {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(k[i][:], sum[:]), i, found)
	}
	if found < 0 {
		return "", false
	}
	return "key " + strconv.Itoa(found), true
}

// checkOrigin refuses what browsers send for pages of other sites: requests
// under a name that a foreign domain was pointed here with, and ones that
// change something from elsewhere.
func (s *Server) checkOrigin(r *http.Request) error {
	if !knownHost(r.Host, s.opts.Hosts) {
		return fail(http.StatusMisdirectedRequest, "unknown_host", "", "this server does not answer for the host in the request; its operator can allow it")
	}
	if err := s.origins.Check(r); err != nil {
		return fail(http.StatusForbidden, "cross_origin", "", "pages of other sites may not use this server")
	}
	return nil
}

// knownHost reports whether a Host header is localhost, an address in digits, to
// which no name can be rebound, or one of names.
func knownHost(host string, names []string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "localhost" {
		return true
	}
	return slices.ContainsFunc(names, func(name string) bool { return name == "*" || strings.EqualFold(name, host) })
}

// checkAccess finds out who asks, and whether they may.
func (s *Server) checkAccess(a access, r *http.Request, e *entry) error {
	if a == forAll {
		return nil
	}
	e.client = r.RemoteAddr
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		e.client = host
	}
	keys := s.users
	if a == forAdmins {
		keys = s.admins
	}
	if !keys.empty() {
		scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		name, ok := keys.find(key)
		if !strings.EqualFold(scheme, "bearer") || !ok {
			if !s.limits.allow("refused " + e.client) { // guesses are limited too
				return errRate
			}
			return fail(http.StatusUnauthorized, "invalid_api_key", "", "want the header Authorization: Bearer KEY with a key of this server")
		}
		e.client = name
		connectionOf(r).identify()
	}
	if !s.limits.allow(e.client) {
		return errRate
	}
	return nil
}

var errRate = &failure{status: http.StatusTooManyRequests, code: "rate_limit_exceeded", message: "too many requests; wait a moment", retry: time.Second}

// checkJSON refuses bodies that are not declared as JSON: a page of another
// site can send those without asking first.
func checkJSON(r *http.Request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return fail(http.StatusUnsupportedMediaType, "unsupported_media_type", "", "want the header Content-Type: application/json")
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return fail(http.StatusUnsupportedMediaType, "unsupported_encoding", "", "the body is to be sent as it is, without Content-Encoding")
	}
	return nil
}

// allow lists a route's methods as the Allow header does.
func (r *route) allow() string {
	methods := slices.Sorted(maps.Keys(r.methods))
	if r.methods[http.MethodGet] != nil {
		methods = append(methods, http.MethodHead)
	}
	return strings.Join(methods, ", ")
}

// rateLimits has a bucket for each client.
type rateLimits struct {
	rate float64

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

// maxBuckets bounds the memory of rate limits. Past it full buckets go, which
// say nothing; and if there are none, all.
const maxBuckets = 10_000

func newRateLimits(limit float64) *rateLimits {
	return &rateLimits{rate: limit, buckets: map[string]*rate.Limiter{}}
}

// allow takes a token of a client's bucket.
func (l *rateLimits) allow(client string) bool {
	if l.rate == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[client]
	if !ok {
		if len(l.buckets) >= maxBuckets {
			maps.DeleteFunc(l.buckets, func(_ string, b *rate.Limiter) bool { return b.Tokens() >= float64(b.Burst()) })
		}
		if len(l.buckets) >= maxBuckets {
			clear(l.buckets)
		}
		b = rate.NewLimiter(rate.Limit(l.rate), int(max(1, l.rate)))
		l.buckets[client] = b
	}
	return b.Allow()
}

// isLoopback reports whether only this machine can reach an address.
func isLoopback(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// errExposed says that other machines reach a listener that is to be open.
var errExposed = errors.New("other machines reach this address, so API keys are needed")

// CheckListener fails if other machines reach the listener and it
// has no guard. [Server.Serve] checks that itself; this is for a program that
// has long work to do before.
func CheckListener(l net.Listener, guarded bool) error {
	if !guarded && !isLoopback(l.Addr()) {
		return fmt.Errorf("serve: %v: %w", l.Addr(), errExposed)
	}
	return nil
}
