package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// headerTimeout bounds the time of a request's header, idleTimeout that between
// two requests of a connection, and maxHeader a header in bytes.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 32 << 10
)

// Serve answers on a listener until ctx ends, then finishes what runs, for at
// most [Options].Timeout, and returns nil; connections that are still open after
// it are cut, which is an error. It warms the models up meanwhile and fails if that
// does. It refuses a listener that other machines reach if
// there are no keys, unless [Options].Insecure is set. The listener is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if err := CheckListener(l, !s.users.empty() || s.opts.Insecure); err != nil {
		return err
	}
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		WriteTimeout: s.opts.Timeout + 2*s.opts.BodyTimeout,
		ConnContext:  s.connections.attach, ConnState: s.connections.track,
		ErrorLog: slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelWarn),
	}
	begun := time.Now()
	warmed, served := make(chan error, 1), make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	warming, stopWarming := context.WithCancel(ctx)
	go func() { warmed <- s.warm(warming) }()
	err, warm := error(nil), false
	for running := true; running && err == nil; {
		select {
		case <-ctx.Done():
			running = false
		case err = <-served:
		case err = <-warmed:
			if warm = true; err == nil {
				s.opts.Logger.Info("ready", "took", time.Since(begun))
			}
		}
	}
	s.draining.Store(true)
	s.connections.hurry()
	stopWarming()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Timeout)
	defer cancel()
	shut := h.Shutdown(last)
	if shut != nil {
		shut = errors.Join(fmt.Errorf("serve: shutdown: %w", shut), h.Close())
	}
	if !warm {
		<-warmed
	}
	return errors.Join(err, shut)
}
