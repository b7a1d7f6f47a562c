package salamandra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// ErrWeights marks a checkpoint whose tensors are not those its config.json
// asks for.
var ErrWeights = errors.New("tensors do not fit config.json")

// Options says how a model is loaded.
type Options struct {
	// Dtype is the dtype the weights have on the device and the forward pass
	// computes in: "float32", "bfloat16", "float16", or "auto": the stored
	// dtype on an accelerator, float32 on a CPU, where 16-bit products are slow.
	Dtype string
	// Progress, if not nil, is called after each tensor with the parameters
	// loaded so far and their total number.
	Progress func(done, total int64)
	// Compiled, if not nil, is called when a program has been compiled, before
	// it runs.
	Compiled func()
	// PlainAttention leaves attention to matrix products where the executor has
	// an operation for it, as XLA has on CUDA.
	PlainAttention bool
}

// DefaultOptions returns Dtype "auto" and nothing else.
func DefaultOptions() Options { return Options{Dtype: "auto"} }

// Model is a Llama-architecture model with its weights on a device. Its methods
// may be called from several goroutines.
type Model struct {
	Config Config
	Dir    string // where it was loaded from

	backend compute.Backend
	options Options
	dtype   dtypes.DType
	shapes  []TensorShape
	index   map[string]int // name to place in shapes and weights
	weights []*tensors.Tensor
}

// Load reads a model directory as Hugging Face tools write it: config.json and
// model.safetensors, or shards with model.safetensors.index.json.
//
// The files are memory-mapped and go to the device tensor by tensor, so that
// the host never holds a second copy of more than one tensor. Every tensor is
// accounted for by name and shape: the error, which wraps [ErrWeights], lists
// all that are missing, left over or misshapen.
func Load(ctx context.Context, backend compute.Backend, dir string, opts Options) (*Model, error) {
	config, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	dtype, err := opts.DTypeOn(backend, config)
	if err != nil {
		return nil, err
	}
	files, err := safetensors.OpenModel(dir)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	m := &Model{Config: config, Dir: dir, backend: backend, options: opts, dtype: dtype, shapes: config.Tensors(), index: map[string]int{}}
	for i, t := range m.shapes {
		m.index[t.Name] = i
	}
	if err := checkTensors(config, files.Tensors()); err != nil {
		return nil, fmt.Errorf("salamandra: %s: %w", dir, err)
	}
	total, done := config.NumParameters(), int64(0)
	for _, t := range m.shapes {
		if err := ctx.Err(); err != nil {
			m.Close()
			return nil, err
		}
		info, _ := files.Info(t.Name)
		w, err := upload(backend, files, info, dtype)
		if err != nil {
			m.Close()
			return nil, fmt.Errorf("salamandra: %s: tensor %s: %w", dir, t.Name, err)
		}
		m.weights = append(m.weights, w)
		if done += int64(w.Size()); opts.Progress != nil {
			opts.Progress(done, total)
		}
	}
	return m, nil
}

// DTypeOn resolves Dtype for a model of this configuration.
func (o Options) DTypeOn(backend compute.Backend, config Config) (dtypes.DType, error) {
	name := o.Dtype
	if name == "auto" {
		name = "float32"
		if OnAccelerator(backend) && config.TorchDtype != "" {
			name = config.TorchDtype
		}
	}
	switch name {
	case "float32":
		return dtypes.Float32, nil
	case "bfloat16":
		return dtypes.BFloat16, nil
	case "float16":
		return dtypes.Float16, nil
	}
	return dtypes.InvalidDType, fmt.Errorf("salamandra: dtype %q, want auto, float32, bfloat16 or float16", name)
}

// OnAccelerator tells whether the backend computes on something other than the
// host's processor.
func OnAccelerator(backend compute.Backend) bool {
	d := strings.ToLower(backend.Description() + " " + backend.DeviceDescription(0))
	return strings.Contains(d, "cuda") || strings.Contains(d, "gpu") || strings.Contains(d, "tpu")
}

// checkTensors compares what a checkpoint holds with what the configuration
// asks for.
func checkTensors(config Config, stored []safetensors.Info) error {
	have := map[string]safetensors.Info{}
	for _, t := range stored {
		have[t.Name] = t
	}
	var faults []string
	for _, want := range config.Tensors() {
		t, ok := have[want.Name]
		delete(have, want.Name)
		switch {
		case !ok:
			faults = append(faults, fmt.Sprintf("missing %s %v", want.Name, want.Shape))
		case !slices.Equal(t.Shape, want.Shape):
			faults = append(faults, fmt.Sprintf("%s is %v, want %v", want.Name, t.Shape, want.Shape))
		case t.Dtype != safetensors.F32 && t.Dtype != safetensors.BF16 && t.Dtype != safetensors.F16:
			faults = append(faults, fmt.Sprintf("%s is %s, want F32, BF16 or F16", want.Name, t.Dtype))
		}
	}
	for _, t := range stored {
		if _, left := have[t.Name]; left && !redundant(config, t.Name) {
			faults = append(faults, fmt.Sprintf("left over %s %v", t.Name, t.Shape))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w: %s", ErrWeights, strings.Join(faults, "; "))
	}
	return nil
}

// redundant tells whether a tensor repeats what the model holds anyway: the
// head of a model with tied embeddings, the frequencies that old versions of
// Transformers stored.
func redundant(config Config, name string) bool {
	return config.TieWordEmbeddings && name == "lm_head.weight" || strings.HasSuffix(name, ".rotary_emb.inv_freq")
}

// storedDtypes are the safetensors names of the dtypes a model computes in.
var storedDtypes = map[dtypes.DType]safetensors.Dtype{
	dtypes.Float32: safetensors.F32, dtypes.BFloat16: safetensors.BF16, dtypes.Float16: safetensors.F16,
}

// upload puts one stored tensor on the device as dtype.
func upload(backend compute.Backend, files *safetensors.Model, info safetensors.Info, dtype dtypes.DType) (*tensors.Tensor, error) {
	data, err := files.Bytes(info.Name)
	if err != nil {
		return nil, err
	}
	want := storedDtypes[dtype]
	if info.Dtype != want {
		values := make([]float32, info.NumElements())
		if err := safetensors.DecodeFloat32(values, data, info.Dtype); err != nil {
			return nil, err
		}
		data = make([]byte, len(values)*want.Size())
		if err := safetensors.EncodeFloat32(data, values, want); err != nil {
			return nil, err
		}
	}
	return tensors.FromRaw(backend, 0, shapes.Make(dtype, info.Shape...), data)
}

// Close frees the weights on the device. The model must not be used after it.
func (m *Model) Close() error {
	var errs []error
	for _, w := range m.weights {
		errs = append(errs, w.FinalizeAll())
	}
	m.weights = nil
	return errors.Join(errs...)
}

// Backend returns the backend the model was loaded on.
func (m *Model) Backend() compute.Backend { return m.backend }

// DType returns the dtype of the weights on the device and of the forward pass.
func (m *Model) DType() dtypes.DType { return m.dtype }

// Linears lists the linear layers of the blocks; see [Config.Linears].
func (m *Model) Linears() []string { return m.Config.Linears() }

// LinearShape returns the sizes of a linear layer's weight [out, in], zeros if
// there is no such layer.
func (m *Model) LinearShape(name string) (out, in int) {
	if i, ok := m.index[name+".weight"]; ok && len(m.shapes[i].Shape) == 2 {
		return m.shapes[i].Shape[0], m.shapes[i].Shape[1]
	}
	return 0, 0
}

// RowNorms returns, for each linear layer named, the Euclidean norm of each row
// of its weight [out, in], in float32.
func (m *Model) RowNorms(names []string) ([][]float32, error) {
	p, err := m.NewProgram("row norms", nil, func(t Transformer, _ []*graph.Node) []*graph.Node {
		var norms []*graph.Node
		for _, name := range names {
			w := graph.ConvertDType(t.Weight(name+".weight"), dtypes.Float32)
			norms = append(norms, graph.Sqrt(graph.ReduceSum(graph.Square(w), -1)))
		}
		return norms
	})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	out, err := p.Call()
	if err != nil {
		return nil, err
	}
	norms := make([][]float32, len(out))
	for i, t := range out {
		if norms[i], err = tensors.CopyFlatData[float32](t); err != nil {
			return nil, fmt.Errorf("salamandra: %w", err)
		}
	}
	return norms, nil
}
