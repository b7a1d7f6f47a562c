package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// failure is an error as a client sees it.
type failure struct {
	status  int
	code    string
	param   string // the field that is wrong; "" for none
	message string
	retry   time.Duration // when to try again; 0 says nothing
	cause   error         // only for the log
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.code + ": " + f.cause.Error()
	}
	return f.code + ": " + f.message
}

func (f *failure) Unwrap() error { return f.cause }

func fail(status int, code, param, format string, args ...any) *failure {
	return &failure{status: status, code: code, param: param, message: fmt.Sprintf(format, args...)}
}

// statusGone is what the log says of a client that did not wait; it is never
// sent.
const statusGone = 499

// asFailure returns what a client sees of an error.
func asFailure(err error) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, errTimeout):
		return &failure{status: http.StatusServiceUnavailable, code: "timeout", message: "the answer took too long", retry: time.Second, cause: err}
	case errors.Is(err, context.Canceled):
		return &failure{status: statusGone, code: "client_gone", message: "the client did not wait", cause: err}
	case errors.Is(err, finetune.ErrClosed):
		return errDraining
	}
	if r := new(finetune.RequestError); errors.As(err, &r) {
		return refused(r)
	}
	return &failure{status: http.StatusInternalServerError, code: "internal_error", message: "something failed here; the log says what", cause: err}
}

// refused says what of a request the model cannot do.
func refused(r *finetune.RequestError) *failure {
	param := map[string]string{"question": "query", "schema": "response_format", "max_new_tokens": "max_tokens"}[r.Field]
	if param == "" {
		param = r.Field
	}
	status, code := http.StatusUnprocessableEntity, "invalid_"+param
	switch {
	case errors.Is(r, finetune.ErrContext):
		status, code = http.StatusBadRequest, "context_length_exceeded"
	case r.Field == "schema" && errors.Is(r, constrain.ErrTooLarge):
		code = "schema_too_large"
	case r.Field == "schema":
		status, code = http.StatusBadRequest, "invalid_schema"
	case r.Field == "messages":
		status, code = http.StatusBadRequest, "invalid_prompt"
	case r.Field == "max_new_tokens":
		code = "answer_too_long"
	}
	return fail(status, code, param, "%v", r.Err)
}

// errorBody is OpenAI's shape.
type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

func (f *failure) body() errorBody {
	d := errorDetail{Message: f.message, Type: "invalid_request_error", Code: f.code}
	switch {
	case f.status == http.StatusTooManyRequests:
		d.Type = "rate_limit_error"
	case f.status >= 500:
		d.Type = "server_error"
	}
	if f.param != "" {
		d.Param = &f.param
	}
	return errorBody{d}
}

// write answers with the failure.
func (f *failure) write(w http.ResponseWriter) {
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.retry+time.Second-1)/time.Second)))
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, f.status, f.body())
}

// writeJSON answers with a value. An error of the connection is left to the
// next read of it.
func writeJSON(w http.ResponseWriter, status int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":{"message":"the answer is no JSON","type":"server_error","param":null,"code":"internal_error"}}`)
	}
	writeBytes(w, status, "application/json", append(data, '\n'))
}

func writeBytes(w http.ResponseWriter, status int, contentType string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
