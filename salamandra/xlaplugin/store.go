//go:build linux && cgo && !noxla

package xlaplugin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
)

// store is a directory of programs, each in a file of its own: the hash of the
// program, then the program.
type store struct {
	dir   string
	bytes int64
}

// suffix is that of a file's name, which begins with the key.
const suffix = ".program"

// key is the name of a program: the hash of what it follows from.
func key(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d\n", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (s store) path(key string) string { return filepath.Join(s.dir, key+suffix) }

// read returns the program of a key, nil if there is none or its file is damaged.
func (s store) read(key string) []byte {
	data, err := os.ReadFile(s.path(key))
	if err != nil || len(data) < sha256.Size {
		return nil
	}
	program := data[sha256.Size:]
	if sum := sha256.Sum256(program); !bytes.Equal(sum[:], data[:sha256.Size]) {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(s.path(key), now, now) // it was used: see trim
	return program
}

// write keeps a program. What cannot be kept is compiled again.
func (s store) write(key string, program []byte) error {
	f, err := atomicfile.Create(s.path(key))
	if err != nil {
		return err
	}
	defer func() { _ = f.Abort() }()
	sum := sha256.Sum256(program)
	if _, err := io.Copy(f, io.MultiReader(bytes.NewReader(sum[:]), bytes.NewReader(program))); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	return s.trim()
}

// trim removes the programs that were not used for longest, until those that are
// left have as many bytes as there may be.
func (s store) trim() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	total := int64(0)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), suffix) {
			files, total = append(files, info), total+info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	for _, f := range files {
		if total <= s.bytes {
			break
		}
		if err := os.Remove(filepath.Join(s.dir, f.Name())); err != nil && !os.IsNotExist(err) {
			return err
		}
		total -= f.Size()
	}
	return nil
}

// open returns the store, nil on an error, and the setup of a plugin.
func (o Options) open(plugin string) (*store, []byte, error) {
	if err := o.settle(); err != nil {
		return nil, nil, err
	}
	setup, err := setupOf(plugin)
	if err != nil {
		return nil, nil, err
	}
	return &store{o.Dir, o.Bytes}, setup, nil
}

// settle fills in the defaults and makes the directory.
func (o *Options) settle() error {
	if o.Bytes == 0 {
		o.Bytes = 2 << 30
	}
	if o.Bytes < 0 {
		return fmt.Errorf("xlaplugin: %d bytes, want 0 or more", o.Bytes)
	}
	if o.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("xlaplugin: %w", err)
		}
		o.Dir = filepath.Join(cache, "impulse", "xla")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("xlaplugin: %w", err)
	}
	return checkOwner(o.Dir)
}

// checkOwner refuses a directory that others can write to.
func checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("xlaplugin: %w", err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); info.Mode().Perm()&0o022 != 0 || ok && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("xlaplugin: %s: what is in it is run, and others can write to it: want a directory of this user's with mode 0700", dir)
	}
	return nil
}

// setupOf is what programs depend on beside their text and the compiler's options.
func setupOf(plugin string) ([]byte, error) {
	info, err := os.Stat(plugin)
	if err != nil {
		return nil, fmt.Errorf("xlaplugin: %w", err)
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, fmt.Errorf("xlaplugin: %w", err)
	}
	var setup bytes.Buffer
	fmt.Fprintf(&setup, "1 %s %d %d %d %s\n", plugin, info.Size(), info.ModTime().UnixNano(), runtime.NumCPU(), os.Getenv("XLA_FLAGS"))
	for line := range bytes.Lines(cpu) {
		of, _, _ := bytes.Cut(line, []byte{'\t'})
		if slices.Contains([]string{"vendor_id", "cpu family", "model", "model name", "stepping", "flags", "CPU part", "Features"}, string(of)) {
			setup.Write(line)
		}
		if len(bytes.TrimSpace(line)) == 0 { // the other processors are alike
			break
		}
	}
	return setup.Bytes(), nil
}
