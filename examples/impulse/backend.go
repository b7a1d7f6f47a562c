package main

import (
	"fmt"
	"strings"

	_ "github.com/gomlx/compute/gobackend" // always there: the embedded default
	"github.com/spf13/cobra"
)

// tunablesVar holds settings of the C library, its allocator's among them.
const tunablesVar = "GLIBC_TUNABLES"

// programsVar is where compiled programs are kept: a directory, or off.
const programsVar = "IMPULSE_XLA_CACHE"

// prepareBackend has XLA keep its programs, for a command that may use it. One that
// cannot keep them compiles them each time.
func prepareBackend(cmd *cobra.Command, _ []string) {
	flag := cmd.Flags().Lookup("backend")
	if flag == nil || strings.HasPrefix(flag.Value.String(), "go") || strings.Contains(flag.Value.String(), "cuda") {
		return
	}
	if err := keepPrograms(); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "compiled programs are not kept (%s=DIR, or off): %v\n", programsVar, err)
	}
}
