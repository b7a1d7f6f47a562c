//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// faultRun are the flags of a run of 6 steps with everything that has a state,
// checkpoints after each, and a mean of some as its result.
func faultRun(data, output string) []string {
	return append(smallRun(data, output), "--max-shapes", "1", "--save-steps", "1", "--average-checkpoints", "2", "--lora-plus-ratio", "4", "--neftune-alpha", "1")
}

// process is the program, running by itself.
type process struct {
	*exec.Cmd
	out, errs bytes.Buffer
	ended     chan struct{}
}

// start runs the program on the backend of GOMLX_BACKEND, or the Go one.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{})}
	p.Env = append(os.Environ(), asProgram+"=1")
	if os.Getenv(compute.ConfigEnvVar) == "" {
		p.Env = append(p.Env, compute.ConfigEnvVar+"=go")
	}
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

// until waits for a condition, often looked at, or the end of the process.
func (p *process) until(condition func() bool) {
	for !condition() {
		select {
		case <-p.ended:
			return
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// after waits for a time, or the end of the process.
func (p *process) after(d time.Duration) {
	select {
	case <-p.ended:
	case <-time.After(d):
	}
}

// end waits for the process and requires its exit status.
func (p *process) end(t *testing.T, status int) {
	t.Helper()
	<-p.ended
	require.Equal(t, status, p.ProcessState.ExitCode(), "%v: %s", p.ProcessState, p.errs.String())
}

// glob reports whether there are files of such a name.
func glob(pattern ...string) bool {
	names, _ := filepath.Glob(filepath.Join(pattern...))
	return len(names) > 0
}

// whole is the run that nothing disturbs, done once.
var whole struct {
	once    sync.Once
	outcome map[string]string
	took    time.Duration
}

// undisturbed is what faultRun gives on shortData, and how long it takes.
func undisturbed(t *testing.T) (map[string]string, time.Duration) {
	t.Helper()
	whole.once.Do(func() {
		dir := filepath.Join(t.TempDir(), "whole")
		from := time.Now()
		start(t, faultRun(shortData(t), dir)...).end(t, 0)
		whole.outcome, whole.took = outcome(t, dir), time.Since(from)
	})
	require.Contains(t, whole.outcome, lora.WeightsFile)
	require.Contains(t, whole.outcome, filepath.Join("checkpoint-6", "optimizer.safetensors"))
	return whole.outcome, whole.took
}

// TestKilled kills the trainer at random moments, again and again, and resumes
// it: in the end there are the bytes of a run that nothing disturbed.
// IMPULSE_FAULTS is the number of kills, 2 without it and 8 in trials.
func TestKilled(t *testing.T) {
	kills := 2
	if salamandratest.Trials() {
		kills = 8
	}
	if n := os.Getenv("IMPULSE_FAULTS"); n != "" {
		var err error
		kills, err = strconv.Atoi(n)
		require.NoError(t, err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	data := shortData(t)
	want, took := undisturbed(t)
	where, starts := map[string]int{}, 0
	for round := 0; kills > 0; round++ {
		dir := filepath.Join(t.TempDir(), "cut")
		for finished := false; !finished; starts++ {
			p := start(t, append(faultRun(data, dir), "--resume")...)
			if kills > 0 {
				moment(p, rng, dir, took)
				_ = p.Process.Kill()
			}
			<-p.ended
			if finished = p.ProcessState.Exited(); !finished {
				kills--
				where[stage(dir)]++
			}
			if finished {
				p.end(t, 0)
			}
		}
		require.Equal(t, want, outcome(t, dir), "seed %d, round %d", seed, round)
		t.Logf("%d runs the same; %d starts; killed %v", round+1, starts, where)
	}
}

// moment waits until the process is to be killed: any time, soon after a step,
// or while a checkpoint, an evaluation or the result is under way.
func moment(p *process, rng *rand.Rand, dir string, took time.Duration) {
	soon := time.Duration(rng.Int64N(int64(took / 20)))
	before := lines(dir)
	switch rng.IntN(5) {
	case 0:
		soon = time.Duration(rng.Int64N(int64(took)))
	case 1:
		p.until(func() bool { return lines(dir) > before })
	case 2:
		p.until(func() bool { return glob(dir, "checkpoint-[1-9]*.tmp-*") })
		soon /= 8
	case 3:
		p.until(func() bool { return lines(dir) > before && evaluating(dir) })
		soon /= 8
	case 4:
		p.until(func() bool { return glob(dir, lastDir) })
		soon /= 4
	}
	p.after(soon)
}

// evaluating reports whether the metrics end with the step before an evaluation,
// whose checkpoint is there.
func evaluating(dir string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, metricsFile))
	last := text[bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n')+1:]
	for _, step := range []string{"3", "6"} {
		if bytes.HasPrefix(last, []byte(`{"step":`+step+`,`)) && !bytes.Contains(last, []byte("eval_loss")) {
			return glob(dir, "checkpoint-"+step)
		}
	}
	return false
}

// lines is the number of lines of the metrics.
func lines(dir string) int {
	text, _ := os.ReadFile(filepath.Join(dir, metricsFile))
	return bytes.Count(text, []byte("\n"))
}

// stage deduces what a killed process was doing from what it left.
func stage(dir string) string {
	switch {
	case glob(dir, "checkpoint-[1-9]*.tmp-*"):
		return "in a checkpoint"
	case glob(dir, lastDir):
		return "in the result"
	case lines(dir) == 0:
		return "before the first step"
	case evaluating(dir):
		return "in an evaluation"
	}
	return "in a step or starting again"
}

// TestSignals: the first signal ends a run with a checkpoint and its own exit
// status, more of them at once; the run goes on as if nothing had happened.
func TestSignals(t *testing.T) {
	data := shortData(t)
	want, _ := undisturbed(t)
	rows := []struct {
		name   string
		signal syscall.Signal
		status int
		more   bool
	}{{"SIGTERM", syscall.SIGTERM, 143, false}, {"SIGINT", syscall.SIGINT, 130, false}, {"SIGTERM twice", syscall.SIGTERM, 143, true}}
	if !salamandratest.Trials() {
		rows = rows[:1]
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cut")
			p := start(t, faultRun(data, dir)...)
			p.until(func() bool { return lines(dir) > 0 })
			require.NoError(t, p.Process.Signal(row.signal))
			if row.more {
				p.until(func() bool { _ = p.Process.Signal(row.signal); return false })
			}
			<-p.ended
			if !row.more || p.ProcessState.Exited() {
				p.end(t, row.status)
				require.Contains(t, p.errs.String(), "is complete: go on with --resume")
				require.True(t, glob(dir, "checkpoint-[1-6]"))
			} else {
				require.Equal(t, row.signal, p.ProcessState.Sys().(syscall.WaitStatus).Signal())
			}
			start(t, "train", "--resume", "--output-dir", dir).end(t, 0)
			require.Equal(t, want, outcome(t, dir))
		})
	}
}

// smallDisk mounts a file system of some size, which needs root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a file system of %s: %v", size, err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// oneError requires that a process failed and said why, without a panic.
func oneError(t *testing.T, p *process, want ...string) {
	t.Helper()
	p.end(t, 1)
	said := p.errs.String()
	said = said[strings.Index(said, "impulse: "):]
	for _, w := range want {
		require.Contains(t, said, w)
	}
	require.NotContains(t, said, "goroutine")
	require.LessOrEqual(t, strings.Count(said, "\n"), 3, said)
}

// A disk that is full stops the run; with room again it goes on.
func TestDiskFull(t *testing.T) {
	data := shortData(t)
	small := filepath.Join(smallDisk(t, "1m"), "o")
	oneError(t, start(t, faultRun(data, small)...), atomicfile.ErrDiskSpace.Error())
	oneError(t, start(t, append(faultRun(data, small), "--dry-run")...), "--output-dir", atomicfile.ErrDiskSpace.Error())

	disk := smallDisk(t, "32m")
	want, _ := undisturbed(t)
	dir, ballast := filepath.Join(disk, "o"), filepath.Join(disk, "ballast")
	p := start(t, faultRun(data, dir)...)
	p.until(func() bool { return glob(dir, "checkpoint-1") })
	fill(t, ballast)
	oneError(t, p, "is complete: go on with --resume")
	require.Regexp(t, "no space left on device|MB free", p.errs.String())
	require.NoError(t, os.Remove(ballast))
	start(t, "train", "--resume", "--output-dir", dir).end(t, 0)
	require.Equal(t, want, outcome(t, dir))
}

// fill writes until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 1<<16))
	}
	for err = nil; err == nil; { // the last page
		_, err = f.Write(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
}

// An output directory that cannot be written is reported at once, and one that
// becomes so costs nothing that was kept.
func TestReadOnly(t *testing.T) {
	data := shortData(t)
	dir := smallDisk(t, "4m")
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	oneError(t, start(t, faultRun(data, filepath.Join(dir, "o"))...), "read-only file system", filepath.Join(dir, "o"))
	oneError(t, start(t, faultRun(data, dir)...), "read-only file system", dir)
}

// Files that are removed under a run are missed, and told by name.
func TestRemovedUnder(t *testing.T) {
	data := shortData(t)
	want, _ := undisturbed(t)
	begin := func(remove string) (*process, string) {
		dir := filepath.Join(t.TempDir(), "cut")
		p := start(t, faultRun(data, dir)...)
		p.until(func() bool { return glob(dir, "checkpoint-1") })
		if remove == "" {
			return p, dir
		}
		require.NoError(t, os.Rename(filepath.Join(dir, remove), filepath.Join(t.TempDir(), "gone")))
		return p, dir
	}
	t.Run("the metrics", func(t *testing.T) {
		p, dir := begin(metricsFile)
		oneError(t, p, metricsFile, "is complete: go on with --resume")
		oneError(t, start(t, "train", "--resume", "--output-dir", dir), metricsFile, "--resume-anyway goes on without them")
		start(t, "train", "--resume", "--resume-anyway", "--output-dir", dir).end(t, 0)
		require.Equal(t, want[lora.WeightsFile], outcome(t, dir)[lora.WeightsFile])
	})
	if !salamandratest.Trials() {
		return
	}
	t.Run("the directory", func(t *testing.T) {
		p, dir := begin(".")
		oneError(t, p, dir)
	})
	t.Run("a file of the newest checkpoint, and all of it", func(t *testing.T) {
		for _, remove := range []string{lora.WeightsFile, ""} {
			p, dir := begin("")
			p.until(func() bool { return glob(dir, "checkpoint-3") })
			require.NoError(t, p.Process.Kill())
			<-p.ended
			newest := newestOf(t, dir)
			require.NoError(t, os.RemoveAll(filepath.Join(newest, remove)))
			again := start(t, "train", "--resume", "--output-dir", dir)
			again.end(t, 0)
			got := outcome(t, dir)
			for name, content := range want {
				require.Equal(t, content, got[name], name)
			}
			if remove != "" {
				require.Contains(t, again.out.String(), fmt.Sprintf("%s: broken: it has no %s", newest, remove))
			}
		}
	})
}

// newestOf returns the directory of the newest checkpoint.
func newestOf(t *testing.T, dir string) string {
	t.Helper()
	for step := 6; step > 0; step-- {
		path := filepath.Join(dir, fmt.Sprintf("checkpoint-%d", step))
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			return path
		}
	}
	t.Fatal("no checkpoint")
	return ""
}
