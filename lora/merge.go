package lora

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/lora/internal/update"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// Causes of an error of Merge.
var (
	// errOption reports a MergeOptions field without meaning.
	errOption = errors.New("invalid option")
	// errOutput reports an output directory that cannot be made there.
	errOutput = atomicfile.ErrOutput
	// errNoEffect reports a merge that would leave every weight as it is.
	errNoEffect = errors.New("adapter has no effect")
	// errVerify reports a written file that does not read back as written.
	errVerify = safetensors.ErrReadBack
	// errRejected reports a merged model that Verify or Check refused.
	errRejected = errors.New("merged model was rejected, and is kept in this directory")
)

// MergeOptions says what Merge reads and writes. Base, Output and one of
// Adapter and Adapters are needed; the rest may be zero.
type MergeOptions struct {
	// Base is the directory of the model the adapter was trained on, with
	// 16-bit or 32-bit float weights.
	Base string
	// Adapter is an adapter directory, merged with weight 1.
	Adapter string
	// Adapters are several adapter directories, which Method makes one update.
	Adapters []WeightedAdapter
	// Method is how, empty for MethodLinear.
	Method MergeMethod
	// Density is the part of each update, in (0, 1], that MethodTIES and
	// MethodDARE keep; 0 with other methods.
	Density float64
	// Seed is where MethodDARE takes its random choices from. They depend
	// only on it, the tensor's name and the adapter's content.
	Seed uint64
	// Rank is the rank MethodSVD reduces the update to; 0 with other methods.
	Rank int
	// Output is the directory to write. It must be absent or empty, and not
	// within an input.
	Output string
	// Dtype is the format of all float tensors of the output: "bfloat16",
	// "float16" or "float32"; empty or "keep" leaves each as it is in the base.
	Dtype string
	// MaxShardSize is the largest output file in bytes of data, 0 for
	// safetensors.MaxShardSize, as Transformers writes.
	MaxShardSize int64
	// Dequantized merges into the values that the base's linear layers had while they
	// were quantised in training, as prompt.json says, in place of those in its files:
	// the model is the one that was trained, with the roundings of its base. Weights
	// are never quantised again.
	Dequantized bool
	// AllowNoEffect writes the output even if the adapter changes no weight.
	AllowNoEffect bool
	// AllowDrift merges although the tokenizer or the weights of the base are not
	// those of training; the report warns.
	AllowDrift bool
	// Verify is how many prompts the merged model is compared with base and
	// adapter after, before the output gets its name; 0 for none. The update of
	// MethodTIES and MethodDARE is no adapter to compare with. A model that is
	// farther off than rounding explains is kept in Output.rejected- and eight
	// digits, which the error names, and no later merge touches it.
	Verify int
	// VerifyDtype is what both are computed in: "float32", "bfloat16", "float16"
	// or "auto"; empty for float32, in which the least is lost.
	VerifyDtype string
	// Backend is what that is computed on, of those the program imports; see
	// device.Open.
	Backend string
	// Check, if not nil, is called with the directory that holds the finished
	// model, before it gets the name Output; it may load the model, and must
	// have closed its files when it returns. If it fails, the directory is kept
	// as with Verify; if ctx is cancelled meanwhile, it is removed.
	Check func(ctx context.Context, dir string) error
	// Progress, if not nil, is called from time to time, never concurrently, with
	// the bytes done of "merging", then of "verifying".
	Progress func(phase string, done, total int64)
}

// MergeReport says what a merge did. The output directory holds it as
// merge_info.json, its certificate, which [VerifyDir] checks.
type MergeReport struct {
	// Base is the directory as given.
	Base string `json:"base"`
	// Adapters are what was merged into it, in the order given.
	Adapters []MergedAdapter `json:"adapters"`
	// Method, Density, Seed and SVDRank are those of MergeOptions.
	Method  MergeMethod `json:"method"`
	Density float64     `json:"density,omitempty"`
	Seed    uint64      `json:"seed,omitempty"`
	SVDRank int         `json:"svd_rank,omitempty"`
	// Dtype is MergeOptions.Dtype, "keep" for empty.
	Dtype string `json:"dtype"`
	// Dequantized is what MergeOptions.Dequantized undid, such as "4bit".
	Dequantized string `json:"dequantized,omitempty"`
	// Scales are the factors of B*A by kind of module, such as "q_proj",
	// without repetition and in ascending order.
	Scales map[string][]float64 `json:"scales"`
	// Merged are the tensors that adapters change, by name.
	Merged []MergedTensor `json:"merged"`
	// Untouched are the names of all others, sorted.
	Untouched []string `json:"untouched"`
	// LostShare is the LostShare of all merged tensors together.
	LostShare float64 `json:"lost_share"`
	// ChangedFiles say what of the base's files is another in the output, beside
	// the weights: "generation_config.json: eos_token_id is [2,5], ...".
	ChangedFiles []string `json:"changed_files"`
	// Verified is what Verify found; it is not in the certificate.
	Verified *MergedDifference `json:"-"`
	// FromTrained is, with Verify, how far the merged model is from what was trained
	// on a quantised base, where it was merged into one that is not.
	FromTrained *MergedDifference `json:"-"`
	// Warnings are what a person should look at before deploying the output.
	Warnings []string `json:"warnings"`
	// BaseFiles were read, OutputFiles were written; merge_info.json itself is
	// not among them.
	BaseFiles   []FileSum `json:"base_files"`
	OutputFiles []FileSum `json:"output_files"`
	// Seal is the SHA-256 of merge_info.json with an empty seal. It detects
	// accidents, not forgery: who can write the files can seal them again,
	// so note it elsewhere if that matters.
	Seal string `json:"seal"`
}

// MergedAdapter identifies an adapter that was merged.
type MergedAdapter struct {
	Dir    string  `json:"dir"` // as given
	Weight float64 `json:"weight"`
	// BaseModelNameOrPath is the base as the adapter names it.
	BaseModelNameOrPath string    `json:"base_model_name_or_path"`
	Files               []FileSum `json:"files"`
}

// MergedTensor says what an adapter did to one weight.
type MergedTensor struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
	// Rank is the update's: with several adapters the sum of theirs, but
	// not more than MethodSVD was asked for.
	Rank int `json:"rank"`
	// Scale is the factor of B*A, 0 where several adapters change the tensor.
	Scale float64 `json:"scale,omitempty"`
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

// Merge writes a model directory in which adapters have become part of the
// weights, and which needs neither adapter nor this library.
//
// The weights equal, bit for bit, those of PEFT's merge_and_unload on a CPU
// with one float32 adapter of rank up to 256: the update is summed and added in
// float32 and rounded once to the stored format. For several adapters see
// [MergeMethod]. Weights are streamed in pieces of a megabyte, on all cores, so
// that memory stays near the size of the adapters.
//
// Weights are read back and compared before the output gets its name; until
// then, and if ctx is cancelled, there is no output. A process that is killed
// can leave a directory called Output.tmp- and eight digits, which the next
// merge to Output removes; where the system cannot tell whether another process
// still writes it, a warning names it instead.
//
// Beside the weights the output holds the base's config.json (with the new
// dtype, if one was asked for), generation_config.json, tokenizer, chat
// template and licence files, prompt.json of the first adapter that has one,
// and merge_info.json, the report. What that prompt.json says of how answers
// begin and end is written into the files that other programs read, with the
// template of training where the base has none.
//
// It refuses options without meaning, a base that loading refuses, an adapter that
// does not fit it, listing every tensor, or has no effect, and an output that is
// there already.
func Merge(ctx context.Context, opts MergeOptions) (MergeReport, error) {
	opts, err := opts.normalised()
	if err != nil {
		return MergeReport{}, err
	}
	adapters, err := readAdapters(opts.Adapters, opts.Method)
	if err != nil {
		return MergeReport{}, err
	}
	base, err := openBase(opts.Base)
	if err != nil {
		return MergeReport{}, err
	}
	defer base.Close()
	m, err := newMerger(ctx, opts, adapters, base)
	if err != nil {
		return MergeReport{}, err
	}
	s, err := atomicfile.NewStage(opts.Output, m.size()+spareSpace)
	if err != nil {
		return MergeReport{}, err
	}
	defer s.Close()
	m.report.Warnings = append(m.report.Warnings, s.Warnings...)
	if err := m.fill(ctx, s.Dir); err != nil {
		return MergeReport{}, err
	}
	if err := m.verify(ctx, s.Dir); err != nil {
		if ctx.Err() == nil {
			err = reject(s, err)
		}
		return m.report, err
	}
	return m.report, s.Publish()
}

// spareSpace is what an output needs beside its weights, in bytes: headers,
// tokenizer and other small files.
const spareSpace = 64 << 20

// reject keeps a merged model that is not what it should be, and returns the
// error that says where.
func reject(s *atomicfile.Stage, reason error) error {
	kept, err := s.Keep()
	if err != nil {
		return errors.Join(reason, err)
	}
	return fmt.Errorf("lora: %s: %w: %w", kept, errRejected, reason)
}

// verify compares the finished model in dir, as far as it was asked for.
func (m *merger) verify(ctx context.Context, dir string) (err error) {
	if m.opts.Verify > 0 {
		check := mergedCheck{Quantize: m.report.Dequantized}
		if m.report.Verified, err = m.opts.compare(ctx, dir, m.contract, check); err != nil {
			return err
		}
		if err := m.compareTrained(ctx, dir); err != nil {
			return err
		}
	}
	if m.opts.Check != nil {
		return m.opts.Check(ctx, dir)
	}
	return nil
}

// A merger holds one merge in progress.
type merger struct {
	opts     MergeOptions
	adapters []weightedAdapter
	base     *baseModel
	to       safetensors.Dtype        // of all floats, empty to keep each
	parts    map[string][]update.Part // by tensor name
	report   MergeReport

	contract    *chatml.Contract     // of the first adapter that has one; nil for none
	contractDir string               // where that stands
	trainedIn   string               // what its base was quantised to, empty for nothing
	tokenizer   *tokenizer.Tokenizer // of the base, where there is a contract

	done int64 // bytes of the stage
}

// newMerger checks that adapters and base fit and prepares the updates.
func newMerger(ctx context.Context, opts MergeOptions, adapters []weightedAdapter, base *baseModel) (*merger, error) {
	m := &merger{opts: opts, adapters: adapters, base: base, to: storedDtypes[opts.Dtype], parts: collect(adapters)}
	if err := m.checkFit(); err != nil {
		return nil, err
	}
	m.report = MergeReport{
		Base: opts.Base, Dtype: "keep", Scales: scales(adapters), Warnings: []string{}, ChangedFiles: []string{},
		Method: opts.Method, Density: opts.Density, Seed: opts.Seed, SVDRank: opts.Rank,
	}
	if m.to != "" {
		m.report.Dtype = opts.Dtype
	}
	if err := m.readPrompt(ctx); err != nil {
		return nil, err
	}
	if err := m.settleQuantization(); err != nil {
		return nil, err
	}
	effect := false
	for _, a := range adapters {
		m.report.Adapters = append(m.report.Adapters, MergedAdapter{
			Dir: a.Dir, Weight: a.Weight, BaseModelNameOrPath: a.Config.BaseModelNameOrPath,
		})
		zero := 0
		for _, module := range a.Modules {
			if module.part(1, a.Weight).IsZero() {
				zero++
			}
		}
		effect = effect || zero < len(a.Modules)
		m.report.Warnings = append(m.report.Warnings, a.Warnings...)
		if zero > 0 {
			m.warn("%d of %d modules of the adapter %s are zero", zero, len(a.Modules), a.Dir)
		}
		if name := a.Config.BaseModelNameOrPath; name != "" && !namesBase(opts.Base, name) {
			m.warn("the adapter %s was trained on %s, the base is %s", a.Dir, name, opts.Base)
		}
	}
	if !effect && !opts.AllowNoEffect {
		return nil, fmt.Errorf("lora: %s: %w: weight, A or B is zero in every module; was it saved before training?", opts.adapterDirs(), errNoEffect)
	}
	return m, nil
}

func (m *merger) warn(format string, args ...any) {
	m.report.Warnings = append(m.report.Warnings, fmt.Sprintf(format, args...))
}

// namesBase reports whether a segment of the base's path is the last segment of
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

// fill writes the whole output into dir and completes the report. The inputs
// are hashed meanwhile.
func (m *merger) fill(ctx context.Context, dir string) error {
	lists, err := m.inputs()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var hashing sync.WaitGroup
	defer hashing.Wait()
	defer cancel()
	var inputs [][]FileSum
	var hashErr error
	hashing.Go(func() { inputs, hashErr = hashLists(ctx, lists) })
	weights, err := m.writeWeights(ctx, dir)
	if err != nil {
		return err
	}
	if err := m.summarise(); err != nil {
		return err
	}
	if err := m.copyFiles(dir); err != nil {
		return err
	}
	if hashing.Wait(); hashErr != nil {
		return hashErr
	}
	return m.seal(ctx, dir, inputs, weights)
}

// muchLost is the share of lost updates from which a warning is due.
const muchLost = 0.5

// summarise completes what the report says about the tensors.
func (m *merger) summarise() error {
	updates, changed := 0, 0
	merged := map[string]bool{}
	worst := MergedTensor{}
	for _, t := range m.report.Merged {
		updates += t.Updates
		changed += t.changed
		merged[t.Name] = true
		if t.LostShare > worst.LostShare {
			worst = t
		}
	}
	m.report.LostShare = lostShare(updates, changed)
	if m.report.LostShare >= muchLost {
		m.warn("rounding undid %.0f %% of the updates, %.0f %% in %s; a wider dtype keeps them", 100*m.report.LostShare, 100*worst.LostShare, worst.Name)
	}
	m.report.Untouched = []string{}
	for _, info := range m.base.Tensors() {
		if !merged[info.Name] {
			m.report.Untouched = append(m.report.Untouched, info.Name)
		}
	}
	if changed == 0 && !m.opts.AllowNoEffect {
		return fmt.Errorf("lora: %s: %w: rounding to the stored format undoes all %d updates", m.opts.adapterDirs(), errNoEffect, updates)
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

// scales returns the scales of adapters by kind of module.
func scales(adapters []weightedAdapter) map[string][]float64 {
	byKind := map[string][]float64{}
	for _, a := range adapters {
		for _, m := range a.Modules {
			kind := lastSegment(m.Name)
			byKind[kind] = append(byKind[kind], a.Config.ScaleOf(m.Name))
		}
	}
	for kind, s := range byKind {
		slices.Sort(s)
		byKind[kind] = slices.Compact(s)
	}
	return byKind
}
