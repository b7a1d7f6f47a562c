package train

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/ranks"
)

// Ranks connects the processes that train one adapter together, each with a trainer
// of its own, by whatever engine they were started with. Messages between two of
// them come in the order they were sent. What fails, or a process that has ended,
// fails the calls under way; each closes its part with the error of its run.
//
// Batches are dealt to the processes in turn, and in each to its devices. Rank 0
// adds their gradients in the order of the batches and moves the adapter, whose
// numbers go to the others after each step: the bytes of a run do not depend on the
// number of processes. Rank 0 has the moments, adds the losses of evaluations too, and
// is the only one that writes and calls hooks other than Score.
type Ranks interface {
	Rank() int // of this process, from 0
	Size() int
	Host(rank int) string // where a process runs, if rank 0 or that process asks
	Send(ctx context.Context, to int, message []byte) error
	Receive(ctx context.Context, from int) ([]byte, error)
}

// alone is the only process.
type alone struct{ Ranks }

func (alone) Rank() int { return 0 }
func (alone) Size() int { return 1 }

// MismatchError says how a process differs from rank 0.
type MismatchError struct {
	Rank        int
	Host, Host0 string
	Differences []Difference // Then is rank 0's, Now the other's
}

// Error gives one line per difference.
func (e *MismatchError) Error() string {
	text := fmt.Sprintf("train: rank %d (%s) does not do the same run as rank 0 (%s):", e.Rank, e.Host, e.Host0)
	for _, d := range e.Differences {
		text += fmt.Sprintf("\n  %s: %s on rank 0, %s on rank %d", d.Setting, cmp.Or(d.Then, "nothing"), cmp.Or(d.Now, "nothing"), e.Rank)
	}
	return text
}

// join makes the trainers of all processes stand where rank 0's does, if they are
// of the same run.
func (t *Trainer) join(ctx context.Context) error {
	if t.ranks.Size() == 1 {
		return nil
	}
	mine := t.identity()
	if t.ranks.Rank() > 0 {
		if err := t.tell(ctx, 0, mine); err != nil {
			return err
		}
		return t.hear(ctx, 0, &t.state.position)
	}
	for rank := 1; rank < t.ranks.Size(); rank++ {
		var theirs map[string]string
		if err := t.hear(ctx, rank, &theirs); err != nil {
			return err
		}
		if d := differences(mine, theirs); len(d) > 0 {
			return &MismatchError{rank, t.ranks.Host(rank), t.ranks.Host(0), d}
		}
	}
	return t.tellAll(ctx, t.state.position)
}

// tellAll sends a value to all other processes.
func (t *Trainer) tellAll(ctx context.Context, value any) error {
	for rank := 1; rank < t.ranks.Size(); rank++ {
		if err := t.tell(ctx, rank, value); err != nil {
			return err
		}
	}
	return nil
}

// tell sends a value to a process, hear receives one.
func (t *Trainer) tell(ctx context.Context, rank int, value any) error {
	return lost(ranks.Tell(ctx, t.ranks, rank, value))
}

func (t *Trainer) hear(ctx context.Context, rank int, value any) error {
	return lost(ranks.Hear(ctx, t.ranks, rank, value))
}

// lost marks an error of the connection: the adapter and its moments are those of
// the last finished step.
func lost(err error) error {
	if err == nil {
		return nil
	}
	return &deviceError{err: err}
}

// spread brings what rank 0 has moved to all processes: the adapter and, in float16,
// the scale of the loss.
func (t *Trainer) spread(ctx context.Context) error {
	if scale := t.state.LossScale; scale != nil {
		if t.ranks.Rank() > 0 {
			if err := t.hear(ctx, 0, scale); err != nil {
				return err
			}
		} else if err := t.tellAll(ctx, scale); err != nil {
			return err
		}
	}
	return t.spreadAdapter(ctx)
}

// spreadAdapter brings rank 0's adapter to all processes: each hands it on to those
// that follow in a binomial tree, so that no one sends it more often than the
// number of processes has bits.
func (t *Trainer) spreadAdapter(ctx context.Context) error {
	rank, size := t.ranks.Rank(), t.ranks.Size()
	if size == 1 {
		return nil
	}
	if rank > 0 {
		data, err := t.ranks.Receive(ctx, rank-highestBit(rank))
		if err != nil {
			return lost(err)
		}
		if err := t.setAdapter(data); err != nil {
			return err
		}
	}
	for bit := nextBit(rank); rank+bit < size; bit <<= 1 {
		if err := t.sendVector(ctx, rank+bit, t.layers.Params()); err != nil {
			return err
		}
	}
	return nil
}

// highestBit is the highest power of two in n, and nextBit the first one above n.
func highestBit(n int) int { return nextBit(n) >> 1 }

func nextBit(n int) int {
	bit := 1
	for bit <= n {
		bit <<= 1
	}
	return bit
}

// setAdapter replaces the adapter's numbers.
func (t *Trainer) setAdapter(data []byte) error {
	params, err := t.vector(data)
	if err != nil {
		return err
	}
	old := t.layers.Params()
	if err := t.layers.SetParams(params); err != nil {
		return err
	}
	return old.FinalizeAll()
}

// vector is a vector that was sent, on the first device.
func (t *Trainer) vector(data []byte) (*tensors.Tensor, error) {
	n := t.layers.NumParameters()
	if len(data) != 4*n {
		return nil, fmt.Errorf("train: a vector of %d bytes has come, want %d numbers", len(data), n)
	}
	v, err := tensors.FromRaw(t.model.Backend(), 0, shapes.Make(dtypes.Float32, n), data)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return v, nil
}

func (t *Trainer) sendVector(ctx context.Context, to int, v *tensors.Tensor) error {
	var sent error
	if err := v.ConstBytes(func(data []byte) { sent = t.ranks.Send(ctx, to, data) }); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return lost(sent)
}

// sentResult is a result on its way to rank 0, before its gradient.
type sentResult struct {
	IDs                                   []string
	Tokens, SequenceTokens, TrainedTokens int
	Loss                                  uint64 // its bits: it may not be a number
	Gradient                              bool
	Device                                int
	Took                                  time.Duration
}

// sendResult sends what a batch gave to rank 0.
func (t *Trainer) sendResult(ctx context.Context, r result) error {
	defer r.free()
	b := r.batch
	err := t.tell(ctx, 0, sentResult{b.IDs, b.Tokens, b.SequenceTokens, b.TrainedTokens, math.Float64bits(r.loss), r.gradient != nil, r.device, r.took})
	if err == nil && r.gradient != nil {
		err = t.sendVector(ctx, 0, r.gradient)
	}
	return err
}

// receiveResult receives what the next batch of a process gave.
func (t *Trainer) receiveResult(ctx context.Context, from int) (r result, err error) {
	var s sentResult
	if err := t.hear(ctx, from, &s); err != nil {
		return r, err
	}
	r.batch = dataset.Batch{IDs: s.IDs, Tokens: s.Tokens, SequenceTokens: s.SequenceTokens, TrainedTokens: s.TrainedTokens}
	r.loss, r.device, r.took = math.Float64frombits(s.Loss), s.Device, s.Took
	if !s.Gradient {
		return r, nil
	}
	data, err := t.ranks.Receive(ctx, from)
	if err != nil {
		return r, lost(err)
	}
	r.gradient, err = t.vector(data)
	return r, err
}

// compute runs batch on those of the next n batches that are this process's. Rank 0
// calls take with the results of all batches in their order.
func (t *Trainer) compute(ctx context.Context, f feeds, n int, batch batchFunc, take func(result) error) error {
	rank, size := t.ranks.Rank(), t.ranks.Size()
	if err := t.spread(ctx); err != nil {
		return err
	}
	mine := (n - rank + size - 1) / size
	if rank > 0 {
		return t.computeHere(f, mine, batch, func(r result) error { return t.sendResult(ctx, r) })
	}
	i := 0
	return t.computeHere(f, mine, batch, func(r result) error {
		t.wasBusy(0, r)
		if err := take(r); err != nil {
			return err
		}
		for i++; i < n && i%size > 0; i++ {
			r, err := t.receiveResult(ctx, i%size)
			if err == nil {
				t.wasBusy(i%size, r)
				err = take(r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
