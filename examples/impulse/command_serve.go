package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/salamandra/serve"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	modelOptions
	Addr, Name, Backend   string
	MaxBatch, Queue       int
	KeyFile, AdminKeyFile string
	AdaptersDir           string
	MaxRank, Whitespace   int
	Adapters, Hosts       []string
	LogFormat             string
	Serve                 serve.Options // limits and sampling
}

func newServeCommand() *cobra.Command {
	o := serveOptions{Serve: serve.DefaultOptions()}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer queries over HTTP: /parse, OpenAI's chat completions, a page",
		Long: `Answer queries over HTTP until stopped; then what runs is finished. The page at /
is for people, POST /parse for services, POST /v1/chat/completions for OpenAI's
clients; /openapi.yaml describes all of it.`,
		Example: `  impulse serve --model-path models/impulse-salamandra-merged
  impulse serve --model-path models/impulse-salamandra-ft --addr 0.0.0.0:8000 --api-key-file keys.txt --host api.example.cat
  curl localhost:8000/parse -H 'Content-Type: application/json' -d '{"query": "projectes sobre hidrogen verd"}'`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runServe(cmd.Context(), o, nil, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.modelOptions.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", "127.0.0.1:8000", "address to listen on; one that other machines reach needs --api-key-file")
	f.StringVar(&o.Name, "model-name", "", "what requests call the model; without it, the last element of --model-path")
	f.StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	f.IntVar(&o.MaxBatch, "max-batch", 8, "answers computed together")
	f.IntVar(&o.Queue, "queue", 64, "requests that may wait; one more is answered with 503")
	f.DurationVar(&o.Serve.Timeout, "timeout", o.Serve.Timeout, "longest time for an answer, waiting included")
	f.IntVar(&o.Serve.MaxNewTokens, "max-new-tokens", o.Serve.MaxNewTokens, "longest answer in tokens")
	f.IntVar(&o.Whitespace, "whitespace", 0, "bytes of white space that may stand between the parts of answers by a schema, for models that were not trained on a layout; 0 keeps to the contract's")
	f.Int64Var(&o.Serve.MaxBody, "max-body", o.Serve.MaxBody, "longest request in bytes")
	f.Float64Var(&o.Serve.Rate, "rate-limit", 0, "requests per second and client (key or address); 0 for no limit")
	f.StringVar(&o.KeyFile, "api-key-file", "", "file of API keys, one a line; blank lines and # lines are left out")
	f.StringVar(&o.AdminKeyFile, "admin-key-file", "", "keys of /admin/adapter; without it the API keys open that too")
	f.StringSliceVar(&o.Hosts, "host", nil, "name under which clients reach the server, beside localhost and addresses; * for any")
	f.BoolVar(&o.Serve.Insecure, "insecure", false, "listen beyond this machine without keys")
	f.StringVar(&o.AdaptersDir, "adapters-dir", "", "directory of adapters that /admin/adapter may load, by name")
	f.StringSliceVar(&o.Adapters, "adapters", nil, "adapters of --adapters-dir to serve from the start, beside the model; * for all")
	f.IntVar(&o.MaxRank, "max-rank", 0, "adapters, that of the model too, are filled up to this rank, so that one takes another's place without compiling; 0 leaves them as they are")
	addTextFlags(f, &o.Serve.Title, &o.Serve.Description, &o.Serve.Examples)
	addSamplingFlags(f, &o.Serve.Sampling)
	f.StringVar(&o.LogFormat, "log-format", "text", "lines of the log: text, json, or none")
	return cmd
}

// check lists what is wrong with the flags.
func (o *serveOptions) check() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.ModelPath != "", "--model-path is required")
	check(o.MaxBatch > 0, "--max-batch is %d, want 1 or more", o.MaxBatch)
	check(o.Queue >= 0, "--queue is %d, want 0 or more", o.Queue)
	check(o.Serve.Timeout > 0, "--timeout is %v, want more than 0", o.Serve.Timeout)
	check(o.Whitespace >= 0 && o.Whitespace <= 1000, "--whitespace is %d, want 0 to 1000", o.Whitespace)
	check(o.MaxRank == 0 || o.AdaptersDir != "", "--max-rank needs --adapters-dir: a model without adapters has nothing to swap")
	check(o.MaxRank >= 0, "--max-rank is %d, want 0 or more", o.MaxRank)
	check(len(o.Adapters) == 0 || o.AdaptersDir != "", "--adapters needs --adapters-dir")
	check(slices.Contains([]string{"text", "json", "none"}, o.LogFormat), "--log-format is %q, want text, json or none", o.LogFormat)
	check(o.AdaptersDir == "" || len(o.Adapters) > 0 || o.KeyFile != "" || o.AdminKeyFile != "",
		"--adapters-dir without keys does nothing: give --api-key-file, which opens /admin/adapter, or --adapters")
	return errors.Join(append(faults, checkSampling(o.Serve.Sampling))...)
}

// runServe serves until ctx ends. With a nil listener it makes the one of the
// flags.
func runServe(ctx context.Context, o serveOptions, l net.Listener, out, log io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	var err error
	if o.Serve.Keys, err = readKeys("--api-key-file", o.KeyFile); err != nil {
		return err
	}
	if o.Serve.AdminKeys, err = readKeys("--admin-key-file", o.AdminKeyFile); err != nil {
		return err
	}
	if l == nil {
		// Before the model, which may take minutes, is loaded.
		if l, err = net.Listen("tcp", o.Addr); err != nil {
			return fmt.Errorf("--addr: %w", err)
		}
	}
	defer l.Close()
	if err := serve.CheckListener(l, len(o.Serve.Keys) > 0 || o.Serve.Insecure); err != nil {
		return fmt.Errorf("%w: --api-key-file FILE, or --insecure", err)
	}
	dev, err := openDevice(o.Backend, out)
	if err != nil {
		return err
	}
	defer dev.Close()
	m, err := o.open(ctx, finetune.Options{Device: dev, MaxRank: o.MaxRank, Slots: o.MaxBatch, MaxNewTokens: o.Serve.MaxNewTokens, Whitespace: o.Whitespace, NoWarmUp: true}, out, log)
	if err != nil {
		return err
	}
	defer m.Close()
	server, err := o.newServer(m, log)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := o.loadAdapters(ctx, server); err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on http://%s (the page for people is there too); stop with Ctrl-C\n", l.Addr())
	return server.Serve(ctx, l)
}

// newServer puts the model behind the endpoints.
func (o *serveOptions) newServer(m *finetune.Model, log io.Writer) (*serve.Server, error) {
	s := o.Serve
	c := withTexts(m.Contract())
	s.Title, s.Description = cmp.Or(s.Title, c.Title), cmp.Or(s.Description, c.Description)
	if len(s.Examples) == 0 {
		s.Examples = c.Examples
	}
	s.Hosts, s.InFlight, s.AdaptersDir = o.Hosts, o.MaxBatch+o.Queue, o.AdaptersDir
	switch o.LogFormat {
	case "text":
		s.Logger = slog.New(slog.NewTextHandler(log, nil))
	case "json":
		s.Logger = slog.New(slog.NewJSONHandler(log, nil))
	}
	if s.Name = o.Name; s.Name == "" {
		path, err := filepath.Abs(o.ModelPath)
		if err != nil {
			return nil, err
		}
		s.Name = filepath.Base(path)
	}
	o.Name = s.Name
	return serve.New(m, s)
}

// loadAdapters loads the adapters that are served from the start, each under its
// own name.
func (o *serveOptions) loadAdapters(ctx context.Context, server *serve.Server) error {
	if len(o.Adapters) == 0 {
		return nil
	}
	there, err := server.Adapters()
	if err != nil {
		return err
	}
	names := o.Adapters
	if slices.Contains(names, "*") {
		names = there
	}
	for _, name := range names {
		if name == o.Name {
			return fmt.Errorf("--model-path and --adapters name two models %s: call the first otherwise, with --model-name", name)
		}
		if err := server.LoadAdapter(ctx, name, name); err != nil {
			return fmt.Errorf("--adapters %s: %w (in %s there are: %s)", name, err, o.AdaptersDir, strings.Join(there, ", "))
		}
	}
	return nil
}

// readKeys reads a file of keys.
func readKeys(flag, path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	defer f.Close()
	var keys []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key := strings.TrimSpace(lines.Text()); key != "" && !strings.HasPrefix(key, "#") {
			if len(key) < serve.MinKey {
				return nil, fmt.Errorf("%s %s: key %d has %d characters, want %d or more", flag, path, len(keys)+1, len(key), serve.MinKey)
			}
			keys = append(keys, key)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s %s: no key in it", flag, path)
	}
	return keys, nil
}
