//go:build mpi && cgo

package mpi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
)

// beats is how many times within the deadline a process is heard from.
const beats = 8

// endGrace is how long the others have to end by themselves before they are ended.
const endGrace = 5 * time.Second

// World is all processes that were started together.
type World struct {
	rank, size int
	hosts      []string // of the ranks that are known: all on rank 0, its own and rank 0's elsewhere
	deadline   time.Duration
	operations chan *operation
	closing    chan error // the reason to end
	closed     chan error
}

// operation is a message to send or to receive.
type operation struct {
	peer     int
	receive  bool
	data     []byte      // to send, or what has come so far
	rest     int         // bytes to come or to go; negative before the length has
	parts    []*transfer // under way
	finished chan error
}

// part is the most bytes of one message of MPI, which counts them in an int.
const part = 256 << 20

// Start connects the process with the others. One that is not heard from within the
// deadline is taken to hang.
func Start(deadline time.Duration) (*World, error) {
	if Launched() == 1 {
		return nil, errors.New("MPI: no launcher started this process: mpirun -n 2 does, or srun")
	}
	// Open MPI's own handlers of signals would come before Go's.
	if err := os.Setenv("OMPI_MCA_opal_signal", "6"); err != nil {
		return nil, err
	}
	w := &World{deadline: deadline, operations: make(chan *operation), closing: make(chan error), closed: make(chan error, 1)}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // MPI is called from one thread
		l, err := w.begin()
		started <- err
		if err == nil {
			w.closed <- l.run()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("MPI: %w", err)
	}
	return w, nil
}

// Rank is that of this process, from 0.
func (w *World) Rank() int { return w.rank }

// Size is how many processes there are.
func (w *World) Size() int { return w.size }

// Host is where a process runs: any on rank 0, elsewhere itself and rank 0.
func (w *World) Host(rank int) string { return w.hosts[rank] }

// Send sends a message to another process. It returns when data may be changed.
func (w *World) Send(ctx context.Context, to int, data []byte) error {
	return w.do(ctx, &operation{peer: to, data: data, rest: -1, finished: make(chan error, 1)})
}

// Receive receives the next message of another process.
func (w *World) Receive(ctx context.Context, from int) ([]byte, error) {
	o := &operation{peer: from, receive: true, rest: -1, finished: make(chan error, 1)}
	err := w.do(ctx, o)
	return o.data, err
}

// do has an operation done. After ctx ends it goes on in the background, and the
// only thing left to do is to close.
func (w *World) do(ctx context.Context, o *operation) error {
	select {
	case w.operations <- o:
	case err := <-w.closed:
		w.closed <- err
		return errors.Join(errors.New("MPI has ended"), err)
	}
	select {
	case err := <-o.finished:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends this process's part. With an error the others, which may be at work,
// are told of it and end too; those that do not within some seconds are ended.
func (w *World) Close(reason error) error {
	select {
	case w.closing <- reason:
		return <-w.closed
	case err := <-w.closed:
		return err
	}
}

// loop is the thread that calls MPI.
type loop struct {
	*World
	waiting []*operation
	sending map[int]*transfer // the last beat to each peer
	heard   map[int]time.Time // when each peer was
	ended   map[int]*EndedError
	beaten  time.Time // when peers were last shown that this process is there
	failed  error     // ends all operations
	lost    bool      // a peer is silent
}

// begin starts MPI and exchanges the names of hosts.
func (w *World) begin() (*loop, error) {
	var err error
	if w.rank, w.size, err = initialise(); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	w.hosts = make([]string, w.size)
	w.hosts[w.rank] = host
	l := &loop{World: w, sending: map[int]*transfer{}, heard: map[int]time.Time{}, ended: map[int]*EndedError{}}
	for _, peer := range w.peers() {
		out, err := isend([]byte(host), peer, tagHost)
		if err != nil {
			return nil, err
		}
		name, err := l.await(peer, tagHost)
		if err != nil {
			return nil, err
		}
		w.hosts[peer], l.heard[peer] = string(name), time.Now()
		if err := l.until(out); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// peers are those that a process exchanges beats with.
func (w *World) peers() []int {
	if w.rank > 0 {
		return []int{0}
	}
	peers := make([]int, 0, w.size)
	for rank := 1; rank < w.size; rank++ {
		peers = append(peers, rank)
	}
	return peers
}

// await waits for a short message.
func (l *loop) await(from, tag int) ([]byte, error) {
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		found, source, n, err := probe(from, tag)
		if err != nil {
			return nil, err
		}
		if found {
			return l.short(source, tag, n)
		}
		if time.Since(start) > l.deadline {
			return nil, l.silent(from)
		}
	}
}

// short receives a short message that has come.
func (l *loop) short(from, tag, n int) ([]byte, error) {
	data := make([]byte, n)
	t, err := irecv(data, from, tag)
	if err == nil {
		err = l.until(t)
	}
	return data, err
}

// until waits for a transfer that cannot take long.
func (l *loop) until(t *transfer) error {
	for start := time.Now(); ; time.Sleep(10 * time.Microsecond) {
		done, err := t.done()
		if done || err != nil {
			return err
		}
		if time.Since(start) > l.deadline {
			return errors.New("a message does not get through")
		}
	}
}

func (l *loop) silent(rank int) *EndedError {
	return &EndedError{rank, l.hosts[rank], fmt.Sprintf("not heard from for %s", l.deadline)}
}

// run does operations until the process is to end.
func (l *loop) run() error {
	for {
		l.keepUp()
		busy := l.advance()
		select {
		case o := <-l.operations:
			l.waiting = append(l.waiting, o)
			continue
		case reason := <-l.closing:
			return l.end(reason)
		default:
		}
		switch {
		case busy:
			runtime.Gosched()
		case len(l.waiting) > 0:
			time.Sleep(200 * time.Microsecond)
		default:
			select { // nothing to do but beats
			case o := <-l.operations:
				l.waiting = append(l.waiting, o)
			case reason := <-l.closing:
				return l.end(reason)
			case <-time.After(min(50*time.Millisecond, l.deadline/(4*beats))):
			}
		}
	}
}

// keepUp sends and receives beats and ends, and notes who is silent.
func (l *loop) keepUp() {
	now := time.Now()
	if now.Sub(l.beaten) < l.deadline/(4*beats) {
		return
	}
	l.beaten = now
	for _, tag := range []int{tagBeat, tagEnd} {
		for {
			found, from, n, err := probe(-1, tag)
			if err != nil {
				l.fail(err)
			}
			if err != nil || !found {
				break
			}
			text, err := l.short(from, tag, n)
			if err != nil {
				l.fail(err)
				break
			}
			l.heard[from] = now
			if tag == tagEnd {
				l.ended[from] = &EndedError{from, l.hosts[from], string(text)}
				if len(text) > 0 {
					l.fail(l.ended[from])
				}
			}
		}
	}
	for _, peer := range l.peers() {
		if l.ended[peer] == nil {
			l.beat(peer, now)
		}
	}
}

// beat shows a peer that this process is there, unless the last beat is still on
// its way, and sees whether the peer is.
func (l *loop) beat(peer int, now time.Time) {
	if now.Sub(l.heard[peer]) > l.deadline {
		l.lost = true
		l.fail(l.silent(peer))
		return
	}
	if t := l.sending[peer]; t != nil {
		if done, err := t.done(); err != nil {
			l.fail(err)
		} else if !done {
			return
		}
	}
	t, err := isend([]byte{0}, peer, tagBeat)
	if err != nil {
		l.fail(err)
	}
	l.sending[peer] = t
}

// fail ends all operations with an error.
func (l *loop) fail(err error) {
	if l.failed == nil {
		l.failed = err
	}
}

// advance moves the operations on, and reports whether bytes are on their way to
// this process.
func (l *loop) advance() (busy bool) {
	kept := l.waiting[:0]
	for _, o := range l.waiting {
		err := l.failed
		if e := l.ended[o.peer]; err == nil && e != nil && o.receive && len(o.parts) == 0 && !l.has(o.peer) {
			err = e
		}
		done := false
		if err == nil {
			done, err = l.step(o)
		}
		if done || err != nil {
			o.finished <- err
			continue
		}
		busy = busy || o.receive && o.rest >= 0
		kept = append(kept, o)
	}
	l.waiting = kept
	return busy
}

// has reports whether a message of a process that has ended is left.
func (l *loop) has(peer int) bool {
	found, _, _, err := probe(peer, tagData)
	return found && err == nil
}

// step moves an operation on. A message is its length and then its parts.
func (l *loop) step(o *operation) (done bool, err error) {
	for len(o.parts) > 0 {
		if done, err := o.parts[0].done(); !done || err != nil {
			return false, err
		}
		o.parts = o.parts[1:]
	}
	switch {
	case o.rest < 0 && o.receive:
		found, _, n, err := probe(o.peer, tagData)
		if err != nil || !found {
			return false, err
		}
		length, err := l.short(o.peer, tagData, n)
		if err != nil {
			return false, err
		}
		o.rest = int(binary.LittleEndian.Uint64(length))
		o.data = make([]byte, o.rest)
	case o.rest < 0:
		o.rest = len(o.data)
		return false, l.add(o, binary.LittleEndian.AppendUint64(nil, uint64(o.rest)))
	}
	if o.rest == 0 {
		return true, nil
	}
	at := len(o.data) - o.rest
	next := o.data[at:min(at+part, len(o.data))]
	o.rest -= len(next)
	return false, l.add(o, next)
}

// add begins a transfer of an operation.
func (l *loop) add(o *operation, data []byte) error {
	call := isend
	if o.receive {
		call = irecv
	}
	t, err := call(data, o.peer, tagData)
	if err == nil {
		o.parts = append(o.parts, t)
	}
	return err
}

// end tells the peers that this process ends, waits until they do and ends MPI.
// Rank 0, which keeps the run, is waited for as long as it is heard from; with an
// error it waits some seconds for the others and then ends all.
func (l *loop) end(reason error) error {
	told, err := l.tell(reason)
	for limit := time.Now().Add(endGrace); err == nil && !l.allEnded(); time.Sleep(time.Millisecond) {
		if l.keepUp(); l.lost || l.rank == 0 && reason != nil && time.Now().After(limit) {
			break
		}
	}
	for _, t := range told {
		err = errors.Join(err, l.until(t))
	}
	if err != nil || l.lost || !l.allEnded() {
		abort()
	}
	return finalise()
}

// tell tells the peers why this process ends.
func (l *loop) tell(reason error) (told []*transfer, err error) {
	text := ""
	if reason != nil {
		text = reason.Error()
	}
	for _, peer := range l.peers() {
		t, err := isend([]byte(text), peer, tagEnd)
		if err != nil {
			return told, err
		}
		told = append(told, t)
	}
	return told, nil
}

func (l *loop) allEnded() bool {
	return !slices.ContainsFunc(l.peers(), func(peer int) bool { return l.ended[peer] == nil })
}
