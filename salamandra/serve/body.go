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
	"strings"
	"time"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// awaitBody bounds the time in which a request's body has to come, read by a
// handler or not. Until [Server.readBody] has read it, the answer ends the
// connection: else the rest would be waited for before the answer is sent.
func (s *Server) awaitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	// Not every ResponseWriter has deadlines; a server's own timeouts hold then.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.opts.BodyTimeout))
	w.Header().Set("Connection", "close")
}

// readBody reads a request's JSON, within limits of size and time. It returns
// before a place among the requests in flight is taken, so that a slow client
// keeps none.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkJSON(r); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.opts.MaxBody))
	var large *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &large):
		return nil, fail(http.StatusRequestEntityTooLarge, "body_too_large", "", "the body has more than %d bytes", s.opts.MaxBody)
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, fail(http.StatusRequestTimeout, "slow_body", "", "the body did not come within %v", s.opts.BodyTimeout)
	case err != nil:
		return nil, fail(http.StatusBadRequest, "invalid_body", "", "the body could not be read")
	case !connectionOf(r).begin(http.NewResponseController(w)):
		return nil, errDraining
	case !utf8.Valid(data):
		return nil, fail(http.StatusBadRequest, "invalid_json", "", "the body is not UTF-8")
	}
	w.Header().Del("Connection")
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // as RFC 8259 lets a reader do
	return data, unambiguous(data)
}

// maxBodyDepth is how many arrays and objects of a body may lie within one another.
const maxBodyDepth = 500

// unambiguous refuses what encoding/json would change or drop without a word: of a key
// given twice it takes the last, half a character it replaces.
func unambiguous(data []byte) error {
	_, faults, _ := strictjson.Parse(data, 0, maxBodyDepth)
	if len(faults) == 0 {
		return nil
	}
	f := faults[0]
	field := f.Path.String()
	if f.Cause == strictjson.Syntax || f.Cause == strictjson.Depth {
		field = ""
	}
	return fail(http.StatusBadRequest, "invalid_json", field, "%s: %s (byte %d)", cmp.Or(field, "the body is not the JSON object wanted"), f.Detail, f.Offset+1)
}

// decode reads one JSON object of known fields only.
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
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		return fail(http.StatusBadRequest, "unknown_field", name, "%s is not a field that is known here; an answer that leaves it out would not be what was asked for", name)
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
