package finetune

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/impulse-salamandra/finetune/internal/prompt"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// variant is a base with an adapter, and how they are prompted. It is freed once
// it is replaced and no request uses it.
type variant struct {
	base      *sharedBase
	dir       string // of the adapter, or of the model
	prompt    *prompt.Prompt
	generator *generate.Generator
	replicas  []*salamandra.Model // on other devices, which take a part of many prompts
	layers    *lora.Layers        // nil for none
	effect    string              // what the adapter does not do

	warming sync.Mutex
	warm    atomic.Bool
	rest    sync.WaitGroup // compiles what few questions ask for, until stop
	stop    context.CancelFunc

	mu    sync.Mutex
	users int
	freed func(error) // if not nil, called at the end
}

// attach puts an adapter on the base and says how much of it has an effect.
func (v *variant) attach(a *lora.Adapter) (err error) {
	b := v.base
	switch {
	case b.opts.MaxRank > 0:
		v.layers, err = lora.AttachPadded(b.model, a, b.opts.MaxRank)
	case a != nil:
		v.layers, err = lora.Attach(b.model, a)
	}
	if err != nil || a == nil {
		return err
	}
	switch active, all := a.Active(), len(a.Modules); {
	case active == 0:
		v.effect = fmt.Sprintf("adapter %s has no effect: A or B is zero in each of %d layers; was it saved before training?", v.dir, all)
	case active < all:
		v.effect = fmt.Sprintf("adapter %s changes %d of its %d layers; in the others A or B is zero", v.dir, active, all)
	}
	if v.effect != "" {
		b.opts.warn(v.effect)
	}
	return nil
}

// adapter is the adapter as a generator takes it; a nil pointer is no adapter.
func (v *variant) adapter() salamandra.Adapter {
	if v.layers == nil {
		return nil
	}
	return v.layers
}

// makeWarm brings the generator to the speed that it has later.
func (v *variant) makeWarm(ctx context.Context) error {
	v.warming.Lock()
	defer v.warming.Unlock()
	if v.warm.Load() {
		return nil
	}
	err := v.prompt.Warm(ctx, v.generator, prompt.Warming{
		Context: v.base.context(), MaxNewTokens: v.base.opts.MaxNewTokens,
		Progress: v.base.opts.progress,
	})
	if err != nil {
		return err
	}
	v.warm.Store(true)
	rest, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	v.rest.Go(func() {
		if err := v.generator.CompileRest(rest); err != nil && rest.Err() == nil {
			v.base.opts.warn(fmt.Sprintf("compiling what long answers need: %v", err))
		}
	})
	return nil
}

// hold begins a use of the variant, release ends it.
func (v *variant) hold() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.users++
}

func (v *variant) release() {
	v.mu.Lock()
	v.users--
	last := v.users == 0
	v.mu.Unlock()
	if !last {
		return
	}
	if err := v.free(); v.freed != nil {
		v.freed(err)
	}
}

func (v *variant) free() error {
	if v.stop != nil {
		v.stop()
		v.rest.Wait()
	}
	if v.generator != nil {
		v.generator.Close()
	}
	var err error
	if v.layers != nil {
		err = v.layers.Params().FinalizeAll()
	}
	if released := v.base.release(); err == nil {
		err = released
	}
	return err
}
