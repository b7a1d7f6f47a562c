package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	tuneAllocator()
	os.Exit(execute(newRootCommand(), os.Args[1:], os.Stdout, os.Stderr))
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "impulse",
		Short:   "Fine-tune Salamandra with LoRA for questions that JSON answers, and serve it",
		Version: version(),
		Args:    explainCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRun: prepareBackend,
	}
	root.SetVersionTemplate("impulse {{.Version}}\n")
	root.AddCommand(
		newPrepareCommand(), newAugmentCommand(),
		newTrainCommand(), newInspectCommand(), newWatchCommand(),
		newValidateCommand(),
		newAskCommand(), newServeCommand(),
		newContractCommand(),
		newCompareCommand(),
		newMergeCommand(),
		newVerifyCommand(),
		newExportCommand(),
		newDemoCommand(),
		newDoctorCommand(),
		newGuideTopic(),
	)
	root.InitDefaultCompletionCmd()
	root.SetFlagErrorFunc(explainFlag)
	setUsage(root)
	return root
}

// execute runs one command line and returns the exit status: 0, 1 after an
// error, or 128 and the signal's number if a signal ended it. Every line on
// errs about an error begins with the program's name.
func execute(root *cobra.Command, args []string, out, errs io.Writer) int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	root.SilenceErrors, root.SilenceUsage = true, true // errors are printed below
	root.SetArgs(args)
	results := &standardOutput{Writer: out}
	root.SetOut(results)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var inRank *rankError
	if errors.As(err, &inRank) {
		defer inRank.end() // once the error is printed
	}
	if results.err != nil {
		err = named("standard output", results.err)
	}
	if err == nil {
		return 0
	}
	var s stopped
	bySignal := errors.As(context.Cause(ctx), &s)
	if bySignal && errors.Is(err, context.Canceled) {
		err = s
	}
	if inRank != nil && inRank.quiet() {
		return 1
	}
	for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		// The package dataset/impulse begins its errors with the same name.
		fmt.Fprintln(errs, "impulse: "+strings.TrimPrefix(line, "impulse: "))
	}
	if bySignal {
		return 128 + int(s.Signal.(syscall.Signal))
	}
	return 1
}

// stopped is why a command's context was canceled.
type stopped struct{ os.Signal }

func (s stopped) Error() string { return "stopped: " + s.String() }

// withSignals cancels the context at the first SIGINT or SIGTERM. A second one
// ends the program at once, as it would without this.
func withSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(stopped{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// version says what this program was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(no build information)"
	}
	parts := []string{cmp.Or(info.Main.Version, "(devel)")}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" || s.Key == "CGO_ENABLED" || s.Key == "GOEXPERIMENT" {
			parts = append(parts, s.Key+"="+s.Value)
		}
	}
	parts = append(parts, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
	return strings.Join(parts, " ")
}
