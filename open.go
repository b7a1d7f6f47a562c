package finetune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/prompt"
	"github.com/impulse-salamandra/finetune/internal/templatecheck"
	"github.com/impulse-salamandra/finetune/internal/weights"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// Open opens a model to ask: path is an adapter directory, a merged model, a base
// model, or the hub id of one of these. Everything that belongs to it comes with
// it: backend, base weights, adapter, tokenizer, and the contract it was trained
// with, whose schema is compiled. Tokenizer and base weights that are not those of
// training are refused. What a contract cannot prove because it is missing is
// warned of.
//
// The model is to be closed.
func Open(ctx context.Context, path string, opts Options) (*Model, error) {
	opts.setDefaults()
	if err := opts.check(); err != nil {
		return nil, err
	}
	dir, err := opts.find(ctx, path, opts.Download)
	if err != nil {
		return nil, err
	}
	base, adapter, err := opts.openAdapter(ctx, dir)
	if err != nil {
		return nil, err
	}
	b := &sharedBase{opts: opts, dir: base, users: 1}
	v, err := b.open(ctx, dir, adapter)
	if err != nil {
		return nil, errors.Join(err, b.release())
	}
	m := newModel(v)
	if err := b.release(); err != nil { // the variant holds it now
		return nil, err
	}
	if !opts.NoWarmUp {
		if err := m.Warm(ctx); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// openAdapter finds the base of what dir holds, and reads the adapter if it is one.
func (o *Options) openAdapter(ctx context.Context, dir string) (base string, a *lora.Adapter, err error) {
	if _, err := os.Stat(filepath.Join(dir, lora.ConfigFile)); err != nil {
		if o.Base != "" {
			return "", nil, fmt.Errorf("%s %s: %s is no adapter directory, it has no %s", o.name("Base"), o.Base, dir, lora.ConfigFile)
		}
		return dir, nil, nil
	}
	if a, err = lora.ReadAdapter(dir); err != nil {
		return "", nil, err
	}
	if base, err = o.findBase(ctx, a.Config.BaseModelNameOrPath, dir); err != nil {
		return "", nil, err
	}
	o.warnAll(a.Warnings)
	return base, a, a.CheckBase(base)
}

// sharedBase is what the models of one base have in common. The last variant
// frees it.
type sharedBase struct {
	opts      Options
	dir       string
	config    llama.Config
	device    *device.Device
	model     *salamandra.Model
	replicas  []*salamandra.Model // on the other devices
	tokenizer *tokenizer.Tokenizer
	schemas   schemaCache
	quantized string // as in salamandra.Options.Quantize

	hashing sync.Mutex
	sum     string // hash of the weights, once known

	mu     sync.Mutex
	users  int
	tokens []*prompt.Tokens // by the ids that end an answer
}

// open loads what the models of a base share, and makes the first variant. What
// can be refused without the weights is refused before they are loaded.
func (b *sharedBase) open(ctx context.Context, dir string, adapter *lora.Adapter) (*variant, error) {
	var err error
	if b.config, err = llama.ReadConfig(b.dir); err != nil {
		return nil, err
	}
	if b.tokenizer, err = tokenizer.Load(b.dir); err != nil {
		return nil, err
	}
	if ids, rows := b.tokenizer.VocabSize(), b.config.VocabSize; ids > rows {
		return nil, fmt.Errorf("%s: tokenizer.json has ids up to %d, and config.json a vocabulary of %d: they do not belong together", b.dir, ids-1, rows)
	}
	unknown, err := chatml.NewContract("", nil, b.tokenizer.Hash())
	if err != nil {
		return nil, err
	}
	unknown.RequestValues = nil // not none, but not known
	if err := b.settleQuantization(dir); err != nil {
		return nil, err
	}
	if err := b.opts.checkShards(b.config, b.quantized); err != nil {
		return nil, err
	}
	p, err := b.prompt(ctx, dir, unknown)
	if err != nil {
		return nil, err
	}
	if err := p.SchemaError(); err != nil && p.Contract.Schema != nil {
		b.opts.warn(fmt.Sprintf("answers cannot be kept to the schema of %s: %v", dir, err))
	}
	if b.device = b.opts.Device; b.device == nil {
		if b.device, err = b.opts.openDevices(); err != nil {
			return nil, err
		}
	}
	if b.model, err = b.load(ctx); err != nil {
		return nil, err
	}
	if b.opts.Shards < 2 {
		if b.replicas, err = replicate(ctx, b.model, b.device.Devices, b.opts.progress); err != nil {
			return nil, err
		}
	}
	return b.variant(dir, adapter, p, nil)
}

func (b *sharedBase) load(ctx context.Context) (*salamandra.Model, error) {
	opts := b.device.Options
	opts.Dtype, opts.Quantize, opts.Shards = b.opts.Dtype, b.quantized, b.opts.Shards
	opts.Progress = b.opts.progress
	return salamandra.Load(ctx, b.device.Backend, b.dir, opts)
}

// prompt finds out how the model in dir is prompted: by its contract, or by
// otherwise where it has none, with what the options replace.
func (b *sharedBase) prompt(ctx context.Context, dir string, otherwise chatml.Contract) (*prompt.Prompt, error) {
	c, known, err := readContract(dir, otherwise)
	if err != nil {
		return nil, err
	}
	if known {
		b.checkQuantization(dir, c)
		err = b.checkDrift(ctx, dir, c)
	} else {
		b.opts.warn(fmt.Sprintf("no %s in %s: how the model was prompted in training is not known", chatml.ContractFile, dir))
	}
	if err = errors.Join(err, b.checkTemplate(dir, c, known)); err != nil {
		return nil, err
	}
	values := c.RequestValues
	b.opts.override(&c, known)
	stop, err := prompt.StopTokens(b.tokenizer, c, b.config.EOSTokenID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.dir, err)
	}
	p, err := prompt.New(c, b.tokensFor(stop), values, b.opts.Whitespace)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.dir, err)
	}
	if err := p.SchemaError(); b.opts.Schema != nil && errors.Is(err, constrain.ErrMalformed) {
		return nil, fmt.Errorf("%s: %w", b.opts.name("Schema"), err)
	}
	if before, answer := p.Least(); before+answer > b.context() {
		return nil, fmt.Errorf("%s: the prompt has %d tokens before any question, and the shortest answer %d: together more than the model's context of %d", dir, before, answer, b.context())
	}
	return p, nil
}

// ReadContract returns how [Open] would have the model in a directory prompted: by
// its contract, with what the options replace.
func ReadContract(dir string, opts Options) (chatml.Contract, error) {
	unknown := chatml.Contract{Date: chatml.DefaultDate, DefaultSystem: true, Layout: chatml.Layout{Indent: 2}}
	c, known, err := readContract(dir, unknown)
	if err == nil {
		opts.override(&c, known)
	}
	return c, err
}

// readContract reads the contract of a model, otherwise where there is none.
func readContract(dir string, otherwise chatml.Contract) (c chatml.Contract, known bool, err error) {
	c, err = chatml.ReadContract(filepath.Join(dir, chatml.ContractFile))
	if errors.Is(err, fs.ErrNotExist) {
		return otherwise, false, nil
	}
	return c, err == nil, err
}

// override puts prompt and schema of the options in the place of the contract's.
func (o *Options) override(c *chatml.Contract, known bool) {
	trained := *c
	if o.Schema != nil {
		if c.Schema = o.Schema; trained.Check(*c) != nil {
			c.RequestValues = nil // those that this schema has a place for
			if known {
				o.warn("the schema differs from the one the model was trained with")
			}
		}
	}
	if o.SystemPrompt != nil {
		if c.SystemPrompt = *o.SystemPrompt; known && c.SystemPrompt != trained.SystemPrompt {
			o.warn("the system prompt differs from the one the model was trained with")
		}
	}
}

// checkDrift refuses a tokenizer and base weights that are not those of training,
// or warns of them if told so. A merged model has other weights than its base: its
// certificate stands for them.
func (b *sharedBase) checkDrift(ctx context.Context, dir string, trained chatml.Contract) error {
	actual := trained
	actual.TokenizerSHA256, actual.BaseSHA256 = b.tokenizer.Hash(), ""
	if trained.BaseSHA256 != "" && dir != b.dir {
		var err error
		if actual.BaseSHA256, err = b.hash(ctx); err != nil {
			return err
		}
	}
	return b.drift(trained.Check(actual))
}

// drift lets a difference from training pass with a warning, if told so.
func (b *sharedBase) drift(err error) error {
	switch {
	case err == nil:
		return nil
	case b.opts.AllowDrift:
		b.opts.warn(err.Error())
		return nil
	}
	return fmt.Errorf("%w (%s goes on all the same)", err, b.opts.name("AllowDrift"))
}

// checkTemplate compares what a model's directory says of its prompts with how it
// is prompted: its chat template and, beside an adapter that says nothing else, its
// tokenizer.
func (b *sharedBase) checkTemplate(dir string, c chatml.Contract, known bool) error {
	templates := dir
	if own, err := templatecheck.Read(dir); err == nil && own == "" {
		templates = b.dir
	}
	warning, err := templatecheck.Check(templates, c.Template())
	if err != nil {
		return err
	}
	if warning != "" {
		b.opts.warn(warning)
	}
	if known || dir == b.dir {
		return nil
	}
	own, err := tokenizer.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	switch {
	case err != nil:
		return b.drift(fmt.Errorf("%w: the tokenizer beside the adapter cannot be compared with the base's: %w", chatml.ErrDrift, err))
	case !own.Equal(b.tokenizer):
		return b.drift(fmt.Errorf("%w: tokenizer.json in %s gives other ids than the base's in %s", chatml.ErrDrift, dir, b.dir))
	}
	return nil
}

// tokensFor returns the tokens of answers that end at these ids.
func (b *sharedBase) tokensFor(stop []int32) *prompt.Tokens {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.tokens {
		if slices.Equal(t.Stop, stop) {
			return t
		}
	}
	t := prompt.NewTokens(b.tokenizer, stop)
	b.tokens = append(b.tokens, t)
	return t
}

// hashWeights returns the identity of a model's weights in a contract.
func hashWeights(ctx context.Context, dir string) (string, error) {
	return weights.Hash(ctx, dir)
}

// hash returns the identity of the base's weights, which takes their reading
// once.
func (b *sharedBase) hash(ctx context.Context) (string, error) {
	b.hashing.Lock()
	defer b.hashing.Unlock()
	var err error
	if b.sum == "" {
		b.opts.progress("checking "+b.dir, 0, 0)
		b.sum, err = hashWeights(ctx, b.dir)
	}
	return b.sum, err
}

// context is the most tokens of a prompt and its answer together.
func (b *sharedBase) context() int { return b.config.MaxPositionEmbeddings }

// hold begins a use of the base, release ends it.
func (b *sharedBase) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.users++
}

func (b *sharedBase) release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users--; b.users > 0 {
		return nil
	}
	var err error
	for _, m := range b.replicas {
		err = errors.Join(err, m.Close())
	}
	if b.model != nil {
		err = errors.Join(err, b.model.Close())
	}
	if b.device != nil && b.opts.Device == nil {
		b.device.Close()
	}
	return err
}

// variant makes what answers with an adapter, nil for none, and is prompted by p.
// With an older generator it shares that one's programs where the adapters allow.
func (b *sharedBase) variant(dir string, adapter *lora.Adapter, p *prompt.Prompt, older *generate.Generator) (*variant, error) {
	v := &variant{base: b, dir: dir, prompt: p, users: 1, replicas: b.replicas}
	b.hold()
	if err := v.attach(adapter); err != nil {
		return nil, errors.Join(err, v.free())
	}
	if older == nil {
		v.generator = generate.New(b.model, v.adapter())
	} else {
		var err error
		if v.generator, err = older.With(v.adapter()); err != nil {
			return nil, errors.Join(err, v.free())
		}
	}
	v.generator.Slots = b.opts.Slots
	return v, nil
}
