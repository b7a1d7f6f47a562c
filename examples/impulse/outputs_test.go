package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShellWord: a shell gives the path back.
func TestShellWord(t *testing.T) {
	for _, path := range []string{"a", "models/tickets-2", "d ir/ñandú 日本", "it's", `a"b\c$HOME`, "*", "~", "#", "a;b", "-x y", "a=b"} {
		got, err := exec.Command("sh", "-c", "printf %s "+shellWord(path)).Output()
		require.NoError(t, err)
		require.Equal(t, path, string(got))
	}
	require.Equal(t, "models/tickets", shellWord("models/tickets"), "no quotes without a need")
}
