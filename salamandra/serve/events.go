package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// eventStream writes server-sent events.
type eventStream struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	begun    bool
}

func (s *Server) events(w http.ResponseWriter) *eventStream {
	return &eventStream{w: w, control: http.NewResponseController(w), patience: s.opts.BodyTimeout}
}

// whileWriting returns what is called with the pieces of an answer, and the context
// of that answer, which ends where a piece cannot be sent.
func (s *eventStream) whileWriting(ctx context.Context, send func(piece string) error) (within context.Context, onText func(string), done func()) {
	within, cancel := context.WithCancelCause(ctx)
	return within, func(piece string) {
		if within.Err() != nil {
			return // the client has gone
		}
		if err := send(piece); err != nil {
			cancel(err)
		}
	}, func() { cancel(nil) }
}

// fail tells of an error in an event, if the stream has begun; else the error is
// answered as elsewhere.
func (s *eventStream) fail(err error) error {
	if s.begun {
		_ = s.send(asFailure(err).body())
	}
	return err
}

// end sends the event that ends a stream which all went well with.
func (s *eventStream) end() error { return s.write([]byte("data: [DONE]\n\n")) }

func (s *eventStream) send(value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.write(append(append([]byte("data: "), data...), "\n\n"...))
}

// write sends one event; a client that does not take it in time has gone.
func (s *eventStream) write(data []byte) error {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		s.w.Header().Set("X-Accel-Buffering", "no") // proxies pass events on at once
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(s.patience))
	_, err := s.w.Write(data)
	if err == nil {
		err = s.control.Flush()
	}
	_ = s.control.SetWriteDeadline(time.Time{})
	if err != nil {
		return &failure{status: statusGone, code: "client_gone", message: "the client took no more", cause: err}
	}
	return nil
}
