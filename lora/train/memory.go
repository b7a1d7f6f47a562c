package train

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute/dtypes"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra"
)

// MemoryPlan estimates the device memory of a run in bytes, at the moment it
// needs most. It is computed from shapes alone: nothing has to be loaded.
type MemoryPlan struct {
	Weights     int64 // the base model
	Adapter     int64 // its numbers and their gradients
	Moments     int64 // of the optimiser
	Activations int64 // what the backward pass finds, and one block at work
	HeadChunk   int64 // the logits of one chunk and what is made of them
	Program     int64 // on the host: the executor with its compiled programs
	// Checkpointing says for which Config.GradientCheckpointing this is.
	Checkpointing bool
}

// Job is what a [MemoryPlan] depends on.
type Job struct {
	Model salamandra.Config
	Dtype dtypes.DType // of the weights and activations
	// AdapterSize is how many numbers are trained: NumParameters of the layers,
	// or [lora.CountParameters].
	AdapterSize int
	HeadChunk   int // as Config.HeadChunk
	// OnHost says that the device is the host's processor, whose memory holds
	// the program as well.
	OnHost bool
	// Plans are those of training and, if any, of evaluation; nil ones are left
	// out.
	Plans []*dataset.Plan
}

// PlanMemory estimates the memory of a job. The largest batch decides.
func PlanMemory(j Job, checkpointing bool) MemoryPlan {
	size := int64(j.Dtype.Size())
	p := MemoryPlan{
		Weights:       j.Model.NumParameters() * size,
		Adapter:       4 * int64(j.AdapterSize) * 4,
		Moments:       2 * int64(j.AdapterSize) * 4,
		Checkpointing: checkpointing,
	}
	if j.OnHost {
		p.Program = programBytes
	}
	for i, plan := range j.Plans {
		if plan == nil {
			continue
		}
		if j.OnHost && i == 0 {
			p.Program += j.programs(plan)
		}
		for _, s := range plan.Shapes {
			p.Activations = max(p.Activations, size*j.activations(int64(len(plan.Prefix)), s, checkpointing))
			p.HeadChunk = max(p.HeadChunk, logitCopies*4*int64(min(j.HeadChunk, s.N))*int64(j.Model.VocabSize))
		}
	}
	return p
}

// programs is what the programs of a plan to train on take on the host.
func (j Job) programs(plan *dataset.Plan) int64 {
	n := programBytesPerBlock * int64(j.Model.NumHiddenLayers*len(plan.Shapes))
	if size := int64(j.Dtype.Size()); size < 4 {
		most := int64(0)
		for _, s := range plan.Shapes {
			most = max(most, size*j.activations(int64(len(plan.Prefix)), s, false))
		}
		n += int64(halfCopies * float64(most))
	}
	return n
}

// What cannot be counted from shapes was measured, XLA on a CPU with the
// allocator's settings of the package documentation (docs/benchmarks.md).
const (
	// logitCopies, scoreCopies and blockCopies are how many arrays of a chunk's
	// logits, of a block's scores of attention and of its activations exist at
	// once while it is at work.
	logitCopies, scoreCopies, blockCopies = 3, 3, 4
	// programBytes is what XLA takes, programBytesPerBlock what it keeps after
	// compiling for a shape; programs of evaluation take less and are left out.
	programBytes, programBytesPerBlock = 350e6, 13.5e6
	// halfCopies is how much products in half precision take on a CPU, in parts
	// of the largest shape's activations without checkpointing.
	halfCopies = 0.4
)

// activations counts the numbers that exist at once in the forward and backward
// pass over a batch.
func (j Job) activations(prefix int64, s dataset.Shape, checkpointing bool) int64 {
	c := j.Model
	hidden, inner := int64(c.HiddenSize), int64(c.IntermediateSize)
	queries, keys := int64(c.NumAttentionHeads*c.HeadDim), int64(c.NumKeyValueHeads*c.HeadDim)
	rows := int64(s.B) * int64(s.S)
	tokens := prefix + rows

	// As Transformer.block marks them for each block: its input and the result
	// of attention with the logarithms of its sums; and without checkpointing q,
	// k, v, the state before the feed-forward layer, gate and up.
	kept := hidden + queries + int64(c.NumAttentionHeads)
	block := queries + 2*keys + hidden + 2*inner
	if !checkpointing {
		kept += block
	}
	// A block at work: its activations, those it would not keep too, their
	// gradients, and the scores of attention with theirs.
	scores := int64(c.NumAttentionHeads) * rows * (prefix + int64(s.S))
	return tokens*(kept*int64(c.NumHiddenLayers)+blockCopies*block) + scoreCopies*scores
}

// Total is the sum of the parts.
func (p MemoryPlan) Total() int64 {
	return p.Weights + p.Adapter + p.Moments + p.Activations + p.HeadChunk + p.Program
}

// String lists the parts and the total.
func (p MemoryPlan) String() string {
	with := "without"
	if p.Checkpointing {
		with = "with"
	}
	parts := fmt.Sprintf("weights %s, adapter %s, moments %s, activations %s, head chunk %s",
		gigabytes(p.Weights), gigabytes(p.Adapter), gigabytes(p.Moments), gigabytes(p.Activations), gigabytes(p.HeadChunk))
	if p.Program > 0 {
		parts += ", program " + gigabytes(p.Program)
	}
	return fmt.Sprintf("%s: %s %s gradient checkpointing", parts, gigabytes(p.Total()), with)
}

// ErrMemory marks a run that the device has no room for.
var ErrMemory = errors.New("not enough memory")

// ChooseMemory returns the first plan that fits in limit bytes, of those with
// the given values of Config.GradientCheckpointing. A limit of 0 is not known,
// and everything fits. It fails with [ErrMemory], saying what would fit.
func ChooseMemory(j Job, limit int64, checkpointing ...bool) (MemoryPlan, error) {
	var p MemoryPlan
	for _, c := range checkpointing {
		if p = PlanMemory(j, c); limit == 0 || p.Total() <= limit {
			return p, nil
		}
	}
	return p, fmt.Errorf("train: %w: %s, and there are %s; %s", ErrMemory, p, gigabytes(limit), j.remedy(limit))
}

// remedy says what would fit: the largest batch, with accumulation that keeps
// the effective one.
func (j Job) remedy(limit int64) string {
	size := j.Plans[0].Options().BatchSize
	for batch := size; batch >= 1; batch-- {
		if size%batch != 0 {
			continue
		}
		smaller := j
		plan, other := j.Plans[0].WithBatchSize(batch)
		smaller.Plans = []*dataset.Plan{plan, other}
		p := PlanMemory(smaller, true)
		switch {
		case p.Total() > limit:
		case batch == size:
			return fmt.Sprintf("with gradient checkpointing it would be %s", gigabytes(p.Total()))
		default:
			return fmt.Sprintf("batches of %d with gradient checkpointing and %d times as many accumulated would be %s",
				batch, size/batch, gigabytes(p.Total()))
		}
	}
	return "even one example at a time with gradient checkpointing would be more"
}

// gigabytes shows a number of bytes.
func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }
