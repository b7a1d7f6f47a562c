package serve

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"time"
	"unicode/utf8"
)

// readBody reads a request's JSON, within limits of size and time. It returns
// before a place among the requests in flight is taken, so that a slow client
// keeps none.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkJSON(r); err != nil {
		return nil, err
	}
	control := http.NewResponseController(w)
	// Not every ResponseWriter has deadlines; a server's own timeouts hold then.
	_ = control.SetReadDeadline(time.Now().Add(s.opts.BodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.opts.MaxBody))
	// Without this the deadline would later look like a client that went away.
	_ = control.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &large):
		return nil, fail(http.StatusRequestEntityTooLarge, "body_too_large", "", "the body has more than %d bytes", s.opts.MaxBody)
	case errors.As(err, &timeout) && timeout.Timeout():
		w.Header().Set("Connection", "close")
		return nil, fail(http.StatusRequestTimeout, "slow_body", "", "the body did not come within %v", s.opts.BodyTimeout)
	case err != nil:
		return nil, fail(http.StatusBadRequest, "invalid_body", "", "the body could not be read")
	case !utf8.Valid(data):
		return nil, fail(http.StatusBadRequest, "invalid_json", "", "the body is not UTF-8")
	}
	return data, nil
}

// decode reads one JSON object with known fields alone.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("text after the JSON object")
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fail(http.StatusBadRequest, "invalid_type", kind.Field, "%s: want %s, got %s", cmp.Or(kind.Field, "the body"), jsonKind(kind.Type), kind.Value)
	}
	return fail(http.StatusBadRequest, "invalid_json", "", "the body is not the JSON object wanted: %v", err)
}

// jsonKind is what a client calls a type of ours.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "an integer of 64 bits"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}
