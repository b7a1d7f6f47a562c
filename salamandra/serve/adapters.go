package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// AdapterDir is a directory whose directories are adapters of one base model,
// each as lora.Adapter.Write and PEFT leave it, with the prompt.json of its
// training.
type AdapterDir struct {
	// Dir is the directory.
	Dir string
	// Base is the model that the adapters are put on.
	Base *salamandra.Model
	// Contract is what the base is prompted with: an adapter trained with
	// another tokenizer, or on a base of other weights, is refused; one without
	// prompt.json has this contract.
	Contract chatml.Contract
	// MaxRank, unless 0, is the rank up to which adapters are filled up, so that
	// they share compiled programs; see lora.AttachPadded. Those of higher rank
	// are refused.
	MaxRank int
	// Engine makes the engine of an adapter on the base, and what frees it.
	Engine func(adapter salamandra.Adapter) (Engine, func(), error)
}

// Names lists the adapters that are there.
func (d AdapterDir) Names() ([]string, error) {
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return nil, fmt.Errorf("serve: adapters: %w", err)
	}
	var names []string
	for _, e := range entries {
		dir, err := d.find(e.Name())
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, lora.ConfigFile)); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Load reads an adapter and makes the model that has it. The name is that of a
// directory in Dir, or of a link to one; nothing outside Dir is read.
func (d AdapterDir) Load(_ context.Context, name string) (Model, error) {
	dir, err := d.find(name)
	if err != nil {
		return Model{}, err
	}
	adapter, err := lora.ReadAdapter(dir)
	if err != nil {
		return Model{}, unusable(err)
	}
	contract, err := chatml.ReadContract(filepath.Join(dir, chatml.ContractFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		contract = d.Contract
	case err != nil:
		return Model{}, unusable(err)
	}
	actual := contract
	actual.TokenizerSHA256, actual.BaseSHA256 = d.Contract.TokenizerSHA256, d.Contract.BaseSHA256
	if err := contract.Check(actual); err != nil {
		return Model{}, unusable(err)
	}
	attach := lora.Attach
	if d.MaxRank > 0 {
		attach = func(base lora.Target, a *lora.Adapter) (*lora.Layers, error) {
			return lora.AttachPadded(base, a, d.MaxRank)
		}
	}
	layers, err := attach(d.Base, adapter)
	if err != nil {
		return Model{}, unusable(err)
	}
	engine, free, err := d.Engine(layers)
	if err != nil {
		return Model{}, err
	}
	m := Model{Name: name, Adapter: name, Engine: engine, Contract: contract}
	m.Close = func() {
		free()
		_ = layers.Params().FinalizeAll() // the memory is gone, or will be with the process
	}
	if adapter.Active() == 0 {
		m.Warning = fmt.Sprintf("the adapter changes nothing: A or B is zero in each of %d layers; was it saved before training?", len(adapter.Modules))
	}
	return m, nil
}

// find returns the directory of an adapter.
func (d AdapterDir) find(name string) (string, error) {
	missing := fail(http.StatusNotFound, "adapter_not_found", "adapter", "there is no adapter of this name")
	if !goodName(name) {
		return "", missing
	}
	root, err := filepath.EvalSymlinks(d.Dir)
	if err != nil {
		return "", fmt.Errorf("serve: adapters: %w", err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(root, name))
	if err != nil || !strings.HasPrefix(dir, root+string(filepath.Separator)) {
		return "", missing
	}
	return dir, nil
}

// unusable tells the admin what is wrong with an adapter.
func unusable(err error) error {
	return fail(http.StatusUnprocessableEntity, "unusable_adapter", "adapter", "%v", err)
}
