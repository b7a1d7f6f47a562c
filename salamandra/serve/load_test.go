package serve

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// loadVariable says how long TestLoad goes on: a number of requests, or a time
// as time.ParseDuration reads it.
const loadVariable = "SALAMANDRA_LOAD"

// load is what the clients of TestLoad share.
type load struct {
	url    string
	client *http.Client
	want   map[string]string // the answer to a prompt asked by itself

	sent, refused atomic.Int64
	mu            sync.Mutex
	times         map[string][]time.Duration // by kind
}

// TestLoad sends requests of all kinds from 64 connections, broken ones and
// clients that leave among them. Each answer has to be that of its request, the
// one that the same request by itself has, and nothing may be left after it.
func TestLoad(t *testing.T) {
	t.Run("model", func(t *testing.T) { testLoad(t, newRealServer(t, 0).Server, 80) })
	t.Run("fake", func(t *testing.T) { // faster, so that more happens side by side
		model := newFakeModel(8)
		model.reply = func(prompt string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(prompt))) }
		o := testOptions()
		o.Keys = []string{adminKey}
		testLoad(t, newTestServer(t, model, o), 500)
	})
}

// testLoad sends a number of requests, or what the environment says.
func testLoad(t *testing.T, r *Server, most int64) {
	duration := time.Duration(0)
	if v := os.Getenv(loadVariable); v != "" {
		var err error
		if most, err = strconv.ParseInt(v, 10, 64); err != nil {
			duration, err = time.ParseDuration(v)
			most = 1 << 62
		}
		require.NoError(t, err, loadVariable)
	}
	const connections = 64
	r.opts.InFlight = 56 // so that some are refused, and come again
	r.opts.Logger = slog.New(slog.DiscardHandler)
	url, _ := start(t, r)
	require.Eventually(t, r.isReady, time.Minute, time.Millisecond)
	transport := &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	l := &load{url: url, client: &http.Client{Transport: transport}, want: map[string]string{}, times: map[string][]time.Duration{}}
	for i := range 16 {
		prompt := fmt.Sprintf("consulta %d", i)
		body, err := l.ask("POST", "/v1/chat/completions", chatBody(prompt, false), 200)
		require.NoError(t, err)
		l.want[prompt], err = chatText(body)
		require.NoError(t, err)
	}
	begun := time.Now()
	running := func() bool { return duration == 0 || time.Since(begun) < duration }
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			for running() && !t.Failed() {
				i := l.sent.Add(1)
				if i > most {
					return
				}
				kind := kinds[i%int64(len(kinds))]
				start := time.Now()
				if !assert.NoError(t, kind.send(l, int(i), int(i)/len(kinds)), "%s, request %d", kind.name, i) {
					return
				}
				l.mu.Lock()
				l.times[kind.name] = append(l.times[kind.name], time.Since(start))
				l.mu.Unlock()
			}
		})
	}
	early := l.watch(t, func() bool { return running() && l.sent.Load() < most }, func() float64 {
		if duration > 0 {
			return time.Since(begun).Seconds() / duration.Seconds()
		}
		return float64(l.sent.Load()) / float64(most)
	})
	clients.Wait()
	took := time.Since(begun)
	require.Eventually(t, func() bool { return r.inFlight.Load() == 0 }, time.Minute, time.Millisecond, "places are free")
	transport.CloseIdleConnections()
	l.report(t, took)
	heap, goroutines, resident := usedNow()
	t.Logf("at a fifth %d MB of heap, %d MB resident; at the end %d MB, %d goroutines, %d MB", early.heap>>20, early.resident>>20, heap>>20, goroutines, resident>>20)
	require.Less(t, heap, early.heap+48<<20, "memory grows") // caches of schemas fill up at first
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < 40 }, time.Minute, time.Millisecond, "goroutines are left")
}

type usedMemory struct{ heap, resident int64 }

// usedNow returns what is used after a collection.
func usedNow() (heap int64, goroutines int, resident int64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), runtime.NumGoroutine(), residentBytes()
}

// watch logs the memory in use at each fifth until running ends, and returns
// what it was at the first.
func (l *load) watch(t *testing.T, running func() bool, done func() float64) (early usedMemory) {
	for next := 0.2; running() && !t.Failed(); time.Sleep(10 * time.Millisecond) {
		if done() < next {
			continue
		}
		heap, goroutines, resident := usedNow()
		t.Logf("%3.0f %%: %d MB of heap, %d goroutines, %d MB resident", 100*done(), heap>>20, goroutines, resident>>20)
		if next == 0.2 {
			early = usedMemory{heap, resident}
		}
		next += 0.2
	}
	return early
}

func (l *load) report(t *testing.T, took time.Duration) {
	n := 0
	for _, kind := range kinds {
		times := l.times[kind.name]
		if len(times) == 0 {
			continue
		}
		slices.Sort(times)
		n += len(times)
		t.Logf("%-14s %6d requests, p50 %8.1f ms, p99 %8.1f ms", kind.name, len(times), milliseconds(times[len(times)/2]), milliseconds(times[len(times)*99/100]))
		delete(l.times, kind.name)
	}
	t.Logf("%d requests in %v, %.0f/s; %d more were refused with 503 and sent again", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), l.refused.Load())
}

type kindOfRequest struct {
	name string
	send func(l *load, i, round int) error
}

// kinds of requests, in the order in which they come.
var kinds = [...]kindOfRequest{
	{"parse", (*load).parse}, {"chat", (*load).chat}, {"stream", (*load).stream}, {"own schema", (*load).schema}, {"broken", (*load).broken},
	{"parse", (*load).parse}, {"chat", (*load).chat}, {"stream", (*load).stream}, {"leaves", (*load).leave}, {"garbage", (*load).garbage},
}

// ask sends a request until it is not refused for lack of room.
func (l *load) ask(method, path, body string, status int, header ...string) (string, error) {
	for {
		r, err := http.NewRequest(method, l.url+path, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		r.Header.Set("Authorization", "Bearer "+adminKey)
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		a, err := l.client.Do(r)
		if err != nil {
			return "", err
		}
		data, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil {
			return "", err
		}
		if a.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(data), "overloaded") {
			l.refused.Add(1)
			time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
			continue
		}
		if a.StatusCode != status {
			return "", fmt.Errorf("status %d, want %d: %s", a.StatusCode, status, data)
		}
		return string(data), nil
	}
}

func chatBody(prompt string, stream bool) string {
	return fmt.Sprintf(`{"messages": [{"role": "user", "content": %q}], "max_tokens": 8, "stream": %v}`, prompt, stream)
}

func chatText(body string) (string, error) {
	var c completion
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		return "", err
	}
	return *c.Choices[0].Message.Content, nil
}

func same(got, want string) error {
	if got != want {
		return fmt.Errorf("answer %q, want %q", got, want)
	}
	return nil
}

func (l *load) parse(i, round int) error {
	body, err := l.ask("POST", "/parse", fmt.Sprintf(`{"query": "pregunta %d", "language": "CA"}`, i), 200)
	if err != nil {
		return err
	}
	var a testAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		return err
	}
	return same(a.Meta.Lang+" "+a.Meta.OriginalQuery, fmt.Sprintf("CA pregunta %d", i))
}

func (l *load) chat(i, round int) error {
	prompt := fmt.Sprintf("consulta %d", round%len(l.want))
	body, err := l.ask("POST", "/v1/chat/completions", chatBody(prompt, false), 200)
	if err != nil {
		return err
	}
	text, err := chatText(body)
	if err != nil {
		return err
	}
	return same(text, l.want[prompt])
}

func (l *load) stream(i, round int) error {
	prompt := fmt.Sprintf("consulta %d", round%len(l.want))
	body, err := l.ask("POST", "/v1/chat/completions", chatBody(prompt, true), 200)
	if err != nil {
		return err
	}
	var text strings.Builder
	in, done := bufio.NewScanner(strings.NewReader(body)), false
	for in.Scan() {
		data, ok := strings.CutPrefix(in.Text(), "data: ")
		var c completion
		switch {
		case data == "[DONE]":
			done = true
		case ok:
			if err := json.Unmarshal([]byte(data), &c); err != nil {
				return err
			}
			if len(c.Choices) > 0 && c.Choices[0].Delta.Content != nil {
				text.WriteString(*c.Choices[0].Delta.Content)
			}
		}
	}
	if !done {
		return fmt.Errorf("the stream has no end: %s", body)
	}
	return same(text.String(), l.want[prompt])
}

// schema asks for a schema of its own, which leaves one answer.
func (l *load) schema(i, round int) error {
	body, err := l.ask("POST", "/v1/chat/completions", fmt.Sprintf(`{"messages": [{"role": "user", "content": "a"}], %s`, schemaFormat(fmt.Sprintf(`{"const": "n%d"}`, i))), 200)
	if err != nil {
		return err
	}
	text, err := chatText(body)
	if err != nil {
		return err
	}
	return same(text, fmt.Sprintf(`"n%d"`, i))
}

// broken sends what is to be refused.
func (l *load) broken(i, round int) error {
	rows := []struct {
		method, path, body string
		status             int
		header             []string
	}{
		{"POST", "/parse", `{"query": `, 400, nil},
		{"POST", "/parse", `{"query": "a"}`, 401, []string{"Authorization", "Bearer no"}},
		{"GET", "/nothing", "", 404, nil},
		{"DELETE", "/parse", "", 405, nil},
		{"POST", "/parse", strings.Repeat("a", 300_000), 413, nil},
		{"POST", "/parse", `{"query": "a"}`, 415, []string{"Content-Type", "text/plain"}},
		{"POST", "/parse", `{"query": "a", "language": "XX"}`, 422, nil},
		{"POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "a"}], ` + schemaFormat(`{"type": "string", "pattern": "^(a|b)*a(a|b){20}$"}`), 422, nil},
	}
	row := rows[round%len(rows)]
	body, err := l.ask(row.method, row.path, row.body, row.status, row.header...)
	if err != nil {
		return err
	}
	var e errorBody
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Code == "" {
		return fmt.Errorf("no JSON error: %s", body)
	}
	return nil
}

// leave asks and goes away, sooner or later.
func (l *load) leave(i, round int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%40)*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", l.url+"/v1/chat/completions", strings.NewReader(chatBody("consulta 1", i%3 == 0)))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+adminKey)
	r.Header.Set("Content-Type", "application/json")
	if a, err := l.client.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, a.Body) // it may be cut
		a.Body.Close()
	}
	return nil
}

// garbage is no HTTP, or not all of it.
func (l *load) garbage(i, round int) error {
	c, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		return err
	}
	defer c.Close()
	texts := []string{
		"\x16\x03\x01\x02\x00\x01\x00", "GET / HTTP/9.9\r\n\r\n", "POST /parse HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
		"POST /parse HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzz\r\n",
		"POST /parse HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminKey + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"que",
	}
	_, err = io.WriteString(c, texts[round%len(texts)])
	return err
}
