package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fenced are the shell blocks of a page, continuation their joined lines, and
// documented the commands of this program in them.
var (
	fenced       = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	continuation = regexp.MustCompile(`\\\n\s*`)
	documented   = regexp.MustCompile(`(?m)^(?:\./)?impulse (.*?)(?: +#.*)?$`)
)

// Every command of the pages has flags that exist, with values they take.
func TestDocumentedCommands(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	commands := 0
	for _, page := range append(pages, "../../README.md", "../tickets/README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, block := range fenced.FindAllSubmatch(text, -1) {
			for _, match := range documented.FindAllSubmatch(continuation.ReplaceAll(block[1], nil), -1) {
				commands++
				args := strings.Fields(string(match[1]))
				command, rest, err := newRootCommand().Find(args)
				require.NoError(t, err, "%s: impulse %s", page, match[1])
				require.NotEqual(t, "impulse", command.Name(), "%s: impulse %s", page, match[1])
				require.NoError(t, command.ParseFlags(rest), "%s: impulse %s", page, match[1])
			}
		}
	}
	require.GreaterOrEqual(t, commands, 6, "commands found")
}
