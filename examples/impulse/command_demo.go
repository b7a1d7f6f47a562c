package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/generate"
)

// demoFiles are a tiny pretrained model and a few annotated queries.
//
//go:embed demo/data demo/tiny-salamandra/*.json demo/tiny-salamandra/model.safetensors
var demoFiles embed.FS

// demoOptions are the flags of demo.
type demoOptions struct {
	OutputDir, Backend string
}

func newDemoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole job on a tiny model: prepare, train, validate, merge",
		Long: `Run the whole job on a tiny model (3 million parameters) and 48 annotated
queries that are part of this program: prepare, train, validate before and
after, merge, validate the merged model. It needs no network and no plugin and
takes about a minute on two cores.`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&o.OutputDir, "output-dir", "", "keep the files here, a directory that does not exist yet; without it they are removed at the end")
	cmd.Flags().StringVar(&o.Backend, "backend", "auto", "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so")
	return cmd
}

// demo is the state of one run.
type demo struct {
	dir      string
	device   *device.Device
	out, log io.Writer
	scores   []demoScore
}

// demoScore is a column of the table at the end.
type demoScore struct {
	name   string
	counts evalx.Counts
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// runDemo runs every step and prints what it gained.
func runDemo(ctx context.Context, o demoOptions, out, log io.Writer) error {
	dir, remove, err := demoDir(o.OutputDir)
	if err != nil {
		return err
	}
	defer remove()
	dev, err := openDevice(o.Backend, out)
	if err != nil {
		return err
	}
	defer dev.Close()
	d := &demo{dir: dir, device: dev, out: out, log: log}
	if err := os.CopyFS(dir, mustSub(demoFiles, "demo")); err != nil {
		return err
	}
	start := time.Now()
	for _, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"prepare: annotated queries to training examples", d.prepare},
		{"validate the model as it is", func(ctx context.Context) error { return d.validate(ctx, "before", "tiny-salamandra", false) }},
		{"train an adapter", d.train},
		{"validate model and adapter", func(ctx context.Context) error { return d.validate(ctx, "adapter", "adapter", false) }},
		{"merge the adapter into the model", d.merge},
		{"validate the merged model, its answers kept to the schema", func(ctx context.Context) error { return d.validate(ctx, "merged + schema", "merged", true) }},
	} {
		begin := time.Now()
		fmt.Fprintf(out, "\n== %s\n", step.title)
		if err := step.run(ctx); err != nil {
			return err
		}
		fmt.Fprintf(out, "   %.1f s\n", time.Since(begin).Seconds())
	}
	if err := d.table(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%.0f s in all", time.Since(start).Seconds())
	if o.OutputDir != "" {
		fmt.Fprintf(out, "; files in %s", o.OutputDir)
	}
	fmt.Fprintln(out)
	return d.judge()
}

// leastGain is how many points of correct fields the adapter must gain, before
// and after the merge: far less than it does, far more than chance.
const leastGain = 20

// judge fails if the demonstration has not shown what it is for.
func (d *demo) judge() error {
	before, _ := d.scores[0].counts.Fields.Value()
	for _, s := range d.scores[1:] {
		after, _ := s.counts.Fields.Value()
		if gain := 100 * (after - before); gain < leastGain {
			return fmt.Errorf("%s: correct fields gained %.0f points, want %d or more: something is wrong with this build or backend", s.name, gain, leastGain)
		}
	}
	return nil
}

// demoDir makes the directory of a run and says how it goes away.
func demoDir(keep string) (dir string, remove func(), err error) {
	if keep == "" {
		dir, err = os.MkdirTemp("", "impulse-demo-")
		return dir, func() { _ = os.RemoveAll(dir) }, err
	}
	if _, err := os.Stat(keep); !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("--output-dir %s exists already; choose another", keep)
	}
	return keep, func() {}, os.MkdirAll(keep, 0o755)
}

// mustSub is a directory of the embedded files, which is always there.
func mustSub(files fs.FS, dir string) fs.FS {
	sub, err := fs.Sub(files, dir)
	if err != nil {
		panic(err)
	}
	return sub
}

func (d *demo) prepare(ctx context.Context) error {
	return runPrepare(ctx, prepareOptions{
		InputDir: d.path("data/batches"), OutputFile: d.path("train.jsonl"), PromptFile: d.path("data/system_prompt.txt"),
		Pattern: "batch*.json", Validate: true,
	}, d.out)
}

// train uses a high rate and few steps: what there is to learn is the schema,
// and a tiny model learns it at once.
func (d *demo) train(ctx context.Context) error {
	var o trainOptions
	o.addFlags(new(cobra.Command)) // the defaults
	o.Model, o.Data, o.OutputDir, o.Device = d.path("tiny-salamandra"), d.path("train.jsonl"), d.path("adapter"), d.device
	o.Plan.BatchSize, o.MaxLength, o.Split.Fraction, o.Contract.Date = 3, 512, 0, "2024-09-30"
	o.LoRA.Rank, o.LoRA.Alpha, o.LoRA.Dropout = 8, 16, 0
	o.Train.Epochs, o.Train.LearningRate = 1, 6e-3
	return runTrain(ctx, &o, d.out, d.log)
}

func (d *demo) merge(ctx context.Context) error {
	return runMerge(ctx, mergeOptions{AdapterPaths: []string{d.path("adapter")}, OutputPath: d.path("merged"), Base: "stored", Dtype: "keep", VerifyDtype: "float32"}, d.out, d.log)
}

func (d *demo) validate(ctx context.Context, name, model string, constrained bool) error {
	o := validateOptions{
		modelOptions: modelOptions{ModelPath: d.path(model), Dtype: "auto"},
		TestFile:     d.path("data/test_set.json"), Rules: "auto", Constrained: strconv.FormatBool(constrained),
		Generate: generate.DefaultOptions(),
	}
	if name == "before" { // nothing says yet how it is prompted
		o.PromptFile = d.path("data/system_prompt.txt")
	}
	o.Generate.MaxNewTokens, o.BatchSize = 256, 20
	t, err := o.readTest(ctx, d.out, d.log)
	if err != nil {
		return err
	}
	runs, err := o.ask(ctx, d.device, t, d.out, d.log)
	if err != nil {
		return err
	}
	c := evalx.Summarize(runs[0].Results).Overall
	d.scores = append(d.scores, demoScore{name, c})
	fmt.Fprintf(d.out, "valid JSON %v, schema %v, fields %v\n", c.ValidJSON, c.Compliant, c.Fields)
	return nil
}

// table compares the three models.
func (d *demo) table() error {
	fmt.Fprintf(d.out, "\n20 queries that were not trained on:\n")
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, of func(evalx.Counts) evalx.Share) {
		fmt.Fprintf(w, "%s\t", name)
		for _, s := range d.scores {
			share, _ := of(s.counts).Value()
			fmt.Fprintf(w, "%.0f %%\t", 100*share)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "\t")
	for _, s := range d.scores {
		fmt.Fprintf(w, "%s\t", s.name)
	}
	fmt.Fprintln(w)
	row("JSON validity", func(c evalx.Counts) evalx.Share { return c.ValidJSON })
	row("schema compliance", func(c evalx.Counts) evalx.Share { return c.Compliant })
	row("correct fields", func(c evalx.Counts) evalx.Share { return c.Fields })
	return w.Flush()
}
