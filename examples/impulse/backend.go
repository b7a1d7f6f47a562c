package main

import (
	"fmt"

	_ "github.com/gomlx/compute/gobackend" // always there: the embedded default
	"github.com/spf13/cobra"
)

// tunablesVar holds settings of the C library, its allocator's among them.
const tunablesVar = "GLIBC_TUNABLES"

// programsVar is where compiled programs are kept: a directory, or off.
const programsVar = "IMPULSE_XLA_CACHE"

// prepareBackend has XLA's programs work in place and be kept, for a command that may
// use it. One that cannot keep them compiles them each time.
func prepareBackend(cmd *cobra.Command, _ []string) {
	if cmd.Flags().Lookup("backend") == nil {
		return
	}
	if err := wrapPlugins(); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "compiled programs are not kept (%s=DIR, or off): %v\n", programsVar, err)
	}
}
