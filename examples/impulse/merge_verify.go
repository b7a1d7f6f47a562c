package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// verifier returns what compares a merged model with base and adapter, and what
// frees the backend it computes on. All that can be missing is found here,
// before the merge.
func (o *mergeOptions) verifier(base string, out, log io.Writer) (verify func(context.Context, string) error, done func(), err error) {
	check := salamandra.MergedCheck{Base: base, Attach: o.attach, Dtype: o.VerifyDtype}
	if check.Prompts, err = o.verifyPrompts(base); err != nil {
		return nil, nil, err
	}
	device, line, err := openBackend(o.VerifyOn)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintln(out, line)
	return func(ctx context.Context, dir string) error {
		fmt.Fprintf(log, "comparing with base and adapter after %d prompts\n", len(check.Prompts))
		difference, err := salamandra.CompareMerged(ctx, device.backend, dir, check)
		if err == nil {
			fmt.Fprintf(out, "verified: %v\n", difference)
		}
		return err
	}, device.backend.Finalize, nil
}

// attach puts the adapter, or what several come to, on the base.
func (o *mergeOptions) attach(base *salamandra.Model) (salamandra.Adapter, error) {
	adapters := o.adapters()
	adapter, err := lora.ReadAdapter(adapters[0].Dir)
	if err == nil && (len(adapters) > 1 || adapters[0].Weight != 1) {
		adapter, err = lora.Combine(context.Background(), lora.CombineOptions{Adapters: adapters, Method: lora.MergeMethod(o.Method), Rank: o.Rank})
	}
	if err != nil {
		return nil, err
	}
	return lora.Attach(base, adapter)
}

// verifyPrompts are built-in queries as the adapter was asked in training.
func (o *mergeOptions) verifyPrompts(base string) ([][]int32, error) {
	var p prompted
	var err error
	if p.tokenizer, err = tokenizer.Load(base); err != nil {
		return nil, err
	}
	p.contract, err = chatml.ReadContract(filepath.Join(o.AdapterPaths[0], chatml.ContractFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	queries, err := impulse.Parse(sampleQueries, "built-in queries", impulse.Options{})
	if err != nil {
		return nil, err
	}
	if n := len(queries.Records); o.Verify > n {
		return nil, fmt.Errorf("--verify is %d, there are %d built-in queries", o.Verify, n)
	}
	var prompts [][]int32
	for _, r := range queries.Records[:o.Verify] {
		ids, err := p.prompt(r.Query)
		if err != nil {
			return nil, err
		}
		prompts = append(prompts, ids)
	}
	return prompts, nil
}
