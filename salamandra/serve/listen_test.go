package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves on a free port until the test ends or stop is called, which
// returns what Serve did.
func start(t *testing.T, s *Server) (url string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	var result *error
	stop = func() error {
		cancel()
		if result == nil {
			err := <-done
			result = &err
		}
		return *result
	}
	t.Cleanup(func() { _ = stop() })
	return "http://" + l.Addr().String(), stop
}

func post(url, body string) (int, string, error) {
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	return r.StatusCode, string(data), err
}

func TestServeNeedsKeys(t *testing.T) {
	listener := func() net.Listener {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		require.NoError(t, err)
		return l
	}
	o := testOptions()
	err := newTestServer(t, newFakeModel(1), o).Serve(t.Context(), listener())
	require.ErrorIs(t, err, errExposed)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	o.Insecure = true
	require.NoError(t, newTestServer(t, newFakeModel(1), o).Serve(ended, listener()))
	o.Insecure, o.Keys = false, []string{userKey}
	require.NoError(t, newTestServer(t, newFakeModel(1), o).Serve(ended, listener()))
	require.False(t, isLoopback(&net.TCPAddr{IP: net.IPv6zero}))
	require.True(t, isLoopback(&net.TCPAddr{IP: net.IPv6loopback}))
}

// TestShutdown: requests that run are finished, new ones refused, and the
// listener is closed.
func TestShutdown(t *testing.T) {
	model := newFakeModel(1)
	model.pause = 20 * time.Millisecond
	s := newTestServer(t, model, testOptions())
	url, stop := start(t, s)
	require.Eventually(t, s.isReady, time.Minute, time.Millisecond)
	type reply struct {
		status int
		body   string
		err    error
	}
	answered := make(chan reply)
	go func() {
		status, body, err := post(url+"/v1/chat/completions", `{"messages": [{"role": "user", "content": "q"}]}`)
		answered <- reply{status, body, err}
	}()
	require.Eventually(t, func() bool { return model.running.Load() == 1 }, time.Minute, time.Millisecond)
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	a := <-answered
	require.NoError(t, a.err)
	require.Equal(t, 200, a.status)
	require.Contains(t, a.body, "hola, què tal?")
	require.NoError(t, <-stopped)
	_, _, err := post(url+"/parse", `{"query": "a"}`)
	require.Error(t, err, "nobody listens")
	http.DefaultClient.CloseIdleConnections()
}

// TestVanishedClient: a client that closes its connection frees its place, with
// and without streaming, running or waiting.
func TestVanishedClient(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream=%v", stream), func(t *testing.T) {
			model, log := newFakeModel(1), &logBuffer{}
			model.reply = func(string) string { return strings.Repeat("a", 400) }
			model.pause = 5 * time.Millisecond
			o := testOptions()
			o.Logger = log.logger()
			s := newTestServer(t, model, o)
			url, _ := start(t, s)
			require.Eventually(t, s.isReady, time.Minute, time.Millisecond)
			body := fmt.Sprintf(`{"messages": [{"role": "user", "content": "q"}], "stream": %v}`, stream)
			var conns []net.Conn
			for range 3 { // one runs, two wait
				conns = append(conns, dial(t, url, body))
			}
			require.Eventually(t, func() bool { return s.inFlight.Load() == 3 && model.running.Load() == 1 }, time.Minute, time.Millisecond)
			for _, c := range conns {
				c.Close()
			}
			require.Eventually(t, func() bool { return s.inFlight.Load() == 0 && model.running.Load() == 0 }, time.Minute, time.Millisecond)
			require.Eventually(t, func() bool { return strings.Count(log.String(), "status=499") == 3 }, time.Minute, time.Millisecond)
			status, _, err := post(url+"/parse", `{"query": "a"}`)
			require.NoError(t, err)
			require.Equal(t, 200, status, "the place is free")
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

// dial sends a chat request on a connection of its own.
func dial(t *testing.T, url, body string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(t, err)
	return c
}

// TestSlowClients: a client that sends its body slowly holds no place and is
// given up; one that reads its stream slowly does not hold up the model.
func TestSlowClients(t *testing.T) {
	model := newFakeModel(1)
	model.reply = func(string) string { return strings.Repeat("a", 3000) }
	o := testOptions()
	o.BodyTimeout = 200 * time.Millisecond
	s := newTestServer(t, model, o)
	url, _ := start(t, s)
	require.Eventually(t, s.isReady, time.Minute, time.Millisecond)

	c := dial(t, url, "")
	_, err := io.WriteString(c, "POST /parse HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, 400, r.StatusCode, "the empty body of dial")
	_, err = io.Copy(io.Discard, r.Body)
	require.NoError(t, err)
	r, err = http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestTimeout, r.StatusCode)
	require.Zero(t, s.inFlight.Load())

	c = dial(t, url, `{"messages": [{"role": "user", "content": "q"}], "stream": true}`)
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(1))
	status, _, err := post(url+"/parse", `{"query": "a"}`) // one slot: it comes after
	require.NoError(t, err)
	require.Equal(t, 200, status)
	http.DefaultClient.CloseIdleConnections()
}

// pipeListener gives connections that keep nothing on the way: who does not read
// holds up who writes.
type pipeListener struct{ connections chan net.Conn }

func (l *pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.connections
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *pipeListener) Close() error   { return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// TestUnreadStream: a client that keeps its connection and takes nothing of its
// stream is given up, and its place is free.
func TestUnreadStream(t *testing.T) {
	model, log := newFakeModel(1), &logBuffer{}
	model.reply = func(string) string { return strings.Repeat("a", 100) }
	model.pause = time.Millisecond
	o := testOptions()
	o.BodyTimeout, o.Logger = 50*time.Millisecond, log.logger()
	s := newTestServer(t, model, o)
	l := &pipeListener{make(chan net.Conn, 1)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	client, server := net.Pipe()
	l.connections <- server
	body := `{"messages": [{"role": "user", "content": "q"}], "stream": true}`
	_, err := fmt.Fprintf(client, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "status=499") }, time.Minute, time.Millisecond)
	require.Zero(t, s.inFlight.Load())
	require.Positive(t, model.canceled.Load(), "the model's context ends")
	client.Close()
	stop()
	close(l.connections)
	require.NoError(t, <-done)
}

// TestOverload: more requests than places are refused at once.
func TestOverload(t *testing.T) {
	model := newFakeModel(1)
	model.pause = time.Minute
	o := testOptions()
	o.InFlight = 2
	s := newTestServer(t, model, o)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan int, 2)
	for range 2 {
		go func() {
			left <- serve(s, request("POST", "/parse", `{"query": "a"}`).WithContext(ctx)).Code
		}()
	}
	require.Eventually(t, func() bool { return s.inFlight.Load() == 2 }, time.Minute, time.Millisecond)
	w := do(s, "POST", "/parse", `{"query": "a"}`)
	require.Equal(t, 503, w.Code)
	require.Equal(t, "overloaded", problem(t, w).Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.Equal(t, 200, do(s, "GET", "/healthz", "").Code)
	cancel()
	<-left
	<-left
	require.Zero(t, s.inFlight.Load())
}

// stalled are requests whose body does not come, each refused for another
// reason or for none.
var stalled = map[string]string{
	"chat":          "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
	"unknown path":  "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
	"no body asked": "GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
	"wrong type":    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n",
	"wrong method":  "DELETE /parse HTTP/1.1\r\nHost: localhost\r\n",
	"foreign host":  "POST /parse HTTP/1.1\r\nHost: other.example\r\n",
	"no key":        "POST /admin/adapter HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
	"chunks":        "POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n",
}

// TestStalledBodies: whatever a request whose body does not come asks for, its
// connection ends within the time for bodies.
func TestStalledBodies(t *testing.T) {
	o := testOptions()
	o.BodyTimeout, o.AdminKeys = 200*time.Millisecond, []string{adminKey}
	o.AdaptersDir = t.TempDir()
	url, _ := start(t, newTestServer(t, newFakeModel(1), o))
	for name, head := range stalled {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := stall(t, url, head)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
			data, err := io.ReadAll(c)
			require.NoError(t, err, "closed, not timed out")
			require.Contains(t, string(data), "HTTP/1.1 ", "answered")
		})
	}
}

// stall sends a header and the beginning of a body.
func stall(t *testing.T, url, head string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	if strings.Contains(head, "chunked") {
		_, err = io.WriteString(c, head+"\r\n64\r\n{")
	} else {
		_, err = io.WriteString(c, head+"Content-Length: 100\r\n\r\n{")
	}
	require.NoError(t, err)
	return c
}

// TestShutdownWaitsForNoBody: clients that have not sent all do not hold up the
// end, whatever they ask.
func TestShutdownWaitsForNoBody(t *testing.T) {
	o := testOptions()
	o.BodyTimeout, o.Timeout = time.Hour, time.Hour
	url, stop := start(t, newTestServer(t, newFakeModel(1), o))
	for _, head := range stalled {
		stall(t, url, head)
	}
	time.Sleep(50 * time.Millisecond) // they are in
	ended := make(chan error)
	go func() { ended <- stop() }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("the end waits for bodies")
	}
}

// TestStrangersMakeRoom: however many connections are open without a key, who
// comes next gets an answer, and one with a key stays.
func TestStrangersMakeRoom(t *testing.T) {
	o := testOptions()
	o.Keys = []string{userKey}
	s := newTestServer(t, newFakeModel(1), o)
	s.connections.most = 4
	url, _ := start(t, s)
	ask := func(c net.Conn) (int, error) {
		if _, err := fmt.Fprintf(c, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", userKey); err != nil {
			return 0, err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, err
		}
		defer r.Body.Close()
		_, err = io.Copy(io.Discard, r.Body)
		return r.StatusCode, err
	}
	open := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	user := open()
	status, err := ask(user)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	var strangers []net.Conn
	for range 12 {
		strangers = append(strangers, open())
	}
	_, err = io.ReadAll(strangers[0])
	require.True(t, err == nil || !isTimeout(err), "the first has made room")
	for _, c := range []net.Conn{user, open()} {
		status, err := ask(c)
		require.NoError(t, err)
		require.Equal(t, 200, status)
	}
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	require.LessOrEqual(t, len(s.connections.byConn), 4+2)
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}
