package lora

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// blockBytes is how much of the output a core works on at a time, but never
// less than a row; fixed, so that the report does not depend on the number of
// cores.
const blockBytes = 1 << 20

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
// sum of each file as written. Reading, computing, hashing and writing go on
// side by side, and while a file is synced and read back the next is begun.
func (m *merger) writeWeights(ctx context.Context, dir string) ([]FileSum, error) {
	out := &weightFiles{dir: dir, shards: m.plan()}
	defer out.close()
	buffers := make(bufferPool, 16)
	total := m.size()
	err := inOrder(ctx, m.blocks(ctx, out.shards), func() func(*block) error { return newBlockWorker(buffers).do }, func(b *block) error {
		if b.tally.notFinite > 0 {
			return &TensorError{Path: m.opts.Output, Tensor: b.to.Name, Err: fmt.Errorf("%w: as %s", ErrNotFinite, b.to.Dtype)}
		}
		if err := out.write(b); err != nil {
			return err
		}
		buffers.put(b.data)
		b.sum.add(b.tally)
		if b.last {
			m.reportTensor(b.tensorMerge)
			m.progress("merge", b.to.Name, int64(b.to.NumBytes()), total)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.done, total = 0, out.size()
	slices.SortFunc(m.report.Merged, func(a, b MergedTensor) int { return cmp.Compare(a.Name, b.Name) })
	var sums []FileSum
	for i := range out.files {
		sum, err := out.wait(i)
		if err != nil {
			return nil, err
		}
		sums = append(sums, sum)
		m.progress("verify", sum.File, sum.Size, total)
	}
	if len(out.shards) == 1 {
		return sums, nil
	}
	return sums, safetensors.WriteIndex(dir, out.shards)
}

// progress reports another n bytes of a stage.
func (m *merger) progress(stage, name string, n, total int64) {
	m.done += n
	if m.opts.Progress != nil {
		m.opts.Progress(MergeProgress{Stage: stage, Name: name, Done: m.done, Total: total})
	}
}

// A tensorMerge is one tensor on its way from the base to the output.
type tensorMerge struct {
	from, to safetensors.Info
	src      *io.SectionReader
	parts    []part   // all that the adapters have for it
	updater  *updater // nil if it stays as it is
	width    int      // elements of a row, which is not divided
	sum      tally
}

// A block is consecutive elements of a tensor.
type block struct {
	*tensorMerge
	begin, end int // elements
	last       bool
	data       []byte // of the output, when it was worked on
	tally      tally
}

// blocks returns every tensor of the output in the order of its files, block by
// block. A tensor without elements is one empty block.
func (m *merger) blocks(ctx context.Context, shards []safetensors.Shard) iter.Seq2[*block, error] {
	return func(yield func(*block, error) bool) {
		for _, shard := range shards {
			for _, to := range shard.Tensors {
				t, err := m.newTensorMerge(ctx, to)
				if err != nil {
					yield(nil, err)
					return
				}
				n, step := to.NumElements(), max(1, blockBytes/(t.width*to.Dtype.Size()))*t.width
				for begin := 0; begin == 0 || begin < n; begin += step {
					b := &block{tensorMerge: t, begin: begin, end: min(n, begin+step)}
					b.last = b.end == n
					if !yield(b, nil) {
						return
					}
				}
			}
		}
	}
}

// newTensorMerge prepares one tensor of the output.
func (m *merger) newTensorMerge(ctx context.Context, to safetensors.Info) (*tensorMerge, error) {
	t := &tensorMerge{to: to, width: 1, parts: m.parts[to.Name]}
	t.from, _ = m.base.Info(to.Name)
	var err error
	if t.src, err = m.base.Section(to.Name); err != nil {
		return nil, err
	}
	if parts := slices.DeleteFunc(slices.Clone(t.parts), part.isZero); len(parts) > 0 {
		t.width = parts[0].In
		t.updater, err = newUpdater(ctx, m.opts, parts)
	}
	return t, err
}

// reportTensor reports a finished tensor if an adapter has a module for it.
func (m *merger) reportTensor(t *tensorMerge) {
	if len(t.parts) == 0 {
		return
	}
	report := MergedTensor{
		Name: t.to.Name, Shape: t.to.Shape, DeltaNorm: math.Sqrt(t.sum.squares),
		Updates: t.sum.updates, LostShare: lostShare(t.sum.updates, t.sum.changed), changed: t.sum.changed,
	}
	if len(t.parts) == 1 {
		report.Scale = t.parts[0].scale
	}
	for _, p := range t.parts {
		report.Rank += p.Rank
	}
	if m.opts.Method == MethodSVD {
		report.Rank = min(report.Rank, m.opts.Rank)
	}
	m.report.Merged = append(m.report.Merged, report)
}

// A bufferPool keeps buffers of blocks that were written, to use them again.
type bufferPool chan []byte

// get returns n bytes of any content.
func (p bufferPool) get(n int) []byte {
	select {
	case b := <-p:
		return slices.Grow(b[:0], n)[:n]
	default:
		return make([]byte, n)
	}
}

func (p bufferPool) put(b []byte) {
	select {
	case p <- b:
	default:
	}
}

// A blockWorker is what one core needs to work on blocks.
type blockWorker struct {
	buffers bufferPool
	src     []byte
	values  []float32
	tensor  *tensorMerge // that rows are of
	rows    *rows
}

func newBlockWorker(buffers bufferPool) *blockWorker { return &blockWorker{buffers: buffers} }

// do sets data and tally of a block.
func (w *blockWorker) do(b *block) error {
	b.data = w.buffers.get((b.end - b.begin) * b.to.Dtype.Size())
	size := b.from.Dtype.Size()
	src := b.data
	if b.updater != nil || b.from.Dtype != b.to.Dtype {
		w.src = slices.Grow(w.src[:0], (b.end-b.begin)*size)[:(b.end-b.begin)*size]
		src = w.src
	}
	if len(src) > 0 { // at the end there is nothing to read
		if _, err := b.src.ReadAt(src, int64(b.begin*size)); err != nil {
			return fmt.Errorf("lora: %s: %w", b.from.Name, err)
		}
	}
	switch {
	case b.updater != nil:
		return w.merge(b, src)
	case b.from.Dtype != b.to.Dtype:
		return w.convert(b, src)
	}
	return nil
}

// merge computes the rows of a block that adapters change.
func (w *blockWorker) merge(b *block, src []byte) error {
	if w.tensor != b.tensorMerge {
		w.tensor, w.rows = b.tensorMerge, newRows(b.updater, b.parts[0].Magnitude, b.from.Dtype, b.to.Dtype)
	}
	from, to := b.width*b.from.Dtype.Size(), b.width*b.to.Dtype.Size()
	first := b.begin / b.width
	for i := range (b.end - b.begin) / b.width {
		if err := w.rows.merge(&b.tally, first+i, b.data[i*to:(i+1)*to], src[i*from:(i+1)*from]); err != nil {
			return err
		}
	}
	return nil
}

// convert stores a block that no adapter changes in another format.
func (w *blockWorker) convert(b *block, src []byte) error {
	n := b.end - b.begin
	w.values = slices.Grow(w.values[:0], n)[:n]
	if err := safetensors.DecodeFloat32(w.values, src, b.from.Dtype); err != nil {
		return err
	}
	if err := roundTo(b.to.Dtype, w.values, b.data); err != nil {
		return err
	}
	for _, v := range w.values {
		if notFinite(v) {
			b.tally.notFinite++
		}
	}
	return nil
}
