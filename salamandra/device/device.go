package device

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/internal/gobackend"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/xlaplugin"
)

// Device is an open backend and how models are loaded on it.
type Device struct {
	// Backend computes.
	Backend compute.Backend
	// Devices is how many devices of the backend are used: its first ones.
	Devices int
	// Options suit the backend; the caller completes them for its model.
	Options salamandra.Options
	// Config is what was opened, in the words of [compute.NewWithConfig], such as
	// "xla:cuda"; Why is the reason for it: "as asked", the environment variable
	// that says so, or what was found; Notes are what else a person may want to
	// know, such as what was tried before and does not work.
	Config, Why string
	Notes       []string
	// InPlace says that results lie in the memory of what their programs are given up:
	// see package xlaplugin.
	InPlace bool
}

// Open opens a backend: "auto" or "" for the best there is, "go", "xla:cpu",
// "xla:cuda" or "xla:/path/to/plugin.so", with options after commas as in
// "xla:cuda,memory_fraction=0.8": the part of a GPU's memory that XLA may take, 0.92
// by default. The option fused_attention=false or true says
// whether attention is left to an operation of the backend where that has one;
// without it, it is on GPUs that can.
//
// "go" computes with vector instructions where the processor has them, many times
// faster than the backend that [compute.NewWithConfig] opens by that name.
//
// What GOMLX_BACKEND or the caller asks for is opened or refused. Of what this
// package finds by itself the first that works is opened; [Device.String] says
// what did not.
func Open(spec string) (*Device, error) {
	var notes []string
	var failed []error
	for _, c := range choices(spec) {
		d, err := open(c)
		if err == nil {
			d.Notes = append(notes, d.Notes...)
			return d, nil
		}
		failed = append(failed, err)
		notes = append(notes, fmt.Sprintf("%s does not work", c.config))
	}
	return nil, errors.Join(failed...)
}

func open(c choice) (*Device, error) {
	config, fused, err := cutFusedAttention(c.config)
	if err != nil {
		return nil, fmt.Errorf("backend %s (%s): %w", c.config, c.why, err)
	}
	if err := c.check(compute.List()); err != nil {
		return nil, err
	}
	d := &Device{Devices: 1, Options: salamandra.DefaultOptions(), Config: c.config, Why: c.why}
	if err := d.newBackend(withMemoryShare(config)); err != nil {
		return nil, fmt.Errorf("backend %s (%s): %w", c.config, c.why, err)
	}
	b := d.Backend
	if c.kind() == "xla" {
		d.Options.Compiled = trimMemory
	}
	has := b.Capabilities().Operations[compute.OpTypeFusedScaledDotProductAttentionVJP]
	d.Options.NoBFloat16 = has && beforeAmpere()
	if d.Options.NoBFloat16 {
		d.Notes = append(d.Notes, "float16 in place of bfloat16")
	}
	if fused == "false" || fused == "" && d.Options.NoBFloat16 {
		d.Options.PlainAttention = true
		d.Notes = append(d.Notes, "attention from matrix products")
	}
	if d.IsGo() {
		d.Notes = append(d.Notes, threads())
	}
	return d, nil
}

// opening is held while a backend is opened: go-xla's list of plugins is not guarded
// against what package xlaplugin adds.
var opening sync.Mutex

// newBackend opens the backend; those that a broken plugin brings down with a panic are
// an error.
func (d *Device) newBackend(config string) (err error) {
	opening.Lock()
	defer opening.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	if plugin, ok := strings.CutPrefix(config, "xla:"); ok {
		plugin, _, _ = strings.Cut(plugin, ",")
		var note error
		if d.InPlace, note = xlaplugin.Load(plugin); note != nil {
			d.Notes = append(d.Notes, fmt.Sprintf("compiled programs are not kept: %v", note))
		}
	}
	d.Backend, err = compute.NewWithConfig(config)
	if err == nil && d.IsGo() {
		d.Backend = gobackend.New(d.Backend)
	}
	return err
}

// String says which backend it is and why.
func (d *Device) String() string {
	parts := []string{fmt.Sprintf("backend %s (%s)", d.Config, d.Why)}
	if d.Devices > 1 {
		parts = append(parts, fmt.Sprintf("%d devices", d.Devices))
	}
	return strings.Join(append(parts, d.Notes...), ", ")
}

// IsGo reports whether it is the Go backend, which computes what is small in a
// generation step on one core.
func (d *Device) IsGo() bool { return choice{config: d.Config}.kind() == "go" }

// Close frees the backend. Models on it must be closed before.
func (d *Device) Close() { d.Backend.Finalize() }
