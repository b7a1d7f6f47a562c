package hub

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
)

// CacheDir returns the directory in which Hugging Face tools keep models, by
// their rules: HF_HUB_CACHE, else hub below HF_HOME, else huggingface/hub below
// XDG_CACHE_HOME or ~/.cache.
func CacheDir() (string, error) {
	if dir := cmp.Or(os.Getenv("HF_HUB_CACHE"), os.Getenv("HUGGINGFACE_HUB_CACHE")); dir != "" {
		return expandHome(dir)
	}
	home, err := hfHome()
	return filepath.Join(home, "hub"), err
}

// hfHome is the directory of the cache and of the stored token.
func hfHome() (string, error) {
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return expandHome(dir)
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		dir, err := expandHome(dir)
		return filepath.Join(dir, "huggingface"), err
	}
	return expandHome("~/.cache/huggingface")
}

// expandHome puts the home directory for a leading "~".
func expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok || rest != "" && rest[0] != '/' {
		return path, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, rest), err
}

func repoFolder(id string) string {
	return "models--" + strings.ReplaceAll(id, "/", "--")
}

// repo is a model's place in the cache.
type repo struct {
	cache, id string
	// symlink is os.Symlink, or what a test puts in its place.
	symlink func(target, link string) error
}

func (r repo) blob(hash string) string {
	return filepath.Join(r.cache, repoFolder(r.id), "blobs", hash)
}

func (r repo) snapshot(commit string) string {
	return filepath.Join(r.cache, repoFolder(r.id), "snapshots", commit)
}

func (r repo) lock(hash string) string {
	return filepath.Join(r.cache, ".locks", repoFolder(r.id), hash+".lock")
}

// has reports whether the blob is there in full.
func (r repo) has(f file) bool {
	info, err := os.Stat(r.blob(f.hash))
	return err == nil && info.Mode().IsRegular() && info.Size() == f.size
}

// link puts a blob into a snapshot: as a relative link, or as a copy where the
// file system has none.
func (r repo) link(commit string, f file) error {
	name := filepath.Join(r.snapshot(commit), f.name)
	target := filepath.Join("..", "..", "blobs", f.hash)
	if at, err := os.Readlink(name); err == nil && at == target {
		return nil
	}
	// A new name is made and moved, for there may be an older link in the
	// place, or another process that makes the same one.
	temp, err := os.MkdirTemp(r.snapshot(commit), ".tmp")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	made := filepath.Join(temp, f.name)
	if r.symlink(target, made) != nil {
		if err := copyFile(r.blob(f.hash), made); err != nil {
			return err
		}
	}
	return atomicfile.Rename(made, name)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// setRef notes that the revision stands at the commit.
func (r repo) setRef(revision, commit string) error {
	if revision == commit {
		return nil
	}
	name := filepath.Join(r.cache, repoFolder(r.id), "refs", filepath.FromSlash(revision))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(name, []byte(commit))
}
