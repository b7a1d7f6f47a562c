package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/page"
)

// server is a running impulse serve.
type server struct {
	url, key string
	language string
	model    modelInfo
}

// requestsTogether is how many questions a server is sent at once.
const requestsTogether = 8

// findServer asks a server which models it has; an empty name is the first.
func findServer(ctx context.Context, address, key, name, language string) (*server, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--url %s, want an address such as http://localhost:8000", address)
	}
	s := &server{url: strings.TrimRight(address, "/"), key: key, language: language}
	if name == "" {
		var list struct {
			Data []struct {
				ID string `json:"id"`
			} `json:"data"`
		}
		if err := s.fetch(ctx, "/v1/models", &list); err != nil {
			return nil, err
		}
		if len(list.Data) == 0 {
			return nil, fmt.Errorf("%s serves no model", s.url)
		}
		name = list.Data[0].ID
	}
	if err := s.fetch(ctx, "/v1/models/"+url.PathEscape(name), &s.model); err != nil {
		return nil, err
	}
	if string(s.model.Schema) == "null" {
		s.model.Schema = nil
	}
	return s, nil
}

func (s *server) about() modelInfo { return s.model }
func (s *server) close() error     { return nil }

// askAll sends several questions at a time and gives the answers out in turn.
func (s *server) askAll(ctx context.Context, questions []string, onText func(string), onAnswer func(reply)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		reply
		err error
	}
	answers, places := make([]chan outcome, len(questions)), make(chan struct{}, requestsTogether)
	for i := range questions {
		answers[i] = make(chan outcome, 1)
	}
	go func() {
		for i, q := range questions {
			places <- struct{}{}
			go func() {
				a, err := s.parse(ctx, q, onText)
				answers[i] <- outcome{a, err}
				<-places
			}()
		}
	}()
	for i := range answers {
		o := <-answers[i]
		if o.err != nil && len(questions) > 1 {
			return fmt.Errorf("question %d: %w", i+1, o.err)
		} else if o.err != nil {
			return o.err
		}
		onAnswer(o.reply)
	}
	return nil
}

func (s *server) parse(ctx context.Context, question string, onText func(string)) (reply, error) {
	start, a := time.Now(), reply{complete: true}
	ask := map[string]any{"query": question, "model": s.model.Name, "stream": true}
	if s.language != "" {
		ask["language"] = s.language
	}
	err := s.stream(ctx, "/parse", ask, func(event []byte) error {
		var e struct {
			Text  string `json:"text"`
			Usage struct {
				Tokens int `json:"completion_tokens"`
			} `json:"usage"`
		}
		if err := json.Unmarshal(event, &e); err != nil {
			return err
		}
		a.add(e.Text, onText)
		a.tokens += e.Usage.Tokens
		return nil
	})
	a.took = time.Since(start)
	return a, err
}

func (s *server) converse(ctx context.Context, messages []chatml.Message, onText func(string)) (reply, error) {
	start, a := time.Now(), reply{complete: true}
	ask := map[string]any{
		"model": s.model.Name, "messages": messages, "stream": true, "stream_options": map[string]bool{"include_usage": true},
	}
	err := s.stream(ctx, "/v1/chat/completions", ask, func(event []byte) error {
		var e struct {
			Choices []struct {
				Delta struct {
					Content string `json:"content"`
				} `json:"delta"`
				Finish string `json:"finish_reason"`
			} `json:"choices"`
			Usage struct {
				Tokens int `json:"completion_tokens"`
			} `json:"usage"`
		}
		if err := json.Unmarshal(event, &e); err != nil {
			return err
		}
		for _, c := range e.Choices {
			a.add(c.Delta.Content, onText)
			a.complete = a.complete && c.Finish != "length"
		}
		a.tokens += e.Usage.Tokens
		return nil
	})
	a.took = time.Since(start)
	return a, err
}

// add takes a piece of the answer.
func (a *reply) add(piece string, onText func(string)) {
	a.text += piece
	if onText != nil && piece != "" {
		onText(piece)
	}
}

// maxReply bounds what is read of a server, in bytes.
const maxReply = 64 << 20

// stream posts a request and takes the events of its answer.
func (s *server) stream(ctx context.Context, path string, ask any, take func(event []byte) error) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	r, err := s.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var failed []byte
	err = readEvents(io.LimitReader(r.Body, maxReply), func(event []byte) error {
		if bytes.HasPrefix(event, []byte(`{"error":`)) {
			failed = bytes.Clone(event)
			return io.EOF
		}
		return take(event)
	})
	switch {
	case failed != nil:
		return s.problem(r.StatusCode, failed)
	case errors.Is(err, errCut), errors.As(err, new(*json.SyntaxError)), errors.As(err, new(*json.UnmarshalTypeError)):
		return fmt.Errorf("%s%s: %w", s.url, path, err)
	case err != nil:
		return s.unreachable(ctx, err)
	}
	return nil
}

// errCut: a stream ended before the event that ends it.
var errCut = errors.New("the answer ended before its end")

// readEvents takes the data of server-sent events until one is [DONE].
func readEvents(r io.Reader, take func(event []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxReply)
	for lines.Scan() {
		event, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if string(event) == "[DONE]" {
			return nil
		}
		if err := take(event); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errCut
}

// fetch gets a JSON value.
func (s *server) fetch(ctx context.Context, path string, into any) error {
	r, err := s.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if err := json.NewDecoder(io.LimitReader(r.Body, maxReply)).Decode(into); err != nil {
		return fmt.Errorf("%s%s: %w: is this the address of impulse serve?", s.url, path, err)
	}
	return nil
}

// send sends a request and returns its answer if it is of status 200.
func (s *server) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.key != "" {
		request.Header.Set("Authorization", "Bearer "+s.key)
	}
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, s.unreachable(ctx, err)
	}
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16)) // what there is of it
	return nil, s.problem(r.StatusCode, text)
}

// unreachable says why there is no answer.
func (s *server) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nothing listens at %s: start impulse serve, or give another --url", s.url)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", s.url, err)
}

// problem is the error that a server answered with.
func (s *server) problem(status int, text []byte) error {
	var body struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	switch {
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%s asks for a key: --api-key KEY, or %s in the environment", s.url, apiKeyVariable)
	case json.Unmarshal(text, &body) == nil && body.Error.Message != "":
		return fmt.Errorf("%s: %s", s.url, page.PrintableLines(body.Error.Message))
	}
	return fmt.Errorf("%s: status %d, %s: is this the address of impulse serve?", s.url, status, http.StatusText(status))
}
