package main

import (
	_ "github.com/gomlx/compute/gobackend" // always there: the embedded default
	"github.com/spf13/cobra"
)

// tunablesVar holds settings of the C library, its allocator's among them.
const tunablesVar = "GLIBC_TUNABLES"

// prepareBackend has XLA's programs work in place and be kept, for a command that may
// use it.
func prepareBackend(cmd *cobra.Command, _ []string) {
	if cmd.Flags().Lookup("backend") != nil {
		wrapPlugins()
	}
}
