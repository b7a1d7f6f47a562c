package atomicfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// A directory that another merge still writes is left alone, and so is what
// only looks like one.
func TestStageLeavesOthers(t *testing.T) {
	dir := t.TempDir()
	output := filepath.Join(dir, "merged")
	first, err := NewStage(output, 0)
	require.NoError(t, err)
	defer first.Close()
	for _, name := range []string{"merged.tmp-1234567", "merged.tmp-1234567g", "merged.rejected-12345678", "xmerged.tmp-12345678", "merged.tmp-12345678x"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o777))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "merged.tmp-87654321"), nil, 0o666))
	before := names(t, dir)
	second, err := NewStage(output, 0)
	require.NoError(t, err)
	require.Subset(t, names(t, dir), before)
	second.Close()
	require.Equal(t, before, names(t, dir))
	require.NoError(t, first.Publish())
	require.DirExists(t, output)
}

// A directory or a file is kept for one at a time, also within a process.
func TestLock(t *testing.T) {
	for name, lock := range map[string]func(path string) (func(), error){"directory": Lock, "file": LockFile} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			if name == "file" {
				path = filepath.Join(path, "x.lock")
			}
			release, err := lock(path)
			require.NoError(t, err)
			again, err := lock(path)
			if err == nil { // the file system knows no locks
				again()
				t.Skip("no locks on " + path)
			}
			require.ErrorIs(t, err, ErrBusy)
			release()
			release, err = lock(path)
			require.NoError(t, err)
			release()
			_, err = lock(filepath.Join(path, "none", "none"))
			require.Error(t, err)
		})
	}
}

func TestDiskSpace(t *testing.T) {
	dir := t.TempDir()
	if _, err := freeSpace(dir); err != nil {
		require.ErrorContains(t, err, "unsupported")
		return
	}
	require.NoError(t, CheckSpace(dir, 1))
	output := filepath.Join(dir, "merged")
	_, err := NewStage(output, 1<<60)
	require.ErrorIs(t, err, ErrDiskSpace)
	require.Empty(t, names(t, dir), "nothing is begun")
}
