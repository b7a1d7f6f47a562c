package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune/internal/mpi"
	"github.com/impulse-salamandra/finetune/lora/train"
)

// rankDeadlineFlag adds the flag for how long a process may be silent.
func rankDeadlineFlag(f *pflag.FlagSet, deadline *time.Duration) {
	f.DurationVar(deadline, "rank-deadline", time.Minute, "in a run of several processes: one that is not heard from for so long is taken to hang, and ends the run")
}

// inRanks runs a command, together with the other processes if mpirun or srun started
// several: ranks is then not nil. Only rank 0 says how it goes.
func inRanks(ctx context.Context, deadline time.Duration, out, log io.Writer, run func(ranks train.Ranks, out, log io.Writer) error) error {
	n := mpi.Launched()
	if n == 1 {
		return run(nil, out, log)
	}
	world, err := mpi.Start(deadline)
	if errors.Is(err, mpi.ErrNotBuilt) {
		return fmt.Errorf("%d processes were started to work together: %w", n, err)
	}
	if err != nil {
		return err
	}
	if world.Rank() > 0 {
		out, log = io.Discard, io.Discard
	}
	if err = run(world, out, log); err == nil {
		return world.Close(nil)
	}
	return &rankError{err, world, context.Cause(ctx)}
}

// rankError is an error of one of several processes. It is said before the process
// ends with the others, which MPI may bring about at once.
type rankError struct {
	err   error
	world *mpi.World
	cause error // of the end of the context, nil without
}

// Error says which process it is of, beside rank 0.
func (e *rankError) Error() string {
	if rank := e.world.Rank(); rank > 0 {
		return fmt.Sprintf("rank %d (%s): %v", rank, e.world.Host(rank), e.err)
	}
	return e.err.Error()
}

func (e *rankError) Unwrap() error { return e.err }

// quiet reports whether another process says it.
func (e *rankError) quiet() bool { return e.world.Rank() > 0 && errors.As(e.err, new(*mpi.EndedError)) }

// end tells the other processes and ends this one's part.
func (e *rankError) end() {
	reason := e.err
	if e.cause != nil {
		reason = e.cause
	}
	_ = e.world.Close(reason) // of an error there is nobody left to tell
}
