package finetune

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/prompt"
	"github.com/impulse-salamandra/finetune/lora"
)

var (
	// ErrClosed is the error of a model that is closed.
	ErrClosed = errors.New("model is closed")
	// ErrNoSchema: an answer that is kept to a schema was asked of a model whose
	// contract has none.
	ErrNoSchema = prompt.ErrNoSchema
)

// Model answers questions: a base, an adapter or none, and how it is prompted.
// Its methods may be called from several goroutines.
type Model struct {
	base  *sharedBase
	ended context.Context // of all requests, by Close
	end   context.CancelCauseFunc

	variants sync.WaitGroup // those that are not freed yet

	mu      sync.Mutex
	current *variant // nil once closed
	fault   error    // of freeing
}

func newModel(v *variant) *Model {
	m := &Model{base: v.base}
	m.ended, m.end = context.WithCancelCause(context.Background())
	m.put(v)
	return m
}

// put makes a variant the one that answers, and returns the one before. The
// caller holds mu, or nobody else knows m.
func (m *Model) put(v *variant) (old *variant) {
	m.variants.Add(1)
	v.freed = func(err error) {
		m.mu.Lock()
		m.fault = errors.Join(m.fault, err)
		m.mu.Unlock()
		m.variants.Done()
	}
	old, m.current = m.current, v
	return old
}

// use returns what answers now, to be released.
func (m *Model) use() (*variant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current == nil {
		return nil, ErrClosed
	}
	m.current.hold()
	return m.current, nil
}

// begin returns what answers a request and the context of the request, which ends
// with the model too. Done ends the request and gives its error: where the context
// ended, the reason for that.
func (m *Model) begin(ctx context.Context) (v *variant, within context.Context, done func(*error), err error) {
	if v, err = m.use(); err != nil {
		return nil, nil, nil, err
	}
	within, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.ended, func() { cancel(ErrClosed) })
	return v, within, func(err *error) {
		if *err != nil && within.Err() != nil {
			*err = context.Cause(within)
		}
		stop()
		cancel(nil)
		v.release()
	}, nil
}

// With returns a model with another adapter on the same base, which is loaded
// once. Both are to be closed. The adapter's own contract is checked: one that
// was trained with another tokenizer or on other base weights is refused. One
// without a contract is prompted as this model is, one with a schema that answers
// cannot be kept to is refused. If this model is warm, the other is warmed up as
// well.
func (m *Model) With(ctx context.Context, adapterDir string) (*Model, error) {
	v, err := m.other(ctx, adapterDir)
	if err != nil {
		return nil, err
	}
	return newModel(v), nil
}

// Swap puts another adapter in the place of the present one; see [Model.With].
// Questions under way are answered with the old one, later ones with the new.
func (m *Model) Swap(ctx context.Context, adapterDir string) error {
	next, err := m.other(ctx, adapterDir)
	if err != nil {
		return err
	}
	m.mu.Lock()
	if m.current == nil {
		m.mu.Unlock()
		next.release()
		return ErrClosed
	}
	old := m.put(next)
	m.mu.Unlock()
	old.release()
	return nil
}

// other makes a variant with another adapter.
func (m *Model) other(ctx context.Context, adapterDir string) (next *variant, err error) {
	v, ctx, done, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done(&err)
	adapter, err := lora.ReadAdapter(adapterDir)
	if err == nil {
		err = adapter.CheckBase(m.base.dir)
	}
	if err != nil {
		return nil, err
	}
	m.base.opts.warnAll(adapter.Warnings)
	p, err := m.base.prompt(ctx, adapterDir, v.prompt.Contract)
	if err != nil {
		return nil, err
	}
	if err := p.SchemaError(); err != nil && p.Contract.Schema != nil {
		return nil, fmt.Errorf("answers cannot be kept to the schema of %s: %w", adapterDir, err)
	}
	if next, err = m.base.variant(adapterDir, adapter, p, v.generator); err != nil {
		return nil, err
	}
	if v.warm.Load() {
		if err := next.makeWarm(ctx); err != nil {
			next.release()
			return nil, err
		}
	}
	return next, nil
}

// Warm computes what all questions begin with, compiles the programs that questions
// of up to 512 tokens with their answers ask for, and answers one, so that the first
// questions, alone or many at once, take no longer than later ones. What longer ones
// ask for is compiled afterwards, while there are no questions. [Open] does so unless
// told otherwise.
func (m *Model) Warm(ctx context.Context) error {
	for {
		v, err := m.warm(ctx)
		if err != nil {
			return err
		}
		m.mu.Lock()
		swapped := m.current != nil && m.current != v
		m.mu.Unlock()
		if !swapped {
			return nil
		}
	}
}

func (m *Model) warm(ctx context.Context) (v *variant, err error) {
	v, ctx, done, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done(&err)
	return v, v.makeWarm(ctx)
}

// Ready reports whether the model is open and warm, see [Model.Warm].
func (m *Model) Ready() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current != nil && m.current.warm.Load()
}

// Close ends what is being answered, with [ErrClosed], and frees the model. It
// returns when both are done, so no callback of a request may call it. A second
// call does nothing.
func (m *Model) Close() error {
	m.mu.Lock()
	v := m.current
	m.current = nil
	m.mu.Unlock()
	if v == nil {
		return nil
	}
	m.end(ErrClosed)
	v.release()
	m.variants.Wait()
	return m.fault
}

// Contract returns how the model is prompted, the zero value once it is closed.
func (m *Model) Contract() chatml.Contract {
	v, err := m.use()
	if err != nil {
		return chatml.Contract{}
	}
	defer v.release()
	return v.prompt.Contract
}

// Quantization is what the base's linear layers are stored in on the device: "4bit",
// "8bit", or empty for what they were not quantised to. Where an adapter was trained on
// another base than that, its [Model.Contract] says so, in BaseQuantization.
func (m *Model) Quantization() string {
	v, err := m.use()
	if err != nil {
		return ""
	}
	defer v.release()
	return v.base.quantized
}

// Effect says what the model's adapter does not do: that it has no effect, or only
// in some layers. It is empty where all is well, and without an adapter.
func (m *Model) Effect() string {
	v, err := m.use()
	if err != nil {
		return ""
	}
	defer v.release()
	return v.effect
}

// CheckAsk says why [Model.Ask] cannot keep answers to a schema: [ErrNoSchema], or
// what the schema has that cannot be kept. It is nil where Ask can.
func (m *Model) CheckAsk() error {
	v, err := m.use()
	if err != nil {
		return err
	}
	defer v.release()
	return v.prompt.SchemaError()
}
