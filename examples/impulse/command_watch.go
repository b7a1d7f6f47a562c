package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/internal/runlog"
)

// watchPort is where a run is watched unless something else is served there.
const watchPort = 8420

func newWatchCommand() *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use:   "watch DIR",
		Short: "Show a run as it goes, from its output directory or a copy of it",
		Long: `Show a run as it goes: the training report of an output directory, which keeps
itself up to date in the browser, on this machine only. The directory may be a copy
that is brought up to date from another machine, as by
  rsync -a --include='*.json*' --exclude='*' machine:models/impulse/ copy/`,
		Example: `  impulse watch models/impulse`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			if err == nil && !info.IsDir() {
				err = fmt.Errorf("%s is a file, want the output directory of a run", args[0])
			}
			if err != nil {
				return err
			}
			stop, err := serveWatch(args[0], port, cmd.Flags().Changed("port"), cmd.OutOrStdout())
			if err != nil {
				return err
			}
			<-cmd.Context().Done()
			return errors.Join(stop(), context.Cause(cmd.Context()))
		},
	}
	cmd.Flags().IntVar(&port, "port", watchPort, "port on the loopback; 0 for any that is free, as where the default is taken")
	return cmd
}

// serveWatch shows the run in dir on the loopback, and says where. If the port need
// not be that one and is taken, it takes another.
func serveWatch(dir string, port int, exact bool, out io.Writer) (stop func() error, err error) {
	listen := func(port int) (net.Listener, error) {
		return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	l, err := listen(port)
	if err != nil && !exact {
		l, err = listen(0)
	}
	if err != nil {
		return nil, fmt.Errorf("--port %d: %w", port, err)
	}
	server := &http.Server{Handler: runlog.Watch(dir), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // until it is closed
	fmt.Fprintf(out, "watch the run: http://%s\n", l.Addr())
	return server.Close, nil
}
