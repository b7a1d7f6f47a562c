package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// asProgram makes this test binary the program: a process for tests to kill.
const asProgram = "IMPULSE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestExecute(t *testing.T) {
	output := filepath.Join(t.TempDir(), "x.jsonl")
	for _, row := range []struct {
		name, reason string
		args         []string
		status       int
		out, errs    string // parts
	}{
		{
			name: "done", args: []string{"prepare", "--input-dir", impulseData + "batches", "--output-file", output},
			out: "records: 700", reason: "status 0",
		},
		{
			name: "refused", args: []string{"prepare", "--input-dir", impulseData + "batches", "--output-file", output}, status: 1,
			errs: "impulse: --output-file: " + output + " exists already; add --overwrite to replace it\n", reason: "one line, no usage",
		},
		{
			name: "faults", args: []string{"prepare", "--validate", "--pattern", "batch16*", "--input-dir", impulseData + "bad", "--output-file", output + "2"}, status: 1,
			errs: "impulse: " + impulseData + "bad/batch16_null_meta.json:14: index 0 (no id) meta: want object, got null; also " +
				impulseData + "bad/batch16_null_meta.json:18: index 1 (BAD_002) filters\n" +
				"impulse: errors: 2, warnings: 0, files with faults: 1\n",
			reason: "faults of one cause share a line; their number",
		},
		{
			name: "unknown flag", args: []string{"prepare", "--shufle"}, status: 1, errs: "impulse: prepare has no flag --shufle: do you mean --shuffle?\n", reason: "one line, no usage",
		},
		{
			name: "argument", args: []string{"prepare", "data"}, status: 1, errs: `impulse: prepare takes no argument, and "data" is one: impulse prepare --help lists its flags` + "\n", reason: "only flags",
		},
		{
			name: "help", args: []string{"prepare", "--help"}, out: "--merge-system-into-user", reason: "on standard output",
		},
		{
			name: "version", args: []string{"--version"}, out: "impulse (devel)", reason: "what it was built from",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			require.Equal(t, row.status, execute(newRootCommand(), row.args, &out, &errs), row.reason)
			require.Contains(t, out.String(), row.out, row.reason)
			require.Equal(t, filepath.ToSlash(row.errs), filepath.ToSlash(errs.String()), row.reason)
		})
	}
}

// Results that reach nobody are an error.
func TestExecuteLostOutput(t *testing.T) {
	full := writer(func([]byte) (int, error) { return 0, syscall.ENOSPC })
	var errs bytes.Buffer
	require.Equal(t, 1, execute(newRootCommand(), []string{"--version"}, full, &errs))
	require.Equal(t, "impulse: standard output: no space left on device\n", errs.String())
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// A signal ends a command's context; the status says which it was.
func TestExecuteSignals(t *testing.T) {
	own := errors.New("the last checkpoint is kept")
	for _, row := range []struct {
		name, reason string
		signal       os.Signal
		after        func(context.Context) error // what the command returns then
		status       int
		errs         string
	}{
		{
			name: "SIGINT", signal: syscall.SIGINT, after: context.Context.Err, status: 130,
			errs: "impulse: stopped: interrupt\n", reason: "128 + 2, as shells expect",
		},
		{
			name: "SIGTERM", signal: syscall.SIGTERM, after: context.Context.Err, status: 143,
			errs: "impulse: stopped: terminated\n", reason: "128 + 15",
		},
		{
			name: "own words", signal: syscall.SIGINT, after: func(context.Context) error { return own }, status: 130,
			errs: "impulse: the last checkpoint is kept\n", reason: "a command may say more",
		},
		{
			name: "clean end", signal: syscall.SIGTERM, after: func(context.Context) error { return nil }, status: 0,
			errs: "", reason: "a service that shut down in order has not failed",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			root := &cobra.Command{Use: "impulse", RunE: func(cmd *cobra.Command, _ []string) error {
				self, err := os.FindProcess(os.Getpid())
				if err != nil {
					return err
				}
				if err := self.Signal(row.signal); err != nil {
					return err
				}
				<-cmd.Context().Done()
				return row.after(cmd.Context())
			}}
			var out, errs bytes.Buffer
			require.Equal(t, row.status, execute(root, nil, &out, &errs), row.reason)
			require.Equal(t, row.errs, errs.String(), row.reason)
		})
	}
}
