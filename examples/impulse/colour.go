package main

import (
	"io"
	"os"
	"regexp"

	"golang.org/x/term"
)

// isTerminal reports whether w is a terminal that shows colours.
func isTerminal(w io.Writer) bool {
	if s, ok := w.(*standardOutput); ok {
		w = s.Writer
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
}

// passedLine and failedLine are the lines of a summary that are coloured. The
// text they match is the program's own: a summary holds no answers.
var (
	passedLine = regexp.MustCompile(`(?m)^ *Passed: .*$|^PASSED .*$`)
	failedLine = regexp.MustCompile(`(?m)^ *Failed: .*$|^FAILED .*$`)
)

// colour makes what passed green and what failed red.
func colour(text string) string {
	text = passedLine.ReplaceAllString(text, "\x1b[32m$0\x1b[0m")
	return failedLine.ReplaceAllString(text, "\x1b[31m$0\x1b[0m")
}
