package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal opens a pseudo terminal: the end of a person and that of a program.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { person.Close() })
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100})
	}
	if err == nil {
		program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// screenOf collects what a program shows.
type screenOf struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func watchScreen(r io.Reader) *screenOf {
	s := &screenOf{more: make(chan struct{}, 1)}
	go func() {
		data := make([]byte, 4096)
		for {
			n, err := r.Read(data)
			s.mu.Lock()
			s.text.Write(data[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

// await waits until the screen has shown a text, and forgets all up to it.
func (s *screenOf) await(t *testing.T, text string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		shown := s.text.String()
		if _, rest, ok := strings.Cut(shown, text); ok {
			s.text.Reset()
			s.text.WriteString(rest)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		select {
		case <-s.more:
		case <-late:
			t.Fatalf("no %q on the screen: %q", text, shown)
		}
	}
}

// TestAskTerminal talks to the program at a terminal: the arrow key brings a question
// back, Ctrl-C stops an answer and not the program, a paste of two lines is one
// question, Ctrl-D ends, and the terminal is left as it was found.
func TestAskTerminal(t *testing.T) {
	begun := make(chan struct{}, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"data": [{"id": "post"}]}`) })
	mux.HandleFunc("GET /v1/models/post", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"id": "post", "title": "Parcels", "schema": {"type": "object"}}`)
	})
	mux.HandleFunc("POST /parse", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte("forever")) {
			io.WriteString(w, "data: {\"text\":\"so far\"}\n\n")
			http.NewResponseController(w).Flush()
			begun <- struct{}{}
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, "data: {\"text\":%q}\n\ndata: [DONE]\n\n", "got "+string(body))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	person, program := openTerminal(t)
	before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "ask", "--url", server.URL)
	cmd.Env = append(os.Environ(), asProgram+"=1", "NO_COLOR=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	screen := watchScreen(person)
	say := func(keys string) { io.WriteString(person, keys) }

	screen.await(t, "Parcels (post)")
	screen.await(t, ">>> ")
	say("where is it?\r")
	screen.await(t, `got {"model":"post","query":"where is it?"`)
	screen.await(t, ">>> ")
	say("\x1b[A\r") // the question before
	screen.await(t, `"query":"where is it?"`)
	screen.await(t, ">>> ")
	say("\x1b[200~two\rlines\x1b[201~\r")
	screen.await(t, `"query":"two\nlines"`)
	screen.await(t, ">>> ")
	say("forever\r")
	screen.await(t, "so far")
	<-begun
	say("\x03")
	screen.await(t, "(stopped)")
	screen.await(t, ">>> ")
	say("and then?\r")
	screen.await(t, `"query":"and then?"`)
	screen.await(t, ">>> ")
	say("\x04")
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal was left as %+v, %v; it was %+v", after, err, before)
	}
}
