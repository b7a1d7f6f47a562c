//go:build unix

package mpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asRank makes the test program one of the processes of a task.
const asRank = "SALAMANDRA_MPI_TASK"

func TestMain(m *testing.M) {
	task := os.Getenv(asRank)
	if task == "" {
		os.Exit(m.Run())
	}
	deadline := 30 * time.Second
	if task == "hangs" {
		deadline = 2 * time.Second
	}
	w, err := Start(deadline)
	if err == nil {
		err = tasks[task](w)
		if err != nil {
			fmt.Printf("rank %d: %v\n", w.Rank(), err)
		}
		err = errors.Join(err, w.Close(err))
	}
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// mpirun runs a task in n processes and returns what they print.
func mpirun(t *testing.T, n int, task string, flags ...string) (string, error) {
	t.Helper()
	if _, err := Start(0); errors.Is(err, ErrNotBuilt) {
		t.Skip(err)
	}
	if _, err := exec.LookPath("mpirun"); err != nil {
		t.Skip("needs mpirun: ", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	flags = append([]string{"--allow-run-as-root", "--oversubscribe", "-n", strconv.Itoa(n)}, flags...)
	c := exec.CommandContext(ctx, "mpirun", append(flags, os.Args[0])...)
	c.Env = append(os.Environ(), asRank+"="+task)
	out, err := c.CombinedOutput()
	return string(out), err
}

var tasks = map[string]func(*World) error{
	"messages": exchange,
	"gradient": measure,
	"refuses": func(w *World) error {
		if w.Rank() == 1 {
			return errors.New("its data are others")
		}
		_, err := w.Receive(context.Background(), (w.Rank()+1)%w.Size())
		return err
	},
	"hangs": func(w *World) error {
		if w.Rank() == 1 {
			return syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
		_, err := w.Receive(context.Background(), 1)
		return err
	},
	"dies": func(w *World) error {
		if w.Rank() == 1 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		_, err := w.Receive(context.Background(), 1)
		return err
	},
}

// exchange sends messages of many lengths around.
func exchange(w *World) error {
	ctx := context.Background()
	to, from := (w.Rank()+1)%w.Size(), (w.Rank()+w.Size()-1)%w.Size()
	message := func(rank, i int) []byte {
		n := []int{0, 1, 7, 5000, 100_000, 3_000_000}[i%6]
		draw := rand.New(rand.NewPCG(uint64(rank), uint64(i)))
		b := make([]byte, n)
		for j := range b {
			b[j] = byte(draw.Uint32())
		}
		return b
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 24 && err == nil; i++ {
			err = w.Send(ctx, to, message(w.Rank(), i))
		}
		sent <- err
	}()
	for i := range 24 {
		got, err := w.Receive(ctx, from)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, message(from, i)) {
			return fmt.Errorf("message %d of %d bytes is not what rank %d sent", i, len(got), from)
		}
	}
	limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := w.Receive(limited, from); !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*EndedError)) {
		return fmt.Errorf("waiting ends with %v", err)
	}
	fmt.Println("exchanged")
	return <-sent
}

// measure times the gradient of a rank 16 adapter of a 7B model, 147 MB.
func measure(w *World) error {
	ctx, data := context.Background(), make([]byte, 147e6)
	for i := range 6 {
		start := time.Now()
		if w.Rank() == 1 {
			if err := w.Send(ctx, 0, data); err != nil {
				return err
			}
			if _, err := w.Receive(ctx, 0); err != nil {
				return err
			}
			continue
		}
		if _, err := w.Receive(ctx, 1); err != nil {
			return err
		}
		if err := w.Send(ctx, 1, nil); err != nil {
			return err
		}
		if i > 0 {
			fmt.Printf("%.3f s\n", time.Since(start).Seconds())
		}
	}
	return nil
}

func TestMessages(t *testing.T) {
	for _, n := range []int{2, 3} {
		out, err := mpirun(t, n, "messages")
		if err != nil || strings.Count(out, "exchanged") != n {
			t.Errorf("%d processes: %v\n%s", n, err, out)
		}
	}
}

// A process that ends with an error ends all, and they know why; one that hangs or
// dies does so within the deadline.
func TestEnds(t *testing.T) {
	for task, want := range map[string]string{
		"refuses": "rank 0: rank 1 (%s): its data are others",
		"hangs":   "rank 0: rank 1 (%s): not heard from for 2s",
		"dies":    "on signal 9",
	} {
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		out, err := mpirun(t, 3, task)
		if want = strings.ReplaceAll(want, "%s", host); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, want %q\n%s", task, err, want, out)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: it took %s", task, took)
		}
	}
}

// BenchmarkGradient is the exchange of a gradient of 147 MB between two processes,
// through shared memory and through TCP on this machine.
func BenchmarkGradient(b *testing.B) {
	if _, err := Start(0); errors.Is(err, ErrNotBuilt) {
		b.Skip(err)
	}
	for name, flags := range map[string][]string{"shared memory": nil, "TCP": {"--mca", "btl", "self,tcp"}} {
		flags = append([]string{"--allow-run-as-root", "--oversubscribe", "-n", "2"}, flags...)
		c := exec.Command("mpirun", append(flags, os.Args[0])...)
		c.Env = append(os.Environ(), asRank+"=gradient")
		out, err := c.CombinedOutput()
		b.Logf("%s: %v\n%s", name, err, out)
	}
}
