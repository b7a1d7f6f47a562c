//go:build linux && mpi && cgo

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestValidateRanks: processes share the questions of a test file, and leave the
// results of one; a journal of an interrupted run is gone on with.
func TestValidateRanks(t *testing.T) {
	model, dir := ticketModel(t), t.TempDir()
	flags := func(name string) []string {
		return []string{"validate", "--model-path", model, "--test-file", heldTickets, "--limit", "6", "--max-new-tokens", "80",
			"--batch-size", "2", "--save-results", filepath.Join(dir, name+".json"), "--tsv", filepath.Join(dir, name+".tsv")}
	}
	start(t, flags("1")...).end(t, 0)
	p := startRanks(t, 3, flags("3")...)
	p.end(t, 0)
	require.Contains(t, p.out.String(), "6 questions")
	p = startRanks(t, 3, flags("cut")...)
	journal := filepath.Join(dir, "cut.answers.jsonl")
	p.until(func() bool { data, _ := os.ReadFile(journal); return len(data) > 500 })
	_ = p.Process.Kill()
	<-p.ended
	endAll(p.processes())
	waitUnlocked(t, dir)
	startRanks(t, 2, append(flags("cut"), "--resume")...).end(t, 0)
	for _, ending := range []string{".json", ".tsv"} {
		want, err := os.ReadFile(filepath.Join(dir, "1"+ending))
		require.NoError(t, err)
		for _, name := range []string{"3", "cut"} {
			got, err := os.ReadFile(filepath.Join(dir, name+ending))
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), name+ending)
		}
	}
	require.NoFileExists(t, journal)
	p = startRanks(t, 2, "validate", "--predictions", journal, "--test-file", heldTickets)
	<-p.ended
	require.Contains(t, p.errs.String(), "--predictions are scored by one process")
}
