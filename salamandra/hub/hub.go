// Package hub finds model directories: a directory given as it is, or a model
// of the Hugging Face hub in the local cache that its tools keep.
//
// It never downloads. What is missing is an error that names the command which
// fetches it.
package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNotFound marks a model that is neither a directory nor in the cache.
var ErrNotFound = errors.New("model not found")

// id is the form of a hub id, "owner/name" or "name".
var id = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$`)

// Resolve returns the directory of a model: name itself if it is a directory,
// else the snapshot of the hub model called name that the cache's refs/main
// points to. The error wraps [ErrNotFound] and says what would help.
func Resolve(name string) (string, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return name, nil
	}
	if !id.MatchString(name) || strings.Contains(name, "..") {
		return "", fmt.Errorf("hub: %w: %s is not a directory", ErrNotFound, name)
	}
	cache, err := CacheDir()
	if err != nil {
		return "", fmt.Errorf("hub: %w: %s is not a directory, and there is no cache: %w", ErrNotFound, name, err)
	}
	repo := filepath.Join(cache, "models--"+strings.ReplaceAll(name, "/", "--"))
	commit, err := os.ReadFile(filepath.Join(repo, "refs", "main"))
	if err != nil {
		return "", fmt.Errorf("hub: %w: %s is neither a directory nor in the cache %s; fetch it with: hf download %s", ErrNotFound, name, cache, name)
	}
	dir := filepath.Join(repo, "snapshots", strings.TrimSpace(string(commit)))
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
		return "", fmt.Errorf("hub: %w: the cached copy %s of %s is incomplete; fetch it again with: hf download %s", ErrNotFound, dir, name, name)
	}
	return dir, nil
}

// CacheDir returns the directory in which Hugging Face tools keep models, by
// their rules: HF_HUB_CACHE, else hub below HF_HOME, else huggingface/hub below
// XDG_CACHE_HOME or ~/.cache.
func CacheDir() (string, error) {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return filepath.Join(dir, "hub"), nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "huggingface", "hub"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".cache", "huggingface", "hub"), nil
}
