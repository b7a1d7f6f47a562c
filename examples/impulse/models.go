package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/chatml/templatecheck"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/hub"
)

// findModel returns the directory of the model that a flag names: a directory,
// or a hub model in the local cache. A hub model that is not there is downloaded,
// which the user has asked for by its name.
func findModel(ctx context.Context, flag, name string, log io.Writer) (string, error) {
	dir, err := hub.Resolve(name)
	if errors.Is(err, hub.ErrNotFound) && isHubID(name) {
		fmt.Fprintf(log, "%s is not here: downloading it\n", name)
		dir, err = download(ctx, name, log)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return dir, nil
}

// isHubID tells an id of the form owner/name from a mistyped path: the directory
// of a path is mostly there.
func isHubID(name string) bool {
	owner, _, ok := strings.Cut(name, "/")
	if !ok || !hub.IsID(name) {
		return false
	}
	_, err := os.Stat(owner)
	return errors.Is(err, fs.ErrNotExist)
}

func download(ctx context.Context, name string, log io.Writer) (string, error) {
	bar := newProgress(log, "downloading "+name)
	defer bar.done()
	return hub.Download(ctx, name, hub.Options{Progress: func(p hub.Progress) { bar.set(p.Done, p.Size, p.File) }})
}

// findBase finds the base of an adapter: what the flag names, else what the
// adapter names. A hub model that only the adapter names, which may come from a
// stranger, is downloaded only if told so.
func findBase(ctx context.Context, a *lora.Adapter, flag string, mayDownload bool, log io.Writer) (string, error) {
	name := a.Config.BaseModelNameOrPath
	switch {
	case flag != "":
		return findModel(ctx, "--base-model", flag, log)
	case name == "":
		return "", fmt.Errorf("the adapter does not name its base model: give --base-model")
	case mayDownload:
		return findModel(ctx, "base model of the adapter (--base-model gives another)", name, log)
	}
	dir, err := hub.Resolve(name)
	if err != nil && isHubID(name) {
		return "", fmt.Errorf("base model of the adapter (--base-model gives another, --download fetches this one): %w", err)
	} else if err != nil {
		return "", fmt.Errorf("base model of the adapter (--base-model gives another): %w", err)
	}
	return dir, nil
}

// warnTemplate says so if a model's own chat template would prompt it otherwise
// than we do.
func warnTemplate(dir string, t chatml.Template, out io.Writer) error {
	r, err := templatecheck.Check(dir, t)
	if err == nil && r.Warn() {
		fmt.Fprintf(out, "warning: %s\n", r)
	}
	return err
}

// loadModel loads a model and shows how far it is.
func loadModel(ctx context.Context, d device, dir, dtype string, log io.Writer) (*salamandra.Model, error) {
	bar := newProgress(log, "loading "+dir)
	defer bar.done()
	opts := d.options
	opts.Dtype, opts.Progress = dtype, func(done, total int64) { bar.set(done, total, "") }
	return salamandra.Load(ctx, d.backend, dir, opts)
}

// hashWeights is the identity of a model's weights in a contract.
func hashWeights(ctx context.Context, dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("no *.safetensors in %s: it holds no weights that can be trained or served", dir)
	}
	return chatml.HashFiles(ctx, files...)
}
