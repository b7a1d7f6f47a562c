package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// parcelServer answers as impulse serve does, with an answer that holds the question.
func parcelServer(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"data": [{"id": "post"}, {"id": "bare"}]}`)
	})
	mux.HandleFunc("GET /v1/models/post", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"id": "post", "title": "Parcels", "schema": {"type": "object"}}`)
	})
	mux.HandleFunc("GET /v1/models/bare", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"id": "bare", "schema": null}`)
	})
	mux.HandleFunc("POST /parse", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch text := string(body); {
		case strings.Contains(text, "late"):
			io.WriteString(w, "data: {\"text\":\"{\"}\n\ndata: {\"error\":{\"message\":\"the answer took too long\"}}\n\n")
		case strings.Contains(text, "cut"):
			io.WriteString(w, "data: {\"text\":\"{\"}\n\n")
		case strings.Contains(text, "xx"):
			w.WriteHeader(http.StatusUnprocessableEntity)
			io.WriteString(w, `{"error": {"message": "language: not one of CA, ES"}}`)
		default:
			question := text[strings.Index(text, `"query":`)+8:]
			question = question[:strings.Index(question, `,"stream"`)]
			fmt.Fprintf(w, "data: {\"text\":%q}\n\ndata: {\"text\":%q}\n\n", "{\n  \"q\": ", question+"\n}")
			io.WriteString(w, "data: {\"answer\":{},\"usage\":{\"completion_tokens\":9}}\n\ndata: [DONE]\n\n")
		}
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}`+"\n\n"+
			`data: {"choices":[{"delta":{"content":"free \"text\""},"finish_reason":null}]}`+"\n\n"+
			`data: {"choices":[{"delta":{},"finish_reason":"length"}]}`+"\n\n"+
			`data: {"choices":[],"usage":{"completion_tokens":4}}`+"\n\ndata: [DONE]\n\n")
	})
	locked := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer key-of-the-test-1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
	s := httptest.NewServer(locked)
	t.Cleanup(s.Close)
	return s.URL
}

// askMain runs the command with an input.
func askMain(input string, args ...string) (status int, out, errs string) {
	var o, e bytes.Buffer
	root := newRootCommand()
	root.SetIn(strings.NewReader(input))
	status = execute(root, append([]string{"ask"}, args...), &o, &e)
	return status, o.String(), e.String()
}

// TestAskServer: what a server answers is shown as it is written, or as one line of
// JSON for each question, in the order of the questions.
func TestAskServer(t *testing.T) {
	url := parcelServer(t)
	t.Setenv(apiKeyVariable, "key-of-the-test-1")
	var many, answers strings.Builder
	for i := range 30 {
		fmt.Fprintf(&many, "question %d\r\n", i)
		fmt.Fprintf(&answers, "{\"q\":\"question %d\"}\n", i)
	}
	for _, row := range []struct {
		name, input string
		args        []string
		out, errs   string
	}{
		{"an argument", "not read", []string{"where?"}, "{\n  \"q\": \"where?\"\n}\n", ""},
		{"the input", "\ufeffwhere\r\nis it?\n", []string{"--json"}, `{"q":"where\nis it?"}` + "\n", ""},
		{"lines", many.String(), []string{"--lines"}, answers.String(), ""},
		{"free text", "hola", []string{"--free"}, "free \"text\"\n", "warning: the answer was cut at 4 tokens (--max-new-tokens)\n"},
		{"free text as JSON", "", []string{"--free", "--json", "hola"}, `"free \"text\""` + "\n", "warning: the answer was cut at 4 tokens (--max-new-tokens)\n"},
		{"free lines", "a\nb\n", []string{"--free", "--lines"}, strings.Repeat(`"free \"text\""`+"\n", 2), strings.Repeat("warning: the answer was cut at 4 tokens (--max-new-tokens)\n", 2)},
		{"a model without schema", "", []string{"--model-name", "bare", "hola"}, "free \"text\"\n", "warning: the answer was cut at 4 tokens (--max-new-tokens)\n"},
	} {
		status, out, errs := askMain(row.input, append([]string{"--url", url + "/"}, row.args...)...)
		if status != 0 || out != row.out || errs != row.errs {
			t.Errorf("%s: status %d, %q, %q", row.name, status, out, errs)
		}
	}
}

// TestAskRefusals: what cannot be asked is refused in the words of the command line.
func TestAskRefusals(t *testing.T) {
	url := parcelServer(t)
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	key := []string{"--api-key", "key-of-the-test-1", "--url", url}
	for _, row := range []struct {
		name, input string
		args        []string
		errs        string
	}{
		{"nobody", "", []string{"a"}, "--model-path is required, or --url"},
		{"both", "", []string{"a", "--url", url, "--model-path", "x"}, "--model-path and --url exclude each other"},
		{"of a model", "", []string{"a", "--url", url, "--temperature", "1", "--dtype", "float32"}, "--dtype has no effect on a server: give it to impulse serve\nimpulse: --temperature has no effect"},
		{"of a server", "", []string{"a", "--model-path", "x", "--api-key", "k", "--model-name", "m"}, "--api-key goes with --url\nimpulse: --model-name goes with --url"},
		{"nothing", "\n \n", key, "no question: give one as the argument or on standard input"},
		{"blank", "", append([]string{" "}, key...), "the question is blank"},
		{"no key", "", []string{"a", "--url", url}, "asks for a key: --api-key KEY, or " + apiKeyVariable + " in the environment"},
		{"no address", "", []string{"a", "--url", "ftp://x"}, "--url ftp://x, want an address such as http://localhost:8000"},
		{"nobody listens", "", []string{"a", "--url", "localhost:1"}, "nothing listens at http://localhost:1: start impulse serve, or give another --url"},
		{"another program", "", []string{"a", "--url", other.URL}, "status 404, Not Found: is this the address of impulse serve?"},
		{"no such language", "", append([]string{"a", "--language", "xx"}, key...), "language: not one of CA, ES"},
		{"late", "", append([]string{"late"}, key...), "the answer took too long"},
		{"cut", "", append([]string{"cut"}, key...), "the answer ended before its end"},
		{"one of many", "a\nxx\n", append([]string{"--lines"}, key...), "question 2: "},
	} {
		status, _, errs := askMain(row.input, row.args...)
		if status != 1 || !strings.Contains(errs, row.errs) {
			t.Errorf("%s: status %d, %s", row.name, status, errs)
		}
	}
}

// FuzzReadEvents: the events of a stream are read as they were written, up to the one
// that ends it or fails; a stream without such an event is cut.
func FuzzReadEvents(f *testing.F) {
	f.Add("data: {\"text\":\"a\"}\n\ndata: [DONE]\n\n")
	f.Add(": comment\ndata: a\r\n\ndata:b\n\n")
	f.Add("data: [DONE]")
	f.Fuzz(func(t *testing.T, text string) {
		var taken []string
		err := readEvents(strings.NewReader(text), func(event []byte) error {
			taken = append(taken, string(event))
			return nil
		})
		var want []string
		wantErr := errCut
		for line := range strings.Lines(text) {
			event, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), "data: ")
			if ok && event == "[DONE]" {
				wantErr = nil
				break
			} else if ok {
				want = append(want, event)
			}
		}
		if !slices.Equal(taken, want) || err != wantErr {
			t.Errorf("%q: got %q, %v", text, taken, err)
		}
	})
}

// TestRemoteFlags: flags that a server is asked with exist.
func TestRemoteFlags(t *testing.T) {
	cmd := newAskCommand()
	cmd.InitDefaultHelpFlag()
	for _, name := range remoteFlags {
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("no flag --%s", name)
		}
	}
	if got := changedFlags(pflag.NewFlagSet("", pflag.ContinueOnError), nil); got != nil {
		t.Errorf("changed: %q", got)
	}
}
