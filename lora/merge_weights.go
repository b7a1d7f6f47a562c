package lora

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/lora/internal/update"
)

// blockBytes is how much of the output a core works on at a time, but never
// less than a row; fixed, so that the report does not depend on the number of
// cores.
const blockBytes = 1 << 20

// plan returns the tensors of the output, in the order of the base's files, as
// the files to be written.
func (m *merger) plan() []safetensors.Shard {
	var infos []safetensors.Info
	for _, info := range m.base.Tensors() {
		if m.to != "" && isFloat(info.Dtype) {
			info.Dtype = m.to
		}
		infos = append(infos, info)
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
	err := inOrder(ctx, m.blocks(ctx, out.shards), func() func(*block) error { return newBlockWorker(buffers, m.base.CheckFinite).do }, func(b *block) error {
		if b.tally.NotFinite > 0 {
			return fmt.Errorf("%s: %s: %w: as %s", m.opts.Output, b.to.Name, errNotFinite, b.to.Dtype)
		}
		if err := out.write(b); err != nil {
			return err
		}
		buffers.put(b.data)
		b.sum.Add(b.tally)
		if b.last {
			m.reportTensor(b.tensorMerge)
			m.progress("merging", int64(b.to.NumBytes()), total)
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
		m.progress("verifying", sum.Size, total)
	}
	if len(out.shards) == 1 {
		return sums, nil
	}
	return sums, safetensors.WriteIndex(dir, out.shards)
}

// progress reports another n bytes of a phase.
func (m *merger) progress(phase string, n, total int64) {
	m.done += n
	if m.opts.Progress != nil {
		m.opts.Progress(phase, m.done, total)
	}
}

// A tensorMerge is one tensor on its way from the base to the output.
type tensorMerge struct {
	from, to safetensors.Info
	src      *io.SectionReader
	parts    []update.Part  // all that the adapters have for it
	update   *update.Update // nil if it stays as it is
	width    int            // elements of a row, which is not divided
	sum      update.Tally
}

// A block is consecutive elements of a tensor.
type block struct {
	*tensorMerge
	begin, end int // elements
	last       bool
	data       []byte // of the output, when it was worked on
	tally      update.Tally
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
	if t.src, err = m.base.Section(to.Name); err == nil && m.opts.Dequantized {
		err = m.dequantize(t)
	}
	if err != nil {
		return nil, err
	}
	if parts := slices.DeleteFunc(slices.Clone(t.parts), update.Part.IsZero); len(parts) > 0 {
		t.width = parts[0].In
		t.update, err = m.opts.updateOf(ctx, parts)
	}
	return t, err
}

// reportTensor reports a finished tensor if an adapter has a module for it.
func (m *merger) reportTensor(t *tensorMerge) {
	if len(t.parts) == 0 {
		return
	}
	report := MergedTensor{
		Name: t.to.Name, Shape: t.to.Shape, DeltaNorm: math.Sqrt(t.sum.Squares),
		Updates: t.sum.Updates, LostShare: lostShare(t.sum.Updates, t.sum.Changed), changed: t.sum.Changed,
	}
	if len(t.parts) == 1 {
		report.Scale = t.parts[0].Scale
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
	// notFinite names the element of a tensor of the base that is not finite.
	notFinite func(tensor string) error
	src       []byte
	values    []float32
	tensor    *tensorMerge // that merger is of
	merger    *update.Merger
}

func newBlockWorker(buffers bufferPool, notFinite func(tensor string) error) *blockWorker {
	return &blockWorker{buffers: buffers, notFinite: notFinite}
}

// do sets data and tally of a block.
func (w *blockWorker) do(b *block) error {
	b.data = w.buffers.get((b.end - b.begin) * b.to.Dtype.Size())
	size := b.from.Dtype.Size()
	src := b.data
	if b.update != nil || b.from.Dtype != b.to.Dtype {
		w.src = slices.Grow(w.src[:0], (b.end-b.begin)*size)[:(b.end-b.begin)*size]
		src = w.src
	}
	if len(src) > 0 { // at the end there is nothing to read
		if _, err := b.src.ReadAt(src, int64(b.begin*size)); err != nil {
			return fmt.Errorf("lora: %s: %w", b.from.Name, err)
		}
	}
	if safetensors.NotFinite(src, b.from.Dtype) >= 0 {
		return w.notFinite(b.from.Name)
	}
	switch {
	case b.update != nil:
		return w.merge(b, src)
	case b.from.Dtype != b.to.Dtype:
		return w.convert(b, src)
	}
	return nil
}

// merge computes the rows of a block that adapters change.
func (w *blockWorker) merge(b *block, src []byte) error {
	if w.tensor != b.tensorMerge {
		w.tensor, w.merger = b.tensorMerge, b.update.Merger(b.from.Dtype, b.to.Dtype)
	}
	from, to := b.width*b.from.Dtype.Size(), b.width*b.to.Dtype.Size()
	first := b.begin / b.width
	for i := range (b.end - b.begin) / b.width {
		if err := w.merger.Merge(&b.tally, first+i, b.data[i*to:(i+1)*to], src[i*from:(i+1)*from]); err != nil {
			return err
		}
	}
	return nil
}

// convert stores a block that no adapter changes in another format.
func (w *blockWorker) convert(b *block, src []byte) error {
	n := b.end - b.begin
	w.values = slices.Grow(w.values[:0], n)[:n]
	return update.Convert(&b.tally, b.data, src, b.from.Dtype, b.to.Dtype, w.values)
}
