//go:build linux && mpi && cgo

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// ranksRun are the flags of a run whose steps have a batch for each of three
// processes.
func ranksRun(data, dir string) []string {
	return append(faultRun(data, dir), "--gradient-accumulation-steps", "3", "--average-checkpoints", "0", "--report-samples", "0", "--epochs", "4", "--early-stopping-patience", "0")
}

// startRanks runs the program in n processes that train together.
func startRanks(t *testing.T, n int, args ...string) *process {
	t.Helper()
	if _, err := exec.LookPath("mpirun"); err != nil {
		t.Skip("needs mpirun: ", err)
	}
	flags := []string{"--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", strconv.Itoa(n), os.Args[0]}
	p := &process{Cmd: exec.Command("mpirun", append(flags, args...)...), ended: make(chan struct{})}
	p.Env = append(os.Environ(), asProgram+"=1", compute.ConfigEnvVar+"=go", "GOMAXPROCS=1")
	p.Stdout, p.Stderr = &p.out, &p.errs
	require.NoError(t, p.Start())
	go func() {
		_ = p.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
	return p
}

// processes are the ranks of a run, by their ids, in the order of their ranks.
func (p *process) processes() []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.Process.Pid, p.Process.Pid))
	if err != nil {
		return nil
	}
	var list []int
	for _, field := range strings.Fields(string(text)) {
		if id, err := strconv.Atoi(field); err == nil {
			list = append(list, id)
		}
	}
	return list
}

// requireFiles requires that a run left these files, and names those that differ.
func requireFiles(t *testing.T, want map[string]string, dir string) {
	t.Helper()
	got := outcome(t, dir)
	var other []string
	for name := range want {
		if got[name] != want[name] {
			other = append(other, name)
		}
	}
	require.Empty(t, other, "files that are not those of one process")
	require.Len(t, got, len(want))
}

// eightWords writes eight examples of few tokens.
func eightWords(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "words.jsonl")
	var text strings.Builder
	for i, word := range []string{"sol", "vent", "aigua", "foc", "terra", "mar", "cel", "neu"} {
		fmt.Fprintf(&text, `{"id": "%d", "prompt": "%s", "completion": "%d %s"}`+"\n", i, word, i, word)
	}
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o644))
	return path
}

// TestRanks: two and three processes leave the files of one, whatever happens to
// them on the way.
func TestRanks(t *testing.T) {
	data := eightWords(t)
	one := filepath.Join(t.TempDir(), "one")
	begun := time.Now()
	start(t, ranksRun(data, one)...).end(t, 0)
	took := time.Since(begun)
	want := outcome(t, one)
	for _, n := range []int{1, 2, 3} {
		dir := filepath.Join(t.TempDir(), "whole")
		startRanks(t, n, ranksRun(data, dir)...).end(t, 0)
		requireFiles(t, want, dir)
	}
	t.Run("killed", func(t *testing.T) { killRanks(t, data, want, took) })
	t.Run("hung", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cut")
		p := startRanks(t, 3, append(ranksRun(data, dir), "--rank-deadline", "3s")...)
		p.until(func() bool { return lines(dir) > 1 })
		require.NoError(t, syscall.Kill(p.processes()[1], syscall.SIGSTOP))
		limit := time.Now().Add(30 * time.Second)
		<-p.ended
		require.Less(t, time.Now(), limit)
		require.Contains(t, p.errs.String(), "not heard from for 3s")
		require.Contains(t, p.errs.String(), "is complete: go on with --resume")
		waitUnlocked(t, dir)
		startRanks(t, 2, append(ranksRun(data, dir), "--resume")...).end(t, 0)
		requireFiles(t, want, dir)
	})
	t.Run("terminated", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cut")
		p := startRanks(t, 2, ranksRun(data, dir)...)
		p.until(func() bool { return lines(dir) > 0 })
		for _, id := range p.processes() { // as srun does
			_ = syscall.Kill(id, syscall.SIGTERM)
		}
		<-p.ended
		require.Contains(t, p.errs.String(), "is complete: go on with --resume")
		waitUnlocked(t, dir)
		start(t, append(ranksRun(data, dir), "--resume")...).end(t, 0)
		requireFiles(t, want, dir)
	})
	t.Run("other data", func(t *testing.T) {
		dir, other := filepath.Join(t.TempDir(), "o"), shortData(t)
		script := fmt.Sprintf(`[ "$OMPI_COMM_WORLD_RANK" = 1 ] && set -- "$@" --data %s; exec "$0" "$@"`, other)
		args := append([]string{"--allow-run-as-root", "--oversubscribe", "-n", "2", "bash", "-c", script, os.Args[0]}, ranksRun(data, dir)...)
		c := exec.Command("mpirun", args...)
		c.Env = append(os.Environ(), asProgram+"=1", compute.ConfigEnvVar+"=go")
		out, err := c.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "does not do the same run as rank 0")
		require.Contains(t, string(out), "training examples: 6 on rank 0, 3 on rank 1")
		require.False(t, glob(dir, "checkpoint-*"))
	})
}

// killRanks kills a process, or what started them, at random moments and resumes
// with another number of them.
func killRanks(t *testing.T, data string, want map[string]string, took time.Duration) {
	kills := 2
	if salamandratest.Trials() {
		kills = 15
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	var killed []string
	for round := 0; len(killed) < kills; round++ {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("cut", round))
		for finished := false; !finished; {
			n := 2 + draw.IntN(2)
			p := startRanks(t, n, append(ranksRun(data, dir), "--resume")...)
			if len(killed) < kills {
				p.until(func() bool { return len(p.processes()) == n })
				p.after(time.Duration(draw.Int64N(int64(took))))
				if all := p.processes(); len(all) == n {
					victim := draw.IntN(n + 1)
					if victim == n { // the launcher
						_ = p.Process.Kill()
					} else {
						_ = syscall.Kill(all[victim], syscall.SIGKILL)
					}
					killed = append(killed, fmt.Sprintf("%d of %d", victim, n))
				}
				defer endAll(p.processes())
			}
			<-p.ended
			finished = p.ProcessState.ExitCode() == 0
			waitUnlocked(t, dir)
		}
		requireFiles(t, want, dir)
	}
	t.Logf("killed %v", killed)
}

// endAll ends processes that a launcher has left.
func endAll(ids []int) {
	for _, id := range ids {
		_ = syscall.Kill(id, syscall.SIGKILL)
	}
}

// waitUnlocked waits until no process holds the output directory: after their
// launcher's end the others may take a moment to end.
func waitUnlocked(t *testing.T, dir string) {
	t.Helper()
	for range 600 {
		release, err := atomicfile.Lock(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			release()
			return
		}
		require.ErrorIs(t, err, atomicfile.ErrBusy)
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the output directory is in use a minute after its launcher's death")
}
