package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/impulse-salamandra/finetune"
)

// Server is an http.Handler that answers with models. Its paths begin at its
// root: in another mux, http.StripPrefix puts it under one.
type Server struct {
	opts    Options
	models  registry
	users   keyring
	admins  keyring
	limits  *rateLimits
	origins *http.CrossOriginProtection
	metrics *metrics
	routes  map[string]*route

	loading sync.Mutex // of adapters; guards made
	with    func(ctx context.Context, adapterDir string) (model, error)
	made    []*served // closed with the server

	inFlight    atomic.Int64
	draining    atomic.Bool
	connections *connections
}

// New makes a server of a model, which it does not close: that is done after the
// server is closed. The model may be opened with NoWarmUp; then /readyz says no until
// [finetune.Model.Warm], which [Server.Serve] calls, has returned. A model with a
// schema that answers cannot be kept to is refused.
func New(m *finetune.Model, opts Options) (*Server, error) {
	return newServer(m, func(ctx context.Context, dir string) (model, error) { return m.With(ctx, dir) }, opts)
}

func newServer(m model, with func(context.Context, string) (model, error), opts Options) (*Server, error) {
	if err := errors.Join(opts.check(), checkModel(opts.Name, m)); err != nil {
		return nil, err
	}
	s := &Server{
		opts:    opts,
		users:   newKeyring(opts.Keys),
		admins:  newKeyring(opts.AdminKeys),
		limits:  newRateLimits(opts.Rate),
		origins: http.NewCrossOriginProtection(),
		metrics: newMetrics(),
		with:    with,

		connections: newConnections(maxStrangers),
	}
	if s.admins.empty() {
		s.admins = s.users
	}
	s.routes = s.makeRoutes()
	v := &served{model: m, name: opts.Name, texts: people{opts.Title, opts.Description, opts.Examples}}
	s.models.add(v)
	s.note(v, "")
	return s, nil
}

// warm makes the models as fast as they are later; then /readyz says yes.
func (s *Server) warm(ctx context.Context) error {
	for _, v := range s.models.all() {
		if err := v.Warm(ctx); err != nil {
			return fmt.Errorf("serve: model %s: %w", v.name, err)
		}
	}
	return nil
}

// Close refuses requests that come later, and closes the models that LoadAdapter put
// beside the first one.
func (s *Server) Close() {
	s.draining.Store(true)
	s.loading.Lock()
	defer s.loading.Unlock()
	for _, v := range s.made {
		if err := v.Close(); err != nil {
			s.opts.Logger.Error(err.Error(), "model", v.name)
		}
	}
	s.made = nil
}

// route is what is done with one path.
type route struct {
	path    string
	methods map[string]handler
	access  access
}

// handler answers a request, or returns the error that the client gets instead.
type handler func(w http.ResponseWriter, r *http.Request, e *entry) error

// modelPath is followed by the name of a model; modelRoute is all such paths.
const (
	modelPath  = "/v1/models/"
	modelRoute = modelPath + "{model}"
)

func (s *Server) makeRoutes() map[string]*route {
	table := map[string]*route{}
	add := func(method, path string, a access, h handler) {
		if table[path] == nil {
			table[path] = &route{path: path, methods: map[string]handler{}, access: a}
		}
		table[path].methods[method] = h
	}
	add("POST", "/parse", forUsers, s.parse)
	add("POST", "/v1/chat/completions", forUsers, s.chat)
	add("GET", "/v1/models", forUsers, s.listModels)
	add("GET", modelRoute, forUsers, s.showModel)
	add("GET", "/metrics", forUsers, s.showMetrics)
	add("GET", "/healthz", forAll, s.health)
	add("GET", "/readyz", forAll, s.ready)
	add("GET", "/openapi.yaml", forAll, s.openAPI)
	add("GET", "/", forAll, s.page)
	if s.opts.AdaptersDir != "" && !s.admins.empty() {
		add("POST", "/admin/adapter", forAdmins, s.swapAdapter)
	}
	return table
}

// entry is what the log says of a request.
type entry struct {
	id, route, model string
	client           string          // whose rate limit holds
	usage            finetune.Answer // its tokens
	err              *failure
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	e := &entry{id: rand.Text(), route: "other"}
	out := &recorder{ResponseWriter: w}
	h := w.Header()
	h.Set("X-Request-Id", e.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	s.awaitBody(out, r)
	defer connectionOf(r).rest()
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			e.err = asFailure(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		if e.err != nil && out.status == 0 {
			e.err.write(out)
		}
		s.account(r, e, out, time.Since(start))
	}()
	if err := s.handle(out, r, e); err != nil {
		e.err = asFailure(err)
	}
}

// handle finds the route and asks whether the request may take it.
func (s *Server) handle(w http.ResponseWriter, r *http.Request, e *entry) error {
	if err := s.checkOrigin(r); err != nil {
		return err
	}
	path := r.URL.Path
	if strings.HasPrefix(path, modelPath) {
		path = modelRoute
	}
	found, ok := s.routes[path]
	if !ok {
		return fail(http.StatusNotFound, "not_found", "", "there is nothing at this path; /openapi.yaml describes what there is")
	}
	e.route = found.path
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h, ok := found.methods[method]
	if !ok {
		w.Header().Set("Allow", found.allow())
		return fail(http.StatusMethodNotAllowed, "method_not_allowed", "", "%s takes %s", found.path, found.allow())
	}
	if err := s.checkAccess(found.access, r, e); err != nil {
		return err
	}
	return h(w, r, e)
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(data []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(data)
	r.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// account counts a request and logs it.
func (s *Server) account(r *http.Request, e *entry, out *recorder, took time.Duration) {
	status := out.status
	if e.err != nil {
		status = e.err.status // also where the answer had begun, or nobody read it
	}
	s.metrics.request(e.route, status, took)
	level := slog.LevelInfo
	switch e.route {
	case "/healthz", "/readyz", "/metrics": // asked for every few seconds
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("id", e.id), slog.String("method", r.Method), slog.String("route", e.route), slog.Int("status", status),
		slog.Duration("took", took), slog.Int64("bytes", out.bytes), slog.String("remote", r.RemoteAddr),
	}
	if e.model != "" {
		attrs = append(attrs, slog.String("model", e.model), slog.Int("prompt", e.usage.PromptTokens), slog.Int("cached", e.usage.CachedTokens), slog.Int("new", e.usage.NewTokens))
	}
	if e.err != nil {
		attrs = append(attrs, slog.String("code", e.err.code))
		if e.err.status >= 500 && e.err.cause != nil {
			level = slog.LevelError
			attrs = append(attrs, slog.String("error", e.err.cause.Error()))
		}
	}
	s.opts.Logger.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}
