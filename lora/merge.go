package lora

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// Causes a caller can test for with errors.Is on an error of Merge.
var (
	// ErrOption reports a MergeOptions field without meaning.
	ErrOption = errors.New("invalid option")
	// ErrOutput reports an output directory that cannot be made there.
	ErrOutput = errors.New("output directory refused")
	// ErrQuantised reports a base whose weights are quantised: the adapter was
	// trained beside them, and rounding the sum back would undo most of it.
	ErrQuantised = errors.New("base is quantised; merge into the 16-bit weights it was made from")
	// ErrNoEffect reports a merge that would leave every weight as it is.
	ErrNoEffect = errors.New("adapter has no effect")
	// ErrVerify reports a written file that does not read back as written.
	ErrVerify = errors.New("written file reads back differently")
)

// MergeOptions says what Merge reads and writes. Base, Adapter and Output are
// needed; the rest may be zero.
type MergeOptions struct {
	// Base is the directory of the model the adapter was trained on, with
	// 16-bit or 32-bit float weights.
	Base string
	// Adapter is an adapter directory.
	Adapter string
	// Output is the directory to write. It must be absent or empty, and not
	// within Base or Adapter.
	Output string
	// Dtype is the format of all float tensors of the output: "bfloat16",
	// "float16" or "float32"; empty or "keep" leaves each as it is in the base.
	Dtype string
	// MaxShardSize is the largest output file in bytes of data, 0 for
	// safetensors.MaxShardSize, as Transformers writes.
	MaxShardSize int64
	// AllowNoEffect writes the output even if the adapter changes no weight.
	AllowNoEffect bool
	// Progress, if not nil, is called from time to time, never concurrently.
	Progress func(MergeProgress)
}

// MergeProgress is how far a merge has come.
type MergeProgress struct {
	Stage string // "merge", then "verify"
	Name  string // the tensor or file just finished
	Done  int64  // bytes finished in this stage
	Total int64  // bytes of this stage
}

// MergeReport says what a merge did. The output directory holds it as
// merge_info.json.
type MergeReport struct {
	// Base and Adapter are the directories as given.
	Base    string `json:"base"`
	Adapter string `json:"adapter"`
	// BaseModelNameOrPath is the base as the adapter names it.
	BaseModelNameOrPath string `json:"base_model_name_or_path"`
	// Dtype is MergeOptions.Dtype, "keep" for empty.
	Dtype string `json:"dtype"`
	// Scales are the factors of B*A by kind of module, such as "q_proj",
	// without repetition and in ascending order.
	Scales map[string][]float64 `json:"scales"`
	// Merged are the tensors the adapter changes, by name.
	Merged []MergedTensor `json:"merged"`
	// Untouched are the names of all others, sorted.
	Untouched []string `json:"untouched"`
	// LostShare is the LostShare of all merged tensors together.
	LostShare float64 `json:"lost_share"`
	// Warnings are what a person should look at before deploying the output.
	Warnings []string `json:"warnings"`
	// BaseFiles and AdapterFiles were read, OutputFiles were written;
	// merge_info.json itself is not among them.
	BaseFiles    []FileSum `json:"base_files"`
	AdapterFiles []FileSum `json:"adapter_files"`
	OutputFiles  []FileSum `json:"output_files"`
}

// MergedTensor says what an adapter did to one weight.
type MergedTensor struct {
	Name  string  `json:"name"`
	Shape []int   `json:"shape"`
	Rank  int     `json:"rank"`
	Scale float64 `json:"scale"`
	// DeltaNorm is the Euclidean norm of the update before rounding: of
	// scale*B*A, or with DoRA of the difference of the weights.
	DeltaNorm float64 `json:"delta_norm"`
	// Updates counts the entries of the update that are not zero.
	Updates int `json:"updates"`
	// LostShare is the part of them that rounding to the stored format undid,
	// 0 if there are none.
	LostShare float64 `json:"lost_share"`

	changed int
}

// FileSum identifies the content of a file.
type FileSum struct {
	File   string `json:"file"` // name within its directory
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Merge writes a model directory in which an adapter has become part of the
// weights, and which needs neither adapter nor this library.
//
// The weights equal, bit for bit, those of PEFT's merge_and_unload on a CPU
// with float32 adapters, for ranks up to 256: the update is summed and added in
// float32 and rounded once to the stored format. Tensors are streamed, so that
// memory stays near the size of the largest adapted weight, and all cores work
// on each. Files are read back and compared by SHA-256 before the output gets
// its name; until then, and if ctx is cancelled, there is no output. A process
// that is killed can leave a directory called Output.tmp- and eight digits.
//
// Beside the weights the output holds the base's config.json (with the new
// dtype, if one was asked for), generation_config.json, tokenizer, chat
// template and licence files, prompt.json of the adapter if it has one, and
// merge_info.json, the report.
//
// It refuses an adapter that does not fit the base, listing every tensor
// ([TensorError]), and what the Err variables of this package name.
func Merge(ctx context.Context, opts MergeOptions) (MergeReport, error) {
	if err := opts.check(); err != nil {
		return MergeReport{}, err
	}
	adapter, err := ReadAdapter(opts.Adapter)
	if err != nil {
		return MergeReport{}, err
	}
	base, err := openBase(opts.Base)
	if err != nil {
		return MergeReport{}, err
	}
	defer base.Close()
	m, err := newMerger(opts, adapter, base)
	if err != nil {
		return MergeReport{}, err
	}

	output, err := filepath.Abs(opts.Output)
	if err != nil {
		return MergeReport{}, err
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o777); err != nil {
		return MergeReport{}, err
	}
	dir := fmt.Sprintf("%s.tmp-%08x", output, rand.Uint32())
	if err := os.Mkdir(dir, 0o777); err != nil {
		return MergeReport{}, err
	}
	defer os.RemoveAll(dir)
	if err := m.fill(ctx, dir); err != nil {
		return MergeReport{}, err
	}
	if err := publish(dir, output); err != nil {
		return MergeReport{}, err
	}
	return m.report, nil
}

// publish gives a finished directory its name.
func publish(dir, output string) error {
	if err := os.Remove(output); err != nil && !errors.Is(err, os.ErrNotExist) { // only if it is empty
		return fmt.Errorf("lora: %s: %w: %w", output, ErrOutput, err)
	}
	return safetensors.Rename(dir, output)
}

// A merger holds one merge in progress.
type merger struct {
	opts    MergeOptions
	adapter *Adapter
	base    *baseModel
	to      safetensors.Dtype // of all floats, empty to keep each
	modules map[string]Module // of the adapter, by tensor name
	report  MergeReport
	done    int64  // bytes of the stage
	buffer  []byte // for one merged tensor, used again
}

// newMerger checks that adapter and base fit and prepares the updates.
func newMerger(opts MergeOptions, adapter *Adapter, base *baseModel) (*merger, error) {
	m := &merger{opts: opts, adapter: adapter, base: base, to: storedDtypes[opts.Dtype], modules: map[string]Module{}}
	for _, module := range adapter.Modules {
		m.modules[module.Name+".weight"] = module
	}
	if err := m.checkFit(); err != nil {
		return nil, err
	}
	m.report = MergeReport{
		Base: opts.Base, Adapter: opts.Adapter, Dtype: "keep",
		BaseModelNameOrPath: adapter.Config.BaseModelNameOrPath,
		Scales:              scales(adapter),
		Warnings:            []string{},
	}
	if m.to != "" {
		m.report.Dtype = opts.Dtype
	}
	zero := 0
	for _, module := range adapter.Modules {
		if module.isZero() {
			zero++
		}
	}
	if zero == len(adapter.Modules) && !opts.AllowNoEffect {
		return nil, fmt.Errorf("lora: %s: %w: A or B is zero in every module; was it saved before training?", opts.Adapter, ErrNoEffect)
	}
	if zero > 0 {
		m.warn("%d of %d modules of the adapter are zero", zero, len(adapter.Modules))
	}
	if name := adapter.Config.BaseModelNameOrPath; name != "" && !namesBase(opts.Base, name) {
		m.warn("the adapter was trained on %s, the base is %s", name, opts.Base)
	}
	return m, nil
}

func (m *merger) warn(format string, args ...any) {
	m.report.Warnings = append(m.report.Warnings, fmt.Sprintf(format, args...))
}

// namesBase tells whether a segment of the base's path is the last segment of
// the model's name, or ends in it as directories of the hub's cache do.
func namesBase(base, name string) bool {
	if abs, err := filepath.Abs(base); err == nil {
		base = abs
	}
	last := filepath.Base(filepath.FromSlash(name))
	for segment := range strings.SplitSeq(filepath.ToSlash(base), "/") {
		if segment == last || strings.HasSuffix(segment, "--"+last) {
			return true
		}
	}
	return false
}

// fill writes the whole output into dir and completes the report.
func (m *merger) fill(ctx context.Context, dir string) error {
	sums, err := m.writeWeights(ctx, dir)
	if err != nil {
		return err
	}
	if err := m.summarise(); err != nil {
		return err
	}
	if err := m.copyFiles(dir); err != nil {
		return err
	}
	return m.seal(ctx, dir, sums)
}

// summarise completes what the report says about the tensors.
func (m *merger) summarise() error {
	updates, changed := 0, 0
	merged := map[string]bool{}
	for _, t := range m.report.Merged {
		updates += t.Updates
		changed += t.changed
		merged[t.Name] = true
	}
	m.report.LostShare = lostShare(updates, changed)
	m.report.Untouched = []string{}
	for _, info := range m.base.Tensors() {
		if !merged[info.Name] {
			m.report.Untouched = append(m.report.Untouched, info.Name)
		}
	}
	if changed == 0 && !m.opts.AllowNoEffect {
		return fmt.Errorf("lora: %s: %w: rounding to the stored format undoes all %d updates", m.opts.Adapter, ErrNoEffect, updates)
	}
	return nil
}

// lostShare returns the part of updates that changed nothing.
func lostShare(updates, changed int) float64 {
	if updates == 0 {
		return 0
	}
	return float64(updates-changed) / float64(updates)
}

// scales returns the scales of an adapter by kind of module.
func scales(a *Adapter) map[string][]float64 {
	byKind := map[string][]float64{}
	for _, m := range a.Modules {
		kind := lastSegment(m.Name)
		byKind[kind] = append(byKind[kind], a.Config.ScaleOf(m.Name))
	}
	for kind, s := range byKind {
		slices.Sort(s)
		byKind[kind] = slices.Compact(s)
	}
	return byKind
}
