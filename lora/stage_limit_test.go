//go:build darwin || linux

package lora

import (
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// fileLimit names the environment variable with the largest file it can write, in bytes.
const fileLimit = "LORA_TEST_FILE_LIMIT"

func init() {
	beforeMerge = func() error {
		text := os.Getenv(fileLimit)
		if text == "" {
			return nil
		}
		size, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return err
		}
		signal.Ignore(syscall.SIGXFSZ) // so that writing fails, as on a full disk
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: size})
	}
}

// A write that fails, in any file and at any place, leaves nothing, and the
// merge can be done again.
func TestMergeCannotWrite(t *testing.T) {
	base := filepath.Join(referenceModels(t), "tiny-gqa")
	adapter := filepath.Join(base, "golden", "adapter-lora")
	dir := t.TempDir()
	output := filepath.Join(dir, "merged")
	for _, size := range []int{0, 1, 5_000, 60_000, 500_000, 871_000} { // the weights are the largest file
		cmd := child(t, base, adapter, output)
		cmd.Env = append(cmd.Env, fileLimit+"="+strconv.Itoa(size))
		cmd.Stderr = nil
		_, err := cmd.Output()
		require.ErrorContains(t, err, "exit status 1", "at most %d bytes", size)
		require.Empty(t, names(t, dir), "at most %d bytes", size)
	}
	cmd := child(t, base, adapter, output)
	cmd.Env = append(cmd.Env, fileLimit+"=10000000")
	_, err := cmd.Output()
	require.NoError(t, err)
	_, err = VerifyDir(t.Context(), output)
	require.NoError(t, err)
}
