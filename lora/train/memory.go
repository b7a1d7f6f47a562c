package train

import (
	"errors"
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// MemoryPlan estimates the device memory of a run in bytes, at the moment it
// needs most. It is computed from shapes only: nothing has to be loaded.
type MemoryPlan struct {
	Weights     int64 // the base model
	Adapter     int64 // its numbers, their gradients and the sum of these
	Moments     int64 // of the optimiser
	Activations int64 // what the backward pass finds, and one block at work
	HeadChunk   int64 // the logits of one chunk and what is made of them
	Program     int64 // the executor with its compiled programs and the libraries' workspace
	// Exchanged is what each of several shards sends to the others for the largest
	// batch, and receives from them. It is no memory.
	Exchanged int64
	// Checkpointing says for which Config.GradientCheckpointing this is.
	Checkpointing bool
	// Limit is what there is; 0 if that is not known.
	Limit int64
}

// Job is what a [MemoryPlan] depends on.
type Job struct {
	Model llama.Config
	Dtype dtypes.DType // of the weights and activations
	// Quantize is [salamandra.Options].Quantize.
	Quantize string
	// AdapterSize is how many numbers are trained: NumParameters of the layers,
	// or [lora.CountParameters].
	AdapterSize int
	HeadChunk   int // as Config.HeadChunk
	// OnHost says that the device is the host's processor, whose memory holds
	// the program as well.
	OnHost bool
	// ByBlocks says that the programs are of one block, as XLA has them unless blocks
	// differ or the base is divided. On a GPU that is taken to be so.
	ByBlocks bool
	// InPlace says that the optimiser works in the memory of what it replaces:
	// device.Device's InPlace.
	InPlace bool
	// Devices are those that batches are dealt to, and Processes those that train
	// together: their gradients wait on the first device to be added. Shards are the
	// devices that the base is divided among. 0 is 1.
	Devices, Processes, Shards int
	// GradientAccumulationSteps and Name are those of [Config], for what would fit.
	GradientAccumulationSteps int
	Name                      func(field string) string
	// Plans are those of training and, if any, of evaluation; nil ones are left
	// out.
	Plans []*dataset.Plan
}

// planMemory estimates the memory of a job. The largest batch decides.
func planMemory(j Job, checkpointing bool) MemoryPlan {
	j.HeadChunk = headChunk(j.HeadChunk, j.OnHost)
	size := int64(j.Dtype.Size())
	p := MemoryPlan{
		Weights:       j.weights() / j.parts(),
		Adapter:       (3 + j.waiting()) * int64(j.AdapterSize) * 4,
		Moments:       2 * int64(j.AdapterSize) * 4,
		Checkpointing: checkpointing,
	}
	if j.OnHost {
		if !j.InPlace {
			p.Adapter += int64(j.AdapterSize) * 4 // the sum is copied
		}
		p.Program = programBytes
	} else {
		p.Program = gpuProgramBytes
	}
	for i, plan := range j.Plans {
		if plan == nil {
			continue
		}
		if j.OnHost && i == 0 {
			p.Program += j.programs(plan)
		}
		for _, s := range plan.Shapes {
			if i == 0 {
				p.Exchanged = max(p.Exchanged, j.exchanged(int64(len(plan.Prefix)), s, checkpointing))
			}
			logits := j.logits(s)
			if !j.OnHost {
				p.HeadChunk = max(p.HeadChunk, int64(j.logitCopies()*float64(size*logits/j.parts())))
				p.Activations = max(p.Activations, j.onGPU(int64(len(plan.Prefix)), s, checkpointing))
				p.Program = max(p.Program, gpuProgramBytes+j.workspace(int64(len(plan.Prefix)), s))
				continue
			}
			kept, work := j.activations(int64(len(plan.Prefix)), s, checkpointing)
			work = size * (work + 2*j.dequantised())
			p.Activations = max(p.Activations, size*kept+work)
			head := logitCopies * 4 * logits
			if j.ByBlocks {
				head -= work // not both are at work
			}
			p.HeadChunk = max(p.HeadChunk, head)
		}
	}
	if !j.InPlace {
		// The optimiser makes adapter and moments anew beside the old and the sum: seven
		// vectors, when the activations are gone.
		p.Moments += max(0, 7*int64(j.AdapterSize)*4-p.Adapter-p.Moments-p.Activations-p.HeadChunk)
	}
	return p
}

// waiting is how many gradients of other devices and processes wait on the first
// device to be added.
func (j Job) waiting() int64 {
	n := max(1, j.Devices) - 1
	if j.Processes > 1 {
		n++ // one at a time
	}
	return int64(n)
}

// parts is how many devices the base is divided among.
func (j Job) parts() int64 { return int64(max(1, j.Shards)) }

// weights is what the base takes. An embedding that is not the head stays in its file.
func (j Job) weights() int64 {
	total := j.Model.NumParameters() * int64(j.Dtype.Size())
	if !j.Model.TieWordEmbeddings {
		total -= j.embedding()
	}
	if j.Quantize == "" {
		return total
	}
	for _, name := range j.Model.Linears() {
		out, in := j.Model.LinearShape(name)
		total += quantize.NumBytes(j.Quantize, out, in) - int64(out)*int64(in)*int64(j.Dtype.Size())
	}
	return total
}

// embedding is what the embedding takes where it is on the device.
func (j Job) embedding() int64 {
	return int64(j.Model.VocabSize) * int64(j.Model.HiddenSize) * int64(j.Dtype.Size())
}

// dequantised counts the numbers of the largest weight, dequantised: of them exist
// twice as many at once on a processor, whose backward pass may take up gate and up
// together.
func (j Job) dequantised() int64 {
	if j.Quantize == "" {
		return 0
	}
	return int64(j.Model.HiddenSize) * int64(j.Model.IntermediateSize)
}

// programs is what the programs of a plan to train on take on the host.
func (j Job) programs(plan *dataset.Plan) int64 {
	blocks := j.Model.NumHiddenLayers
	if j.ByBlocks {
		blocks = min(blocks, blocksCompiled)
	}
	n := programBytesPerBlock * int64(blocks*len(plan.Shapes))
	if size := int64(j.Dtype.Size()); size < 4 {
		most := int64(0)
		for _, s := range plan.Shapes {
			kept, work := j.activations(int64(len(plan.Prefix)), s, false)
			most = max(most, size*(kept+work))
		}
		n += int64(halfCopies * float64(most))
	}
	return n
}

// What cannot be counted from shapes on a processor was measured, XLA with the
// allocator's settings of the package documentation (docs/measurements.md).
const (
	// logitCopies, scoreCopies and blockCopies are how many arrays of a chunk's
	// logits, of a block's scores of attention and of its activations exist at
	// once while it is at work.
	logitCopies, scoreCopies, blockCopies = 3, 3, 4
	// programBytes is what XLA takes, programBytesPerBlock what it keeps after
	// compiling a block; programs of one block are as much as blocksCompiled of them.
	// Programs of evaluation take less and are left out.
	programBytes, programBytesPerBlock, blocksCompiled = 350e6, 13.5e6, 4
	// halfCopies is how much products in half precision take on a CPU, in parts
	// of the largest shape's activations without checkpointing.
	halfCopies = 0.4
)

// gpuDequantised is how many of the largest weights exist dequantised at once; products
// in float16 do not convert codes of 8 bits themselves.
func (j Job) gpuDequantised() int64 {
	switch {
	case j.Quantize == "":
		return 0
	case j.Quantize == "8bit" && j.Dtype != dtypes.Float16:
		return 2
	}
	return 4
}

// On a GPU they are those of XLA's compiler (.ci/cuda-compile).
const (
	// gpuLogitCopies is how many arrays of a chunk's logits exist at once, in bfloat16 and
	// in float16.
	gpuLogitCopies, gpuLogitCopiesFloat16 = 1.03, 2.08
	// gpuLastCopies is how many activations of a feed-forward layer, of the trained
	// tokens, exist in the last block and the head beside the logits; gpuInnerCopiesAgain
	// and gpuInnerCopies those of all tokens in the backward pass of another block, with
	// checkpointing, which computes them again, and without, beside those that are kept:
	// of the cards compiled for, that which takes most.
	gpuLastCopies                       = 15
	gpuInnerCopiesAgain, gpuInnerCopies = 11.1, 7.2
	// gpuScoreCopies is how many times the scores of a block's attention exist, whose
	// queries come in stretches, while it is at work.
	gpuScoreCopies = 1.4
	// gpuShardLogitCopies, gpuShardInnerCopies and gpuShardScoreCopies are those of a base
	// in shards, with checkpointing and without; gpuShardKept is how many times a block's
	// input is kept with it all the same, and gpuShardKeptHalf is that in float16, of all
	// of a 7B's blocks on two T4s.
	gpuShardLogitCopies, gpuShardInnerCopies, gpuShardScoreCopies = 1.25, 13.8, 3.8
	gpuShardKept, gpuShardKeptHalf                                = 6.5, 4.3
	// gpuExchangesAgain and gpuExchanges are how many times the states of all tokens go
	// around the shards in a block, with checkpointing and without: there and back for
	// attention and for the feed-forward layer, as often as these are computed and for
	// their gradients, 12 and 8 times, and some of it twice.
	gpuExchangesAgain, gpuExchanges = 13, 10
	// gpuProgramBytes are constants and machine code; gpuWorkspace is what cuDNN takes
	// for each number of the queries on Ampere, 4 on Hopper. CUDA's context lies outside
	// the share of the memory that XLA has.
	gpuProgramBytes, gpuWorkspace = 100e6, 8
)

// onGPU is the bytes that the forward and backward pass take at most beside the
// logits of a chunk, on a GPU: programs of one block, of which one is at work. In
// float16, which is for cards without bfloat16, attention comes from matrix products;
// else cuDNN computes it again.
func (j Job) onGPU(prefix int64, s dataset.Shape, checkpointing bool) int64 {
	if j.parts() > 1 {
		return j.onShards(prefix, s, checkpointing)
	}
	size, a := int64(j.Dtype.Size()), j.sizes(prefix, s)
	kept := size * a.tokens * (a.hidden + j.inner())
	if j.Dtype == dtypes.Float16 {
		kept += a.tokens * (size*a.queries + 4*int64(j.Model.NumAttentionHeads))
	}
	copies := gpuInnerCopiesAgain
	if !checkpointing {
		kept += size * a.tokens * a.block
		copies = gpuInnerCopies
	}
	of := func(tokens int64) float64 { return float64(size * tokens * int64(j.Model.IntermediateSize)) }
	backward := max(copies*of(a.tokens), gpuScoreCopies*float64(size*a.scores)) - j.logitCopies()*float64(size*j.logits(s))
	last := gpuLastCopies * of(int64(s.N))
	return kept*int64(j.Model.NumHiddenLayers-1) + int64(max(backward, last)) + j.gpuDequantised()*size*j.dequantised()
}

// workspace is what cuDNN's attention takes beside its results, for the rows or for
// the prefix; it computes in bfloat16, not in shards.
func (j Job) workspace(prefix int64, s dataset.Shape) int64 {
	if j.Dtype != dtypes.BFloat16 || j.parts() > 1 {
		return 0
	}
	a := j.sizes(prefix, s)
	return gpuWorkspace * max(prefix, a.rows) * a.queries
}

// logits counts those of a chunk of a shape.
func (j Job) logits(s dataset.Shape) int64 {
	return int64(chunkOf(s.N, j.HeadChunk)) * int64(j.Model.VocabSize)
}

// logitCopies is how many arrays of a chunk's logits exist at once on a GPU.
func (j Job) logitCopies() float64 {
	switch {
	case j.parts() > 1:
		return gpuShardLogitCopies
	case j.Dtype == dtypes.Float16:
		return gpuLogitCopiesFloat16
	}
	return gpuLogitCopies
}

// onShards is onGPU for a base in shards, which one program of all blocks computes,
// with attention from matrix products. The head and the blocks are not at work
// together.
func (j Job) onShards(prefix int64, s dataset.Shape, checkpointing bool) int64 {
	size := int64(j.Dtype.Size())
	a := j.sizes(prefix, s)
	// The rows' part of attention is kept apart from the whole, for its gradient,
	// with the logarithms of the sums in float32.
	kept := size*a.tokens*(a.hidden+j.inner()) + size*(a.tokens+a.rows)*a.queries + 4*a.tokens*int64(j.Model.NumAttentionHeads)
	kept /= j.parts()
	again := gpuShardKept
	if j.Dtype == dtypes.Float16 {
		again = gpuShardKeptHalf
	}
	if checkpointing {
		kept += int64(again * float64(size*a.tokens*a.hidden) / float64(j.parts()))
	} else {
		kept += size * a.tokens * a.block / j.parts()
	}
	part := float64(size) / float64(j.parts())
	inner, scores := part*float64(a.tokens*int64(j.Model.IntermediateSize)), part*float64(a.scores)
	work := int64(max(gpuShardInnerCopies*inner, gpuShardScoreCopies*scores)) + size*j.dequantised()
	return kept*int64(j.Model.NumHiddenLayers) + size*int64(j.AdapterSize) + max(0, work-int64(j.logitCopies()*part*float64(j.logits(s))))
}

// exchanged is what each shard sends for a batch, in a ring of shards, of which each
// has all of a sum's parts but its own to pass on.
func (j Job) exchanged(prefix int64, s dataset.Shape, checkpointing bool) int64 {
	a, n := j.sizes(prefix, s), j.parts()
	times := int64(gpuExchanges)
	if checkpointing {
		times = gpuExchangesAgain
	}
	return times * int64(j.Dtype.Size()) * a.tokens * a.hidden * int64(j.Model.NumHiddenLayers) * (n - 1) / n
}

// inner is how many numbers x·Aᵀ of a block has a token: the rank, for each layer
// with an adapter.
func (j Job) inner() int64 {
	names, ends := j.Model.Linears(), 0
	for _, name := range names {
		out, in := j.Model.LinearShape(name)
		ends += out + in
	}
	rank := float64(j.AdapterSize) / float64(ends)
	return int64(math.Ceil(rank * float64(len(names)) / float64(j.Model.NumHiddenLayers)))
}

// batchSizes are counts of numbers of a batch.
type batchSizes struct {
	rows, tokens    int64 // of the rows, and with the prefix
	hidden, queries int64 // of a token
	block           int64 // of a token: q, k, v, the state before the feed-forward layer, gate and up
	scores          int64 // of the rows' attention in a block
}

func (j Job) sizes(prefix int64, s dataset.Shape) batchSizes {
	c := j.Model
	keys := int64(c.NumKeyValueHeads * c.HeadDim)
	a := batchSizes{rows: int64(s.B) * int64(s.S), hidden: int64(c.HiddenSize), queries: int64(c.NumAttentionHeads * c.HeadDim)}
	a.tokens = prefix + a.rows
	a.block = a.queries + 2*keys + a.hidden + 2*int64(c.IntermediateSize)
	a.scores = int64(c.NumAttentionHeads) * a.rows * (prefix + int64(s.S))
	return a
}

// activations counts the numbers that exist at once in the forward and backward
// pass over a batch on a processor: those that are kept, and those of a block at work.
func (j Job) activations(prefix int64, s dataset.Shape, checkpointing bool) (kept, work int64) {
	a := j.sizes(prefix, s)
	// As Transformer.block marks them for each block: its input and the result
	// of attention with the logarithms of its sums; and without checkpointing what
	// a block computes.
	each := a.hidden + a.queries + int64(j.Model.NumAttentionHeads)
	if !checkpointing {
		each += a.block
	}
	// A block at work: its activations, those it would not keep too, their
	// gradients, and the scores of attention with theirs.
	return a.tokens * each * int64(j.Model.NumHiddenLayers), a.tokens*blockCopies*a.block + scoreCopies*a.scores
}

// Total is the sum of the parts.
func (p MemoryPlan) Total() int64 {
	return p.Weights + p.Adapter + p.Moments + p.Activations + p.HeadChunk + p.Program
}

// String lists the parts, the total and the limit.
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
	text := fmt.Sprintf("%s: %s %s gradient checkpointing", parts, gigabytes(p.Total()), with)
	if p.Limit > 0 {
		text += ", of " + gigabytes(p.Limit)
	}
	return text
}

// ErrMemory marks a run that the device has no room for.
var ErrMemory = errors.New("not enough memory")

// hostShare is which part of a processor's memory, which other programs use too,
// a run without checkpointing is left if there is a choice: it takes up to twice as
// much and 5 to 12 % less time (docs/measurements.md).
const hostShare = 2

// ChooseMemory returns the first plan that fits in limit bytes, of those with
// the given values of Config.GradientCheckpointing; with a choice, OnHost, of two
// the second, if the first would take more than half. A limit of 0 is not
// known, and everything fits. It fails with [ErrMemory], saying what would fit.
func ChooseMemory(j Job, limit int64, checkpointing ...bool) (MemoryPlan, error) {
	if limit > 0 && len(checkpointing) > 1 && j.OnHost && planMemory(j, checkpointing[0]).Total() > limit/hostShare {
		checkpointing = checkpointing[1:]
	}
	var p MemoryPlan
	for _, c := range checkpointing {
		p = planMemory(j, c)
		if p.Limit = limit; limit == 0 || p.Total() <= limit {
			return p, nil
		}
	}
	return p, fmt.Errorf("train: %w: %s; %s", ErrMemory, p, j.remedy(limit))
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
		p := planMemory(smaller, true)
		switch {
		case p.Total() > limit:
		case j.Name != nil:
			return fmt.Sprintf("%s would be %s", j.settings(batch, size), gigabytes(p.Total()))
		case batch == size:
			return fmt.Sprintf("with gradient checkpointing it would be %s", gigabytes(p.Total()))
		default:
			return fmt.Sprintf("batches of %d with gradient checkpointing and %d times as many accumulated would be %s",
				batch, size/batch, gigabytes(p.Total()))
		}
	}
	return "even one example at a time with gradient checkpointing would be more"
}

// settings names what makes batches smaller, and the steps as large as before.
func (j Job) settings(batch, size int) string {
	text := j.Name("Train.GradientCheckpointing") + " on"
	if batch < size {
		steps := max(1, j.GradientAccumulationSteps) * size / batch
		text = fmt.Sprintf("%s %d %s %d %s", j.Name("Plan.BatchSize"), batch, j.Name("Train.GradientAccumulationSteps"), steps, text)
	}
	return text
}

// gigabytes shows a number of bytes.
func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }
