// Package mpi connects the processes that mpirun or srun started, by Open MPI or
// MPICH. It is a binding of the few calls that a run needs, built with the tag mpi,
// which needs cgo and MPI's headers; without the tag [Start] refuses.
//
// MPI's calls wait without end for a process that hangs. Here every process hears
// from rank 0, and rank 0 from every process, several times within a deadline; one
// that is not heard from, or that says that it ends, fails what is under way.
package mpi

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

// ErrNotBuilt: the program was built without MPI.
var ErrNotBuilt = errors.New("this program was built without MPI; build it with -tags mpi")

// Launched returns how many processes a launcher of MPI started, 1 for none.
func Launched() int {
	for _, name := range []string{"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"} {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
	}
	if os.Getenv("PMIX_RANK") != "" { // Slurm's own start of PMIx
		if n, err := strconv.Atoi(os.Getenv("SLURM_NTASKS")); err == nil {
			return n
		}
	}
	return 1
}

// EndedError says that another process of the run has ended, or is taken to have.
type EndedError struct {
	Rank   int
	Host   string
	Reason string // "" if it had nothing left to do
}

// Error names the process and its reason.
func (e *EndedError) Error() string {
	reason := e.Reason
	if reason == "" {
		reason = "it has ended"
	}
	return fmt.Sprintf("rank %d (%s): %s", e.Rank, e.Host, reason)
}
