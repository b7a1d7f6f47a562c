package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// Names of the files of an adapter directory, as PEFT has them.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// ErrNoAdapter reports a directory without an adapter_config.json.
var ErrNoAdapter = errors.New("not an adapter directory")

// Causes a caller can test for with errors.Is on an error about tensors.
var (
	// ErrMissing reports a tensor that should be there.
	ErrMissing = errors.New("tensor is missing")
	// ErrLeftOver reports a tensor that has no place.
	ErrLeftOver = errors.New("tensor is left over")
	// ErrShape reports a tensor of the wrong shape or format.
	ErrShape = errors.New("tensor has the wrong shape")
	// ErrNotFinite reports a tensor with an infinity or a NaN.
	ErrNotFinite = errors.New("tensor holds infinities or NaN")
)

// A TensorError is one fault of a tensor with its place.
type TensorError struct {
	Path   string // the file or directory
	Tensor string // the name in that file
	Err    error  // wraps one of ErrMissing, ErrLeftOver, ErrShape, ErrNotFinite, ErrUnsupported
}

// Error returns the place and the fault.
func (e *TensorError) Error() string {
	return fmt.Sprintf("lora: %s: %s: %v", e.Path, e.Tensor, e.Err)
}

// Unwrap returns e.Err.
func (e *TensorError) Unwrap() error { return e.Err }

// tensorFaults collects what is wrong with the tensors at path.
type tensorFaults struct {
	path string
	list []error
}

func (f *tensorFaults) add(tensor string, cause error, format string, args ...any) {
	err := fmt.Errorf("%w: %s", cause, fmt.Sprintf(format, args...))
	f.list = append(f.list, &TensorError{Path: f.path, Tensor: tensor, Err: err})
}

// An Adapter is the content of an adapter directory.
type Adapter struct {
	Config  Config
	Modules []Module // by name
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

// isZero tells whether the module leaves every weight as it is: B*A is zero, and
// there is no magnitude.
func (m Module) isZero() bool {
	if m.Magnitude != nil {
		return false
	}
	column := make([]bool, m.Rank) // of B, not zero
	for i, v := range m.B {
		column[i%m.Rank] = column[i%m.Rank] || v != 0
	}
	for i, v := range m.A {
		if v != 0 && column[i/m.In] {
			return false
		}
	}
	return true
}

// Active counts the modules that change their layer: those in which B*A is not
// zero, and all of a DoRA adapter. An adapter saved before its first step has
// none. ReadAdapter and Attach leave out no tensor, so that what is active in
// the file is active on the model.
func (a *Adapter) Active() int {
	n := 0
	for _, m := range a.Modules {
		if !m.isZero() {
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
	{".modules_to_save.", "a whole module was trained"},
	{".trainable_tokens_", "rows of the embedding were trained"},
	{"embed_tokens.weight", "the embedding is stored whole; save the adapter with save_embedding_layers=False"},
	{"lm_head.weight", "the head is stored whole; save the adapter with save_embedding_layers=False"},
}

// ReadAdapter reads an adapter directory as PEFT writes it:
// adapter_config.json and adapter_model.safetensors, whose floats may be of any
// width and become float32.
//
// Every tensor is accounted for. The error lists all that is wrong: settings
// as [ConfigError], tensors as [TensorError]. Without an adapter_config.json it
// is [ErrNoAdapter].
func ReadAdapter(dir string) (*Adapter, error) {
	config, order, err := readConfig(filepath.Join(dir, ConfigFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lora: no %s in %s: %w", ConfigFile, dir, ErrNoAdapter)
	}
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, WeightsFile)
	file, err := safetensors.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Stat(filepath.Join(dir, "adapter_model.bin")); e == nil {
			return nil, fmt.Errorf("lora: %s: %w: adapter_model.bin can run code when read; save the adapter with safe_serialization=True", dir, ErrUnsupported)
		}
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()

	faults := &tensorFaults{path: path}
	a := &Adapter{Config: config}
	if a.Modules, err = readModules(file, config, faults); err != nil {
		return nil, err
	}
	a.check(faults)
	a.checkOrder(faults, order)
	if err := errors.Join(faults.list...); err != nil {
		return nil, err
	}
	return a, nil
}

// readModules gathers the tensors of each module. A module with a faulty
// tensor is left out, and the fault recorded.
func readModules(file *safetensors.File, config Config, faults *tensorFaults) ([]Module, error) {
	byName := map[string]*Module{}
	faulty := map[string]bool{}
	for _, info := range file.Tensors() {
		name, suffix, ok := splitTensorName(info.Name)
		if !ok {
			faults.foreign(info.Name)
			continue
		}
		if byName[name] == nil {
			byName[name] = &Module{Name: name, Rank: config.RankOf(name)}
		}
		values, err := readFloats(file, info)
		if err == nil {
			err = byName[name].set(suffix, info.Shape, values)
		}
		if errors.Is(err, ErrShape) || errors.Is(err, ErrLeftOver) {
			faults.list = append(faults.list, &TensorError{Path: faults.path, Tensor: info.Name, Err: err})
			faulty[name] = true
		} else if err != nil {
			return nil, err
		}
	}
	var modules []Module
	for _, name := range sortedKeys(byName) {
		if !faulty[name] {
			modules = append(modules, *byName[name])
		}
	}
	return modules, nil
}

// readFloats returns the elements of a tensor, or ErrShape if they are no
// floats.
func readFloats(file *safetensors.File, info safetensors.Info) ([]float32, error) {
	data, err := file.Bytes(info.Name)
	if err != nil {
		return nil, err
	}
	defer file.Release(info.Name)
	values := make([]float32, info.NumElements())
	err = safetensors.DecodeFloat32(values, data, info.Dtype)
	if errors.Is(err, safetensors.ErrDtype) {
		return nil, fmt.Errorf("%w: %s, want F32, F16, BF16 or F64", ErrShape, info.Dtype)
	}
	return values, err
}

// splitTensorName splits a name of PEFT's files into module and suffix.
func splitTensorName(tensor string) (module, suffix string, ok bool) {
	tensor, ok = strings.CutPrefix(tensor, prefix)
	if !ok {
		return "", "", false
	}
	tensor = strings.Replace(tensor, suffixMagnitude+".weight", suffixMagnitude, 1) // as older versions wrote it
	for _, suffix := range []string{suffixA, suffixB, suffixMagnitude} {
		if module, ok := strings.CutSuffix(tensor, suffix); ok && module != "" {
			return module, suffix, true
		}
	}
	return "", "", false
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
		return fmt.Errorf("%w: %v, want %d dimensions above 0", ErrShape, shape, dims)
	}
	if *dst != nil {
		return fmt.Errorf("%w: stored under two names", ErrLeftOver)
	}
	*dst = values
	switch suffix {
	case suffixA:
		if m.In = shape[1]; shape[0] != m.Rank {
			return fmt.Errorf("%w: %v, want [%d %d]", ErrShape, shape, m.Rank, m.In)
		}
	case suffixB:
		if m.Out = shape[0]; shape[1] != m.Rank {
			return fmt.Errorf("%w: %v, want [%d %d]", ErrShape, shape, m.Out, m.Rank)
		}
	}
	return nil
}

// foreign records a tensor that belongs to no LoRA pair.
func (f *tensorFaults) foreign(tensor string) {
	for _, t := range foreignTensors {
		if strings.Contains(tensor, t.part) {
			f.add(tensor, ErrUnsupported, "%s", t.reason)
			return
		}
	}
	f.add(tensor, ErrLeftOver, "want %sMODULE with %s, %s or %s", prefix, suffixA, suffixB, suffixMagnitude)
}

// check records every module that the configuration does not ask for and every
// tensor that is missing, left over, misshapen or not finite.
func (a *Adapter) check(f *tensorFaults) {
	if len(a.Modules) == 0 && len(f.list) == 0 {
		f.add("*", ErrMissing, "the adapter has no modules")
	}
	for i, m := range a.Modules {
		name := prefix + m.Name
		if i > 0 && a.Modules[i-1].Name >= m.Name {
			f.add(name, ErrLeftOver, "modules are not sorted by name, or one is there twice")
		}
		if !a.Config.Matches(m.Name) {
			f.add(name, ErrLeftOver, "target_modules and the other settings do not select %s", m.Name)
		}
		if rank := a.Config.RankOf(m.Name); m.Rank != rank {
			f.add(name, ErrShape, "rank %d, want %d", m.Rank, rank)
		}
		f.checkTensor(name+suffixA, m.A, true, m.Rank, m.In)
		f.checkTensor(name+suffixB, m.B, true, m.Out, m.Rank)
		f.checkTensor(name+suffixMagnitude, m.Magnitude, a.Config.UseDoRA, m.Out)
	}
}

// checkTensor records what is wrong with one tensor of a module.
func (f *tensorFaults) checkTensor(name string, values []float32, wanted bool, shape ...int) {
	size := 1
	for _, d := range shape {
		size *= d
	}
	switch {
	case wanted && len(values) == 0:
		f.add(name, ErrMissing, "want it beside the module's other tensors")
	case !wanted && values != nil:
		f.add(name, ErrLeftOver, "use_dora is off")
	case wanted && len(values) != size:
		f.add(name, ErrShape, "%d elements, want %v", len(values), shape)
	case slices.ContainsFunc(values, notFinite):
		f.add(name, ErrNotFinite, "training has diverged")
	}
}

// notFinite tells whether v is an infinity or a NaN.
func notFinite(v float32) bool { return math.IsInf(float64(v), 0) || v != v }

// checkOrder records modules for which two keys of a pattern disagree and the
// file lists them in another order than PEFT writes: PEFT would take the first
// of the file, this package the first in sorted order.
func (a *Adapter) checkOrder(f *tensorFaults, order patternOrder) {
	for _, m := range a.Modules {
		if r := patternValue(a.Config.RankPattern, order.rank, m.Name, a.Config.Rank); r != a.Config.RankOf(m.Name) {
			f.add(prefix+m.Name, ErrUnsupported, "rank_pattern means rank %d or %d by the order of its keys", r, a.Config.RankOf(m.Name))
		}
		if v := patternValue(a.Config.AlphaPattern, order.alpha, m.Name, a.Config.Alpha); v != a.Config.AlphaOf(m.Name) {
			f.add(prefix+m.Name, ErrUnsupported, "alpha_pattern means alpha %v or %v by the order of its keys", v, a.Config.AlphaOf(m.Name))
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
	faults := &tensorFaults{path: path}
	a.check(faults)
	if err := errors.Join(faults.list...); err != nil {
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
