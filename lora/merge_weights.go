package lora

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

const (
	// blockRows is how many rows a core merges before it takes the next; fixed,
	// so that the report does not depend on the number of cores.
	blockRows = 64
	// chunkElements is how much of an untouched tensor is handled at a time.
	chunkElements = 1 << 22
)

// plan returns the tensors of the output, in the order of the base's files, as
// the files to be written.
func (m *merger) plan() []safetensors.Shard {
	var infos []safetensors.Info
	for _, f := range m.base.Shards() {
		for _, info := range f.Tensors() {
			if m.to != "" && isFloat(info.Dtype) {
				info.Dtype = m.to
			}
			infos = append(infos, info)
		}
	}
	return safetensors.PlanShards(infos, cmp.Or(m.opts.MaxShardSize, safetensors.MaxShardSize))
}

// size returns the bytes of the tensors of the output.
func (m *merger) size() int64 {
	var total int64
	for _, shard := range m.plan() {
		for _, info := range shard.Tensors {
			total += int64(info.NumBytes())
		}
	}
	return total
}

// writeWeights writes every tensor of the output and the index, and returns the
// SHA-256 of each file as written.
func (m *merger) writeWeights(ctx context.Context, dir string) (map[string][32]byte, error) {
	shards, total := m.plan(), m.size()
	sums := map[string][32]byte{}
	for _, shard := range shards {
		w, err := safetensors.Create(filepath.Join(dir, shard.Name), shard.Tensors, map[string]string{"format": "pt"})
		if err != nil {
			return nil, err
		}
		defer w.Abort()
		for _, info := range shard.Tensors {
			if err := m.writeTensor(ctx, w, info); err != nil {
				return nil, err
			}
			m.progress("merge", info.Name, int64(info.NumBytes()), total)
		}
		if err := w.Commit(); err != nil {
			return nil, err
		}
		sums[shard.Name] = w.SHA256()
	}
	slices.SortFunc(m.report.Merged, func(a, b MergedTensor) int { return cmp.Compare(a.Name, b.Name) })
	if len(shards) == 1 {
		return sums, nil
	}
	return sums, safetensors.WriteIndex(dir, shards)
}

// progress reports another n bytes of a stage.
func (m *merger) progress(stage, name string, n, total int64) {
	m.done += n
	if m.opts.Progress != nil {
		m.opts.Progress(MergeProgress{Stage: stage, Name: name, Done: m.done, Total: total})
	}
}

// writeTensor writes one tensor of the output, and reports it if an adapter has
// a module for it.
func (m *merger) writeTensor(ctx context.Context, w *safetensors.Writer, to safetensors.Info) error {
	from, _ := m.base.Info(to.Name)
	src, err := m.base.Bytes(to.Name)
	if err != nil {
		return err
	}
	defer m.base.Release(to.Name)
	parts, adapted := m.parts[to.Name]
	report := MergedTensor{Name: to.Name, Shape: to.Shape}
	if len(parts) == 1 {
		report.Scale = parts[0].scale
	}
	for _, p := range parts {
		report.Rank += p.Rank
	}
	if m.opts.Method == MethodSVD {
		report.Rank = min(report.Rank, m.opts.Rank)
	}
	parts = slices.DeleteFunc(slices.Clone(parts), part.isZero)
	if len(parts) == 0 {
		err = m.copyTensor(ctx, w, src, from, to)
	} else {
		var t tally
		t, err = m.mergeTensor(ctx, w, parts, src, from, to)
		report.DeltaNorm, report.Updates, report.LostShare = math.Sqrt(t.squares), t.updates, lostShare(t.updates, t.changed)
		report.changed = t.changed
	}
	if adapted && err == nil {
		m.report.Merged = append(m.report.Merged, report)
	}
	return err
}

// mergeTensor writes a tensor that adapters change, computed on all cores.
func (m *merger) mergeTensor(ctx context.Context, w *safetensors.Writer, parts []part, src []byte, from, to safetensors.Info) (tally, error) {
	m.buffer = slices.Grow(m.buffer[:0], to.NumBytes())[:to.NumBytes()]
	u, err := newUpdater(ctx, m.opts, parts)
	if err != nil {
		return tally{}, err
	}
	fromRow, toRow := u.in*from.Dtype.Size(), u.in*to.Dtype.Size()
	tallies := make([]tally, (u.out+blockRows-1)/blockRows)
	err = eachBlock(ctx, u.out, func() func(block, i int) error {
		r := newRows(u, parts[0].Magnitude, from.Dtype, to.Dtype)
		return func(block, i int) error {
			return r.merge(&tallies[block], i, m.buffer[i*toRow:(i+1)*toRow], src[i*fromRow:(i+1)*fromRow])
		}
	})
	var t tally
	for _, block := range tallies {
		t.add(block)
	}
	if err != nil {
		return t, err
	}
	if t.notFinite > 0 {
		return t, m.notFinite(to)
	}
	return t, w.Write(to.Name, m.buffer)
}

// notFinite is the fault of an output tensor that cannot hold its values.
func (m *merger) notFinite(to safetensors.Info) error {
	return &TensorError{Path: m.opts.Output, Tensor: to.Name, Err: fmt.Errorf("%w: as %s", ErrNotFinite, to.Dtype)}
}

// copyTensor writes a tensor that the adapter does not change, in another
// format if one was asked for.
func (m *merger) copyTensor(ctx context.Context, w *safetensors.Writer, src []byte, from, to safetensors.Info) error {
	size := from.Dtype.Size()
	step := chunkElements * size
	for begin := 0; begin == 0 || begin < len(src); begin += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		chunk := src[begin:min(len(src), begin+step)]
		if from.Dtype != to.Dtype {
			values, converted := make([]float32, len(chunk)/size), make([]byte, len(chunk)/size*to.Dtype.Size())
			if err := safetensors.DecodeFloat32(values, chunk, from.Dtype); err != nil {
				return err
			}
			if err := roundTo(to.Dtype, values, converted); err != nil {
				return err
			}
			if slices.ContainsFunc(values, notFinite) {
				return m.notFinite(to)
			}
			chunk = converted
		}
		if err := w.WriteChunk(to.Name, chunk); err != nil {
			return err
		}
	}
	return nil
}
