package finetune

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/hub"
	"github.com/impulse-salamandra/finetune/lora"
)

// FindModel returns the directory of a model that is named by a directory or a
// hub id: in the local cache or, where opts.Download allows, fetched.
func FindModel(ctx context.Context, name string, opts Options) (dir string, err error) {
	return opts.find(ctx, name, opts.Download)
}

// FindBase returns the directory of the base of the adapter in dir: opts.Base, or
// what the adapter names, which is fetched only where opts.DownloadBase allows.
func FindBase(ctx context.Context, dir string, opts Options) (base string, err error) {
	a, err := lora.ReadAdapter(dir)
	if err != nil {
		return "", err
	}
	return opts.findBase(ctx, a.Config.BaseModelNameOrPath, dir)
}

// find returns the directory of a model: a directory, or a hub model in the
// local cache, fetched where that is allowed.
func (o *Options) find(ctx context.Context, name string, download bool) (string, error) {
	dir, err := hub.Resolve(name, hub.Options{})
	if errors.Is(err, hub.ErrNotFound) && isHubID(name) && download {
		dir, err = hub.Download(ctx, name, hub.Options{Progress: o.progress})
	}
	return dir, err
}

// findBase finds the base of an adapter in dir. A relative path that the adapter
// names is looked for from the working directory and from the adapter's own.
func (o *Options) findBase(ctx context.Context, named, dir string) (string, error) {
	if o.Base != "" {
		base, err := o.find(ctx, o.Base, o.Download)
		if err != nil {
			err = fmt.Errorf("%s: %w", o.name("Base"), err)
		}
		return base, err
	}
	if named == "" {
		return "", fmt.Errorf("%s does not name its base model: %s does", filepath.Join(dir, lora.ConfigFile), o.name("Base"))
	}
	if beside := filepath.Join(dir, named); !filepath.IsAbs(named) && isDir(beside) && !isDir(named) {
		return beside, nil
	}
	base, err := o.find(ctx, named, o.DownloadBase)
	switch {
	case err == nil:
		return base, nil
	case o.DownloadBase:
		return "", fmt.Errorf("base model of the adapter in %s: %w (%s gives another)", dir, err, o.name("Base"))
	}
	return "", fmt.Errorf("base model of the adapter in %s: %w (%s gives another, %s fetches one that is named by hub id)", dir, err, o.name("Base"), o.name("DownloadBase"))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// isHubID distinguishes an id of the form owner/name from a mistyped path: the directory
// of a path is mostly there.
func isHubID(name string) bool {
	owner, _, ok := strings.Cut(name, "/")
	return ok && hub.IsID(name) && !isDir(owner)
}
