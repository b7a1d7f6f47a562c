package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/internal/wrongfile"
	"github.com/impulse-salamandra/finetune/lora/internal/update"
)

// Names of the files of an adapter directory, as PEFT has them.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// errNoAdapter reports a directory without an adapter_config.json.
var errNoAdapter = errors.New("not an adapter directory")

// Causes of an error about tensors.
var (
	// errMissing reports a tensor that should be there.
	errMissing = errors.New("tensor is missing")
	// errLeftOver reports a tensor that has no place.
	errLeftOver = errors.New("tensor is left over")
	// errShape reports a tensor of the wrong shape or format.
	errShape = errors.New("tensor has the wrong shape")
	// errNotFinite reports a tensor with an infinity or a NaN.
	errNotFinite = errors.New("tensor holds infinities or NaN")
)

// An Adapter is the content of an adapter directory.
type Adapter struct {
	Config  Config
	Modules []Module // by name

	// Warnings are what a person should know of files that were read: settings
	// that are not known and were left aside, as PEFT leaves them.
	Warnings []string

	stored []storedWeight
}

// A Module is the adapter of one linear layer with weight [Out, In].
type Module struct {
	Name      string // as in the base, "model.layers.0.self_attn.q_proj"
	In, Out   int
	Rank      int
	A         []float32 // [Rank, In], row-major
	B         []float32 // [Out, Rank], row-major
	Magnitude []float32 // [Out] with DoRA, otherwise nil
}

// part returns the module as it is added to a weight.
func (m Module) part(scale, weight float64) update.Part {
	return update.Part{Factors: update.Factors(m), Scale: scale, Weight: weight}
}

// Active counts the modules that change their layer: those in which B*A is not
// zero, and all of a DoRA adapter. An adapter saved before its first step has
// none. ReadAdapter and Attach leave out no tensor, so that what is active in
// the file is active on the model.
func (a *Adapter) Active() int {
	n := 0
	for _, m := range a.Modules {
		if !update.Factors(m).IsZero() {
			n++
		}
	}
	return n
}

// prefix begins every tensor name in PEFT's files.
const prefix = "base_model.model."

// Ends of tensor names in PEFT's files.
const (
	suffixA         = ".lora_A.weight"
	suffixB         = ".lora_B.weight"
	suffixMagnitude = ".lora_magnitude_vector"
)

// foreignTensors are parts of tensor names that tell what an adapter of
// another kind trained.
var foreignTensors = []struct{ part, reason string }{
	{".lora_embedding_", "an embedding is adapted"},
	{".lora_B.bias", "B has a bias"},
	{".bias", "a bias of the base was trained"},
	{".modules_to_save.", "a whole module was trained"},
	{".trainable_tokens_", "rows of the embedding were trained"},
}

// ReadAdapter reads an adapter directory as PEFT writes it:
// adapter_config.json and adapter_model.safetensors, whose floats may be of any
// width and become float32. A file of tensors named as in the live model, with the
// adapter's name inside (".lora_A.default.weight"), is read as well.
//
// Every tensor is accounted for; copies of base weights are held against the base
// by [Adapter.CheckBase]. The error lists all settings, or all tensors,
// that are wrong.
func ReadAdapter(dir string) (*Adapter, error) {
	config, order, warnings, err := readConfig(filepath.Join(dir, ConfigFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wrongfile.ExplainAdapter(dir, fmt.Errorf("no %s in %s: %w", ConfigFile, dir, errNoAdapter))
	}
	if err != nil {
		if stat, _ := os.Stat(dir); stat != nil && !stat.IsDir() {
			err = wrongfile.ExplainAdapter(dir, err)
		}
		return nil, err
	}
	path := filepath.Join(dir, WeightsFile)
	file, err := safetensors.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wrongfile.ExplainAdapter(dir, err)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()

	list := &faults.List{Subject: path}
	a := &Adapter{Config: config, Warnings: warnings}
	if err = a.readModules(file, list); err != nil {
		return nil, err
	}
	a.check(list)
	a.checkOrder(list, order)
	if err := list.Err(); err != nil {
		return nil, err
	}
	return a, nil
}

// readModules gathers the tensors of each module. A module with a faulty
// tensor is left out, and the fault recorded.
func (a *Adapter) readModules(file *safetensors.Reader, list *faults.List) error {
	byName := map[string]*Module{}
	faulty := map[string]bool{}
	for _, info := range file.Tensors() {
		name, suffix, ok := splitTensorName(info.Name)
		if weight := storedWeightOf(info.Name); !ok && weight != "" {
			a.stored = append(a.stored, storedWeight{path: file.Paths()[0], tensor: info.Name, weight: weight})
			continue
		}
		if !ok {
			foreign(list, info.Name)
			continue
		}
		if byName[name] == nil {
			byName[name] = &Module{Name: name, Rank: a.Config.rankOf(name)}
		}
		values, err := readFloats(file, info)
		if err == nil {
			err = byName[name].set(suffix, info.Shape, values)
		}
		if errors.Is(err, errShape) || errors.Is(err, errLeftOver) || errors.Is(err, errUnsupported) {
			list.Add(info.Name, err)
			faulty[name] = true
		} else if err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(byName) {
		if !faulty[name] {
			a.Modules = append(a.Modules, *byName[name])
		}
	}
	return nil
}

// readFloats returns the elements of a tensor, or errShape if they are no
// floats.
func readFloats(file *safetensors.Reader, info safetensors.Info) ([]float32, error) {
	data, err := file.Bytes(info.Name)
	if err != nil {
		return nil, err
	}
	defer file.Release(info.Name)
	switch info.Dtype {
	case safetensors.F64, safetensors.F32, safetensors.F16, safetensors.BF16:
	default:
		return nil, fmt.Errorf("%w: stored as %s, want F32, F16, BF16 or F64", errUnsupported, info.Dtype)
	}
	values := make([]float32, info.NumElements())
	return values, safetensors.DecodeFloat32(values, data, info.Dtype)
}

// tensorName takes the names of PEFT's files apart: module, which of its tensors,
// and the adapter's name where a state dict of the live model was stored. Older
// versions wrote ".weight" behind a magnitude too.
var tensorName = regexp.MustCompile(`^` + regexp.QuoteMeta(prefix) + `(.+)\.(?:(lora_[AB])(?:\.([^.]+))?\.weight|(lora_magnitude_vector)(?:\.([^.]+?))??(?:\.weight)?)$`)

// wrappers are the names that torch.compile, FSDP, activation checkpointing and
// data parallelism put between those of modules while a model is trained.
var wrappers = regexp.MustCompile(`^module\.|\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.`)

// splitTensorName splits a name of PEFT's files into module and suffix.
func splitTensorName(tensor string) (module, suffix string, ok bool) {
	m := tensorName.FindStringSubmatch(wrappers.ReplaceAllString(tensor, ""))
	switch {
	case m == nil:
		return "", "", false
	case m[4] != "":
		return m[1], suffixMagnitude, true
	}
	return m[1], "." + m[2] + ".weight", true
}

// set stores one tensor of the module.
func (m *Module) set(suffix string, shape []int, values []float32) error {
	dims, dst := 2, &m.A
	switch suffix {
	case suffixB:
		dst = &m.B
	case suffixMagnitude:
		dims, dst = 1, &m.Magnitude
	}
	if len(shape) != dims || len(values) == 0 {
		return fmt.Errorf("%w: %v, want %d dimensions above 0", errShape, shape, dims)
	}
	if *dst != nil {
		return fmt.Errorf("%w: stored under two names", errLeftOver)
	}
	*dst = values
	switch suffix {
	case suffixA:
		if m.In = shape[1]; shape[0] != m.Rank {
			return fmt.Errorf("%w: %v, want [%d %d]", errShape, shape, m.Rank, m.In)
		}
	case suffixB:
		if m.Out = shape[0]; shape[1] != m.Rank {
			return fmt.Errorf("%w: %v, want [%d %d]", errShape, shape, m.Out, m.Rank)
		}
	}
	return nil
}

// foreign records a tensor that belongs to no LoRA pair.
func foreign(f *faults.List, tensor string) {
	for _, t := range foreignTensors {
		if strings.Contains(tensor, t.part) {
			f.Addf(tensor, "%w: %s", errUnsupported, t.reason)
			return
		}
	}
	f.Addf(tensor, "%w: want %sMODULE with %s, %s or %s", errLeftOver, prefix, suffixA, suffixB, suffixMagnitude)
}

// check records every module that the configuration does not ask for and every
// tensor that is missing, left over, misshapen or not finite.
func (a *Adapter) check(f *faults.List) {
	if len(a.Modules) == 0 && f.Len() == 0 {
		f.Addf("", "%w: the adapter has no modules", errMissing)
	}
	for i, m := range a.Modules {
		name := prefix + m.Name
		if i > 0 && a.Modules[i-1].Name >= m.Name {
			f.Addf(name, "%w: modules are not sorted by name, or one is there twice", errLeftOver)
		}
		if !a.Config.Matches(m.Name) {
			f.Addf(name, "%w: target_modules and the other settings of %s do not select its layer", errLeftOver, ConfigFile)
		}
		if rank := a.Config.rankOf(m.Name); m.Rank != rank {
			f.Addf(name, "%w: rank %d, want %d", errShape, m.Rank, rank)
		}
		checkTensor(f, name+suffixA, m.A, true, m.Rank, m.In)
		checkTensor(f, name+suffixB, m.B, true, m.Out, m.Rank)
		checkTensor(f, name+suffixMagnitude, m.Magnitude, a.Config.UseDoRA, m.Out)
	}
}

// checkTensor records what is wrong with one tensor of a module.
func checkTensor(f *faults.List, name string, values []float32, wanted bool, shape ...int) {
	size := 1
	for _, d := range shape {
		size *= d
	}
	switch {
	case wanted && len(values) == 0:
		f.Addf(name, "%w: want it beside the module's other tensors", errMissing)
	case !wanted && values != nil:
		f.Addf(name, "%w: use_dora is off", errLeftOver)
	case wanted && len(values) != size:
		f.Addf(name, "%w: %d elements, want %v", errShape, len(values), shape)
	case slices.ContainsFunc(values, notFinite):
		f.Addf(name, "%w: training has diverged", errNotFinite)
	}
}

// notFinite reports whether v is an infinity or a NaN.
func notFinite(v float32) bool { return math.IsInf(float64(v), 0) || v != v }

// checkOrder records modules for which two keys of a pattern disagree and the
// file lists them in another order than PEFT writes: PEFT would take the first
// of the file, this package the first in sorted order.
func (a *Adapter) checkOrder(f *faults.List, order patternOrder) {
	for _, m := range a.Modules {
		if r := patternValue(a.Config.RankPattern, order.rank, m.Name, a.Config.Rank); r != a.Config.rankOf(m.Name) {
			f.Addf(prefix+m.Name, "%w: rank_pattern means rank %d or %d by the order of its keys", errUnsupported, r, a.Config.rankOf(m.Name))
		}
		if v := patternValue(a.Config.AlphaPattern, order.alpha, m.Name, a.Config.Alpha); v != a.Config.alphaOf(m.Name) {
			f.Addf(prefix+m.Name, "%w: alpha_pattern means alpha %v or %v by the order of its keys", errUnsupported, v, a.Config.alphaOf(m.Name))
		}
	}
}

// Write stores the adapter in dir, making the directory if need be, so that
// PEFT 0.7 and later load it: float32 tensors, and the configuration last.
// Each file appears when it is complete. It refuses what ReadAdapter would
// refuse.
func (a *Adapter) Write(dir string) error {
	if err := a.Config.Validate(); err != nil {
		return err
	}
	path := filepath.Join(dir, WeightsFile)
	list := &faults.List{Subject: path}
	a.check(list)
	if err := list.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := a.writeWeights(path); err != nil {
		return err
	}
	return writeConfig(filepath.Join(dir, ConfigFile), a.Config)
}

// writeWeights writes the tensors of all modules.
func (a *Adapter) writeWeights(path string) error {
	var infos []safetensors.Info
	values := map[string][]float32{}
	add := func(name string, v []float32, shape ...int) {
		infos = append(infos, safetensors.Info{Name: name, Dtype: safetensors.F32, Shape: shape})
		values[name] = v
	}
	for _, m := range a.Modules {
		add(prefix+m.Name+suffixA, m.A, m.Rank, m.In)
		add(prefix+m.Name+suffixB, m.B, m.Out, m.Rank)
		if m.Magnitude != nil {
			add(prefix+m.Name+suffixMagnitude, m.Magnitude, m.Out)
		}
	}
	infos = safetensors.InFileOrder(infos)
	w, err := safetensors.Create(path, infos, map[string]string{"format": "pt"})
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, info := range infos {
		if err := w.WriteFloats(info.Name, values[info.Name]); err != nil {
			return err
		}
	}
	return w.Commit()
}
