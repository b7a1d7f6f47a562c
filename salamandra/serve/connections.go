package serve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxStrangers bounds the connections that no key has come through, each of
// which costs a descriptor and a goroutine. Where there are no keys, these are
// all connections.
const maxStrangers = 512

// connections keeps count of who is connected, so that no client holds a
// connection or the shutdown by being slow: where there are too many strangers
// the one that came first makes room, and at the end nobody's body is waited
// for.
type connections struct {
	most     int // strangers
	mu       sync.Mutex
	byConn   map[net.Conn]*connection
	arrivals uint64
	closing  bool
}

// connection is a client's. Its fields are guarded by connections.mu.
type connection struct {
	all     *connections
	conn    net.Conn
	arrival uint64
	known   bool // a key has come through it
	working bool // a request's body is read, and its answer not given
}

func newConnections(most int) *connections {
	return &connections{most: most, byConn: map[net.Conn]*connection{}}
}

type connectionKey struct{}

// attach is for [http.Server.ConnContext].
func (c *connections) attach(ctx context.Context, conn net.Conn) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrivals++
	k := &connection{all: c, conn: conn, arrival: c.arrivals}
	c.byConn[conn] = k
	c.makeRoom()
	return context.WithValue(ctx, connectionKey{}, k)
}

// makeRoom closes the stranger that has been here longest and has no answer
// under way, if there are too many.
func (c *connections) makeRoom() {
	strangers, oldest := 0, (*connection)(nil)
	for _, k := range c.byConn {
		if k.known {
			continue
		}
		strangers++
		if !k.working && (oldest == nil || k.arrival < oldest.arrival) {
			oldest = k
		}
	}
	if strangers > c.most && oldest != nil {
		delete(c.byConn, oldest.conn)
		oldest.conn.Close()
	}
}

// track is for [http.Server.ConnState].
func (c *connections) track(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		c.mu.Lock()
		delete(c.byConn, conn)
		c.mu.Unlock()
	}
}

// hurry ends the wait for whatever clients have not sent yet.
func (c *connections) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	for _, k := range c.byConn {
		if !k.working {
			_ = k.conn.SetReadDeadline(time.Now())
		}
	}
}

// connectionOf returns a request's connection, nil where another program's
// server has it.
func connectionOf(r *http.Request) *connection {
	k, _ := r.Context().Value(connectionKey{}).(*connection)
	return k
}

// identify notes that a key came through the connection.
func (k *connection) identify() {
	if k == nil {
		return
	}
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	k.known = true
}

// begin marks the start of an answer and lifts the deadline of the request's
// body, which would later look like a client that went away. It reports false
// where the server is about to end.
func (k *connection) begin(control *http.ResponseController) bool {
	if k != nil {
		k.all.mu.Lock()
		defer k.all.mu.Unlock()
		if k.all.closing {
			return false
		}
		k.working = true
	}
	// Not every ResponseWriter has deadlines; a server's own timeouts hold then.
	_ = control.SetReadDeadline(time.Time{})
	return true
}

// rest marks the end of an answer.
func (k *connection) rest() {
	if k == nil {
		return
	}
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	k.working = false
	if k.all.closing {
		_ = k.conn.SetReadDeadline(time.Now())
	}
}
