package lora

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childMerge makes the test program do only one merge: base, adapter
// and output, one a line.
const childMerge = "LORA_TEST_MERGE"

func TestMain(m *testing.M) {
	if job := os.Getenv(childMerge); job != "" {
		if err := runChild(strings.Split(job, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beforeMerge is what the child does first.
var beforeMerge = func() error { return nil }

// runChild merges and prints "begin" before and the peak of its memory after,
// in bytes, 0 if the system does not tell.
func runChild(job []string) error {
	if err := beforeMerge(); err != nil {
		return err
	}
	fmt.Println("begin")
	if _, err := Merge(context.Background(), MergeOptions{Base: job[0], Adapter: job[1], Output: job[2]}); err != nil {
		return err
	}
	peak := 0
	status, _ := os.ReadFile("/proc/self/status") // only Linux has it
	for line := range strings.Lines(string(status)) {
		if kB, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(kB, &peak); err != nil {
				return err
			}
		}
	}
	fmt.Println(peak << 10)
	return nil
}

// child prepares a merge in another process.
func child(t testing.TB, base, adapter, output string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childMerge+"="+strings.Join([]string{base, adapter, output}, "\n"))
	cmd.Stderr = os.Stderr
	return cmd
}

// Killed at any moment, a merge leaves a complete output or none, and can be
// done again.
func TestMergeKilled(t *testing.T) {
	const moments = 20
	base := filepath.Join(referenceModels(t), "tiny-gqa")
	adapter := filepath.Join(base, "golden", "adapter-lora")
	dir := t.TempDir()
	killAfter := func(output string, wait func()) (whole time.Duration) {
		cmd := child(t, base, adapter, output)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		begin := time.Now()
		if wait != nil {
			wait()
			require.NoError(t, cmd.Process.Kill())
		}
		if err := cmd.Wait(); wait == nil {
			require.NoError(t, err)
		}
		return time.Since(begin)
	}
	whole := killAfter(filepath.Join(dir, "first"), nil)
	want := digest(t, filepath.Join(dir, "first"))
	absent, left := 0, 0
	for moment := range moments {
		output := filepath.Join(dir, fmt.Sprintf("killed-%d", moment), "merged")
		killAfter(output, func() {
			if moment%2 == 0 {
				time.Sleep(whole * time.Duration(moment) / moments)
				return
			}
			for { // until it has begun to write
				if entries, err := os.ReadDir(filepath.Dir(output)); err == nil && len(entries) > 0 {
					return
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
		if _, err := os.Stat(output); err == nil {
			_, err := VerifyDir(t.Context(), output)
			require.NoError(t, err, "a directory of that name is complete")
			require.Equal(t, want, digest(t, output))
			continue
		}
		absent++
		if entries, err := os.ReadDir(filepath.Dir(output)); err == nil && len(entries) > 0 {
			left++
		}
		report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output})
		require.NoError(t, err)
		require.Equal(t, want, digest(t, output))
		// Where directories cannot be locked, a warning names what was left.
		require.Equal(t, 1+len(report.Warnings), len(names(t, filepath.Dir(output))))
	}
	require.Positive(t, absent, "some moments are before the end")
	require.Positive(t, left, "some are in the middle")
}
