package lora

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// settleQuantization finds out what the base was quantised to in training, and refuses
// Dequantized where that is not known.
func (m *merger) settleQuantization() error {
	if m.contract != nil {
		m.trainedIn = m.contract.BaseQuantization
	}
	switch {
	case m.opts.Dequantized && m.trainedIn == "":
		return fmt.Errorf("lora: %s: %w: Dequantized goes with an adapter whose prompt.json says that its base was quantised, in base_quantization", m.opts.adapterDirs(), errOption)
	case m.opts.Dequantized:
		m.report.Dequantized = m.trainedIn
		return quantize.Check(m.trainedIn)
	case m.trainedIn != "":
		m.warn("the adapter was trained on the base in %s and is merged into it as its files have it, so that answers may differ from those in training; "+
			"validate both, or merge into the dequantised base", m.trainedIn)
	}
	return nil
}

// dequantize replaces the base's weight of a tensor, if it is one of a linear layer,
// by what it was in training. It is quantised as a whole, as its scales are.
func (m *merger) dequantize(t *tensorMerge) error {
	if !slices.Contains(m.base.Config.Linears(), strings.TrimSuffix(t.from.Name, ".weight")) {
		return nil
	}
	if err := m.base.CheckFinite(t.from.Name); err != nil { // other numbers have no codes
		return err
	}
	data, err := m.base.Bytes(t.from.Name)
	if err != nil {
		return err
	}
	values := make([]float32, t.from.NumElements())
	if err := safetensors.DecodeFloat32(values, data, t.from.Dtype); err != nil {
		return err
	}
	values = quantize.Quantize(m.trainedIn, values, t.from.Shape[1]).Values()
	t.from.Dtype = safetensors.F32 // rounded once, with the update
	data = make([]byte, 4*len(values))
	if err := safetensors.EncodeFloat32(data, values, t.from.Dtype); err != nil {
		return err
	}
	t.src = io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
	return nil
}

// compareTrained sets how far the merged model in dir is from what was trained, where
// it was merged into another base than that. However far it is, it is no fault.
func (m *merger) compareTrained(ctx context.Context, dir string) (err error) {
	if m.trainedIn == "" || m.opts.Dequantized {
		return nil
	}
	m.report.FromTrained, err = m.opts.compare(ctx, dir, m.contract, mergedCheck{Quantize: m.trainedIn, Tolerance: 1e9})
	return err
}
