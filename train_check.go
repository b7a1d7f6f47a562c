package finetune

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// settingsFile keeps the settings of a run beside its adapter. It marks a
// directory that a run was begun in.
const settingsFile = "training_args.json"

// optionFaults collects what is wrong with options, each fault beginning with the
// name of a field.
type optionFaults struct {
	o    *TrainOptions
	list []error
}

func (f *optionFaults) add(err error) { f.list = append(f.list, err) }

func (f *optionFaults) want(ok bool, field, format string, args ...any) {
	if !ok {
		f.add(fmt.Errorf(f.o.name(field)+" "+format, args...))
	}
}

// Validate lists what is wrong with the options, and with OutputDir, before
// anything is read.
func (o *TrainOptions) Validate() error {
	f := &optionFaults{o: o}
	f.want(o.Model != "", "Model", "is required")
	f.want(o.Data != "" || o.Records != nil, "Data", "is required")
	f.want(o.OutputDir != "" || o.DryRun || o.follows(), "OutputDir", "is required")
	f.add(o.Train.Validate())
	if !o.adapterBrings() {
		f.add(o.LoRA.Validate())
	}
	f.want(o.MaxLength >= 1, "MaxLength", "%d, want 1 or more", o.MaxLength)
	f.want(o.Overlong >= dataset.OverlongError && o.Overlong <= dataset.OverlongTruncate, "Overlong", "%d is no policy", o.Overlong)
	f.want(o.Plan.BatchSize >= 1, "Plan.BatchSize", "%d, want 1 or more", o.Plan.BatchSize)
	f.want(o.Plan.MaxShapes >= 1, "Plan.MaxShapes", "%d, want 1 or more", o.Plan.MaxShapes)
	f.want(o.Split.Fraction >= 0 && o.Split.Fraction < 1, "Split.Fraction", "%v, want 0 to below 1", o.Split.Fraction)
	f.want(o.Samples >= 0, "Samples", "%d, want 0 or more", o.Samples)
	_, err := time.Parse(time.DateOnly, o.Contract.Date)
	f.want(err == nil, "Contract.Date", "%q, want yyyy-mm-dd", o.Contract.Date)
	f.want(o.Contract.RequestValues == nil || o.Contract.Schema != nil, "Contract.RequestValues", "goes with %s", o.name("Contract.Schema"))
	f.want(o.Shards >= 0, "Shards", "%d, want 1 or more", o.Shards)
	f.want(slices.Contains([]string{"", "none", "4bit", "8bit"}, o.Quantize), "Quantize", "%q, want none, 4bit or 8bit", o.Quantize)
	f.want(slices.Contains([]string{"auto", "", "float32", "bfloat16", "float16"}, o.Dtype), "Dtype", "%q, want auto, float32, bfloat16 or float16", o.Dtype)
	f.want(!o.AllowTestOverlap || o.Test != nil, "AllowTestOverlap", "goes with %s", o.name("Test"))
	if o.Device == nil {
		f.add(device.Check(o.Backend))
		err := device.CheckDevices(o.Devices)
		f.want(err == nil, "Devices", "%v", err)
	}
	o.checkMetric(f)
	o.Average.check(f, o.LoRA.UseDoRA)
	f.add(o.checkOutput())
	return errors.Join(f.list...)
}

// adapterBrings reports whether LoRA is left to InitAdapter.
func (o *TrainOptions) adapterBrings() bool {
	return o.InitAdapter != "" && reflect.DeepEqual(o.LoRA, lora.Config{Dropout: o.LoRA.Dropout})
}

var metrics = []string{"loss", "strict", "relaxed", "validity"}

func (o *TrainOptions) checkMetric(f *optionFaults) {
	f.want(slices.Contains(metrics, o.Metric), "Metric", "%q, want one of %q", o.Metric, metrics)
	f.want(o.Comparators == nil || o.Metric == "strict" || o.Metric == "relaxed", "Comparators", "goes with %s strict or relaxed", o.name("Metric"))
	f.want(o.Comparators == nil || !hasRules(o.Task), "Comparators", "is for a task without rules of its own")
	f.want(o.Metric == "loss" || o.Split.Fraction > 0, "Metric", "%s needs held-out examples: %s above 0", o.Metric, o.name("Split.Fraction"))
}

func (a Averaging) check(f *optionFaults, dora bool) {
	n := func(field string) string { return "Average." + field }
	f.want(a.Checkpoints == 0 || a.Checkpoints >= 2, n("Checkpoints"), "%d, want 2 or more, or 0 for none", a.Checkpoints)
	f.want(a.Checkpoints != 0 || a.Rank == 0, n("Rank"), "goes with %s", f.o.name(n("Checkpoints")))
	f.want(a.Checkpoints == 0 || !dora || a.Method != lora.AverageDelta, n("Method"),
		"%s: the update of a DoRA adapter depends on the base; want %s", a.Method, lora.AverageFactors)
	f.want(a.Method == lora.AverageDelta || a.Method == lora.AverageFactors, n("Method"), "%q, want %s or %s", a.Method, lora.AverageDelta, lora.AverageFactors)
	f.want(a.Rank == 0 || a.Rank > 0 && a.Method != lora.AverageFactors, n("Rank"),
		"%d, want 0 or, with %s %s, more", a.Rank, f.o.name(n("Method")), lora.AverageDelta)
}

// unfinished are the names under which files and directories are written.
var unfinished = regexp.MustCompile(`\.tmp-?[0-9a-f]{1,10}$`)

// checkOutput refuses an output directory that cannot be written, or that has
// work in it, unless the run goes on with it or writes over it.
func (o *TrainOptions) checkOutput() error {
	out := o.name("OutputDir")
	switch {
	case o.Resume && o.Overwrite:
		return fmt.Errorf("%s and %s exclude each other", o.name("Resume"), o.name("Overwrite"))
	case o.ResumeAnyway && !o.Resume:
		return fmt.Errorf("%s goes with %s", o.name("ResumeAnyway"), o.name("Resume"))
	case o.OutputDir == "" || o.follows(): // rank 0 may have it locked
		return nil
	}
	entries, err := os.ReadDir(o.OutputDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = tryDir(o.OutputDir)
	}
	if err == nil && isDir(o.OutputDir) {
		var release func()
		if release, err = atomicfile.Lock(o.OutputDir); err == nil {
			release()
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", out, o.OutputDir, err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return unfinished.MatchString(e.Name()) })
	if o.Overwrite || len(entries) == 0 {
		return nil
	}
	started := isFile(filepath.Join(o.OutputDir, settingsFile))
	switch {
	case o.Resume && started:
		return nil
	case o.Resume:
		return fmt.Errorf("%s %s holds other files and no run to resume; choose another or say %s", out, o.OutputDir, o.name("Overwrite"))
	case started && !isFile(filepath.Join(o.OutputDir, lora.ConfigFile)):
		return fmt.Errorf("%s %s holds a run that was not finished: go on with %s, or start anew with %s", out, o.OutputDir, o.name("Resume"), o.name("Overwrite"))
	}
	return fmt.Errorf("%s %s is not empty; choose another or say %s", out, o.OutputDir, o.name("Overwrite"))
}

// existing is a directory, or the one that it would be made in.
func existing(dir string) (string, error) {
	for !isDir(dir) && dir != filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil {
			return "", fmt.Errorf("%s is not a directory", dir)
		}
		dir = filepath.Dir(dir)
	}
	return dir, nil
}

// tryDir writes a file that goes again into a directory, or where it would be
// made.
func tryDir(dir string) error {
	dir, err := existing(dir)
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(filepath.Join(dir, "trial"))
	if err != nil {
		return err
	}
	return f.Abort()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// checkBase refuses options that do not fit the model: its weights are looked
// for, but not read. It settles LoRA.
func (o *TrainOptions) checkBase(dir string) (llama.Config, error) {
	files, err := modelfiles.OpenQuantized(dir)
	if err != nil {
		return llama.Config{}, err
	}
	config := files.Config
	f := &optionFaults{o: o}
	f.add(files.Close())
	f.want(o.MaxLength <= config.MaxPositionEmbeddings, "MaxLength", "%d: the model has %d positions", o.MaxLength, config.MaxPositionEmbeddings)
	if o.InitAdapter != "" {
		f.add(o.takeAdapter(dir, config))
	} else {
		o.checkTargets(f, config)
	}
	return config, errors.Join(f.list...)
}

// checkTargets refuses an entry of the target modules that selects no layer an
// adapter can be on.
func (o *TrainOptions) checkTargets(f *optionFaults, config llama.Config) {
	var kinds []string
	for _, name := range config.Linears() {
		if kind := name[strings.LastIndexByte(name, '.')+1:]; !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	for _, target := range o.LoRA.TargetModules {
		fits := lora.Config{TargetModules: []string{target}}
		if slices.ContainsFunc(config.Linears(), fits.Matches) {
			continue
		}
		why := "the model has no such layer"
		if slices.ContainsFunc(config.Tensors(), func(t llama.Tensor) bool { return fits.Matches(strings.TrimSuffix(t.Name, ".weight")) }) {
			why = "no adapter can be on this part of the model"
		}
		f.want(false, "LoRA.TargetModules", "%s: %s; want some of %s", target, why, strings.Join(kinds, ", "))
	}
}

// takeAdapter settles LoRA by InitAdapter, which has to fit the model. Settings
// that say otherwise than the adapter are refused.
func (o *TrainOptions) takeAdapter(base string, config llama.Config) error {
	name := o.name("InitAdapter")
	a, err := lora.ReadAdapter(o.InitAdapter)
	if err == nil {
		err = a.Fits(config)
	}
	if err == nil {
		err = a.CheckBase(base)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, w := range a.Warnings {
		o.warn(w)
	}
	given := o.LoRA
	adapterBrings := o.adapterBrings()
	if o.LoRA = a.Config; given.Dropout > 0 || !adapterBrings {
		o.LoRA.Dropout = given.Dropout
	}
	if adapterBrings {
		return nil
	}
	f := &optionFaults{o: o}
	asked, has := reflect.ValueOf(given), reflect.ValueOf(a.Config)
	for i := range asked.NumField() {
		field := asked.Type().Field(i).Name
		x, y := asked.Field(i).Interface(), has.Field(i).Interface()
		if slices.Contains([]string{"Dropout", "BaseModelNameOrPath", "Revision"}, field) || equalSetting(x, y) {
			continue
		}
		f.want(false, "LoRA."+field, "%v: the adapter of %s %s has %v", shown(x), name, o.InitAdapter, shown(y))
	}
	return errors.Join(f.list...)
}

// equalSetting compares two values of a setting: names in any order, and empty
// lists and maps with none.
func equalSetting(x, y any) bool {
	a, b := reflect.ValueOf(x), reflect.ValueOf(y)
	if names, ok := x.([]string); ok {
		return slices.Equal(slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(y.([]string))))
	}
	if k := a.Kind(); (k == reflect.Slice || k == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(x, y)
}

// shown is a value as a person would write it.
func shown(v any) any {
	if names, ok := v.([]string); ok {
		return strings.Join(names, ",")
	}
	return v
}
