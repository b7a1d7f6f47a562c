package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// promptedOptions say which model answers and how it is prompted.
type promptedOptions struct {
	ModelPath, BaseModel string
	PromptFile, Schema   string
	Dtype                string
	AllowDrift, Download bool
	MaxRank              int // fills the adapter up to this rank, see lora.AttachPadded; 0 leaves it as it is
}

// prompted is a model, or a model with an adapter, and the prompt it was
// trained with.
type prompted struct {
	base      string // directory of the weights and the tokenizer
	contract  chatml.Contract
	tokenizer *tokenizer.Tokenizer
	model     *salamandra.Model
	adapter   salamandra.Adapter // nil for none
	generator *salamandra.Generator
	stop      []int32
}

// constraint returns what keeps the answer to each query to the schema and
// layout of the contract; where the schema has it, the query that the answer
// repeats is given.
func (p *prompted) constraint(queries []string) (func(row int) (*constrain.Matcher, error), error) {
	if p.contract.Schema == nil {
		return nil, fmt.Errorf("%s has no schema: give one with --schema, or say --constrained=false", chatml.ContractFile)
	}
	opts := constrain.DefaultOptions()
	opts.Indent = p.contract.Layout.Indent
	grammar, err := constrain.Compile(p.contract.Schema, opts)
	if err != nil {
		return nil, fmt.Errorf("schema: %w (--constrained=false asks the bare model)", err)
	}
	vocabulary := constrain.TokenizerVocabulary(p.tokenizer, p.stop)
	return func(row int) (*constrain.Matcher, error) {
		query, err := json.Marshal(queries[row])
		if err != nil {
			return nil, err
		}
		g, err := grammar.With(map[string]json.RawMessage{queryPath: query})
		if errors.Is(err, constrain.ErrConstant) {
			g, err = grammar, nil // no such place in this schema
		}
		if err != nil {
			return nil, err
		}
		return g.Matcher(vocabulary)
	}, nil
}

// queryPath is where an answer repeats the query.
const queryPath = "meta.original_query"

// openPrompted loads what --model-path names: an adapter directory with its
// base, or a model directory. Prompt and schema are those of its prompt.json;
// a flag that differs wins, with a warning, and any other difference is
// refused.
func openPrompted(ctx context.Context, device device, o promptedOptions, out, log io.Writer) (*prompted, error) {
	dir, err := findModel(ctx, "--model-path", o.ModelPath, log)
	if err != nil {
		return nil, err
	}
	base, adapter := dir, (*lora.Adapter)(nil)
	if _, err := os.Stat(filepath.Join(dir, lora.ConfigFile)); err == nil {
		if adapter, err = lora.ReadAdapter(dir); err != nil {
			return nil, err
		}
		if base, err = findBase(ctx, adapter, o.BaseModel, o.Download, log); err != nil {
			return nil, err
		}
	}
	p := &prompted{base: base}
	if p.tokenizer, err = tokenizer.Load(base); err != nil {
		return nil, err
	}
	if err := p.readContract(ctx, dir, base, adapter != nil, o, out); err != nil {
		return nil, err
	}
	if err := warnTemplate(base, p.contract.Template(), out); err != nil {
		return nil, err
	}
	if p.model, err = loadModel(ctx, device, base, o.Dtype, log); err != nil {
		return nil, err
	}
	if p.adapter, err = attach(p.model, adapter, o.MaxRank); err != nil {
		p.close()
		return nil, err
	}
	if adapter != nil {
		tellEffect(dir, adapter, out)
	}
	p.generator = salamandra.NewGenerator(p.model, p.adapter)
	p.setStop()
	return p, nil
}

// attach puts an adapter, nil for none, on a model.
func attach(m *salamandra.Model, a *lora.Adapter, maxRank int) (salamandra.Adapter, error) {
	switch {
	case maxRank > 0:
		return lora.AttachPadded(m, a, maxRank)
	case a != nil:
		return lora.Attach(m, a)
	}
	return nil, nil
}

// tellEffect says how much of an adapter does something.
func tellEffect(dir string, a *lora.Adapter, out io.Writer) {
	switch active, all := a.Active(), len(a.Modules); active {
	case all:
		fmt.Fprintf(out, "adapter %s: changes all its %d layers\n", dir, all)
	case 0:
		fmt.Fprintf(out, "warning: adapter %s changes nothing: A or B is zero in each of %d layers; was it saved before training?\n", dir, all)
	default:
		fmt.Fprintf(out, "adapter %s: changes %d of its %d layers; in the others A or B is zero\n", dir, active, all)
	}
}

// setStop makes answers end at the tokens that end them in training.
func (p *prompted) setStop() {
	if end, ok := p.tokenizer.TokenID(chatml.EndToken); ok {
		p.stop = append(p.stop, end)
	}
	for _, id := range p.model.Config.EOSTokenID {
		p.stop = append(p.stop, int32(id))
	}
}

func (p *prompted) close() {
	if p.generator != nil {
		p.generator.Close()
	}
	_ = p.model.Close()
}

// readContract finds out how the model is prompted.
func (p *prompted) readContract(ctx context.Context, dir, base string, isAdapter bool, o promptedOptions, out io.Writer) error {
	trained, err := chatml.ReadContract(filepath.Join(dir, chatml.ContractFile))
	known := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !known {
		trained = chatml.Contract{
			Date: chatml.DefaultDate, DefaultSystem: true, SystemPrompt: impulse.SystemPrompt(impulse.Current),
			Schema: impulse.Schema(impulse.Current), Layout: chatml.Layout{Indent: 2}, TokenizerSHA256: p.tokenizer.Hash(),
		}
		fmt.Fprintf(out, "no %s in %s: built-in IMPULSE prompt and schema unless flags say otherwise\n", chatml.ContractFile, dir)
	}
	p.contract = trained
	if o.PromptFile != "" {
		if p.contract.SystemPrompt, err = impulse.ReadPrompt(o.PromptFile); err != nil {
			return err
		}
		if known && p.contract.SystemPrompt != trained.SystemPrompt {
			fmt.Fprintf(out, "warning: --prompt-file differs from the system prompt the model was trained with\n")
		}
	}
	if o.Schema != "" {
		if p.contract.Schema, err = readSchema(o.Schema); err != nil {
			return err
		}
		if known && string(p.contract.Schema) != string(trained.Schema) {
			fmt.Fprintf(out, "warning: --schema differs from the schema the model was trained with\n")
		}
	}
	if !known {
		return nil
	}
	weights := base
	if !isAdapter {
		weights = "" // a merged model has others than its base
	}
	return checkDrift(ctx, trained, p.tokenizer, weights, o.AllowDrift, out)
}

// checkDrift refuses what cannot be chosen and is not as it was in training: the
// tokenizer, and the weights in the directory base, "" to leave them out. If
// told so it warns instead.
func checkDrift(ctx context.Context, trained chatml.Contract, tok *tokenizer.Tokenizer, base string, allow bool, out io.Writer) error {
	actual := trained
	actual.TokenizerSHA256, actual.BaseSHA256 = tok.Hash(), ""
	if base != "" && trained.BaseSHA256 != "" {
		var err error
		if actual.BaseSHA256, err = hashWeights(ctx, base); err != nil {
			return err
		}
	}
	err := trained.Check(actual)
	if err != nil && allow {
		fmt.Fprintf(out, "warning: %v\n", err)
		return nil
	}
	if errors.Is(err, chatml.ErrDrift) {
		return fmt.Errorf("%w (--allow-drift to go on all the same)", err)
	}
	return err
}

// readSchema reads a JSON Schema file and checks that it can be used.
func readSchema(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--schema: %w", err)
	}
	_, err = evalx.CompileSchema(path, data)
	return data, err
}

// prompt is the ids that ask for the answer to a query.
func (p *prompted) prompt(query string) ([]int32, error) {
	messages := []chatml.Message{{Role: chatml.User, Content: query}}
	if p.contract.SystemPrompt != "" {
		messages = append([]chatml.Message{{Role: chatml.System, Content: p.contract.SystemPrompt}}, messages...)
	}
	return p.contract.Template().EncodePrompt(p.tokenizer, messages)
}
