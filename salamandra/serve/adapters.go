package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune/lora"
)

// maxModels bounds the models side by side: each keeps its prefix on the device.
const maxModels = 16

// Adapters lists the adapters in [Options].AdaptersDir by name.
func (s *Server) Adapters() ([]string, error) {
	entries, err := os.ReadDir(s.opts.AdaptersDir)
	if err != nil {
		return nil, fmt.Errorf("serve: adapters: %w", err)
	}
	var names []string
	for _, e := range entries {
		dir, err := s.adapterDir(e.Name())
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, lora.ConfigFile)); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// LoadAdapter puts an adapter of [Options].AdaptersDir behind a model's name: in the
// place of the one there, as [finetune.Model.Swap] does, or beside the others under
// a new name. Up to 16 models are served.
func (s *Server) LoadAdapter(ctx context.Context, adapter, name string) error {
	_, err := s.load(ctx, adapter, name)
	return err
}

// load is LoadAdapter, and returns the model.
func (s *Server) load(ctx context.Context, adapter, name string) (*served, error) {
	dir, err := s.adapterDir(adapter)
	if err != nil {
		return nil, err
	}
	if !goodName(name) {
		return nil, errBadName
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	if v := s.models.find(name); v != nil {
		if err := v.Swap(ctx, dir); err != nil {
			return nil, unusable(ctx, err)
		}
		s.note(v, adapter)
		return v, nil
	}
	if len(s.models.all()) >= maxModels {
		return nil, fail(http.StatusUnprocessableEntity, "too_many_models", "model", "there are %d models already; name one of them to take its place", maxModels)
	}
	m, err := s.with(ctx, dir)
	if err != nil {
		return nil, unusable(ctx, err)
	}
	v := &served{model: m, name: name}
	s.made = append(s.made, v)
	s.models.add(v)
	s.note(v, adapter)
	return v, nil
}

// adapterDir returns the directory of an adapter. The name is one of a directory in
// AdaptersDir, or of a link to one; nothing outside is read.
func (s *Server) adapterDir(name string) (string, error) {
	if !goodName(name) {
		return "", errBadName
	}
	root, err := filepath.EvalSymlinks(s.opts.AdaptersDir)
	if err != nil {
		return "", fmt.Errorf("serve: adapters: %w", err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(root, name))
	if err != nil || !strings.HasPrefix(dir, root+string(filepath.Separator)) {
		return "", fail(http.StatusNotFound, "adapter_not_found", "adapter", "there is no adapter of this name")
	}
	return dir, nil
}

// unusable says what is wrong with an adapter.
func unusable(ctx context.Context, err error) error {
	if errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return fail(http.StatusUnprocessableEntity, "unusable_adapter", "adapter", "%v", err)
}

var errBadName = fail(http.StatusUnprocessableEntity, "invalid_name", "adapter", "adapter and model: want names of up to 64 letters, digits, '.', '_' and '-', without a directory")

// goodName reports whether a name is safe as one element of a path.
func goodName(name string) bool {
	if name == "" || len(name) > 64 || name[0] == '.' {
		return false
	}
	for _, c := range []byte(name) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return false
		}
	}
	return true
}
