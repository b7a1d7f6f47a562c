package salamandra

import (
	"cmp"
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

	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/quantize"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// Options says how a model is loaded.
type Options struct {
	// Dtype is the dtype the weights have on the device and the forward pass
	// computes in: "float32", "bfloat16", "float16", or "auto": the stored
	// dtype on an accelerator, float32 on a CPU, where 16-bit products are slow.
	Dtype string
	// NoBFloat16 makes "auto" take float16 in place of bfloat16, which GPUs before
	// compute capability 8.0 do not have: XLA computes in float32 for it there, and
	// converts the weights in every call.
	NoBFloat16 bool
	// Quantize, unless empty, stores the linear layers of the blocks in fewer bits:
	// "4bit" as bitsandbytes' NF4 with double quantisation, "8bit" in whole numbers
	// with one scale per row of the weight. Products are computed in Dtype all the
	// same. Embedding, norms and head keep Dtype. A model whose files hold bitsandbytes'
	// NF4 is one of 4 bits without it.
	Quantize string
	// Progress, if not nil, is called after each tensor with the parameters
	// loaded so far and their total number.
	Progress func(phase string, done, total int64)
	// Compiled, if not nil, is called when a program has been compiled, before
	// it runs.
	Compiled func()
	// PlainAttention leaves attention to matrix products where the executor has
	// an operation for it, as XLA has on CUDA.
	PlainAttention bool
	// Shards, above 1, divides the weights among as many devices, the backend's first
	// ones, which compute each token together: for a model that one has no room for.
	// Attention is left to matrix products. 0 and 1 are one device.
	Shards int
}

// DefaultOptions returns Dtype "auto" and nothing else.
func DefaultOptions() Options { return Options{Dtype: "auto"} }

// Model is a Llama-architecture model with its weights on a device. Its methods
// may be called from several goroutines.
type Model struct {
	llama.Config
	Dir string // where it was loaded from

	backend compute.Backend
	device  compute.DeviceNum // that has the weights
	replica bool              // the files are another's
	options Options
	dtype   dtypes.DType
	weights onDevice
	rows    *rows // the embedding, nil where it is on the device as the head
}

// Load reads a model directory as Hugging Face tools write it: config.json and
// model.safetensors, or shards with model.safetensors.index.json.
//
// The files are memory-mapped and go to the device tensor by tensor, so that
// the host never holds a second copy of more than one tensor. The embedding, unless it
// is the head as well, stays in its file, which is open as long as the model; see
// [Model.Tokens]. Every tensor is
// accounted for by name and shape: the error lists all that are missing, left
// over or misshapen. A weight that is an infinity or a NaN is refused with its file
// and tensor: nothing that is computed with it would be a number.
func Load(ctx context.Context, backend compute.Backend, dir string, opts Options) (*Model, error) {
	files, err := modelfiles.OpenQuantized(dir)
	if err != nil {
		return nil, fmt.Errorf("salamandra: %w", err)
	}
	m, err := load(ctx, backend, files, opts)
	if err != nil || m.rows == nil {
		err = errors.Join(err, files.Close())
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// load is Load from open files, which a model keeps that has rows.
func load(ctx context.Context, backend compute.Backend, files *modelfiles.Files, opts Options) (_ *Model, err error) {
	config, dir := files.Config, files.Dir
	dtype, err := opts.DTypeOn(backend, config)
	if err != nil {
		return nil, err
	}
	if err := opts.checkQuantize(config); err != nil {
		return nil, fmt.Errorf("salamandra: %w", err)
	}
	shards, err := newShards(backend, config, opts.Shards, cmp.Or(opts.Quantize, config.Quantization))
	if err != nil {
		return nil, fmt.Errorf("salamandra: %s: %w", dir, err)
	}
	m := &Model{Config: config, Dir: dir, backend: backend, options: opts, dtype: dtype, weights: onDevice{layers: config.NumHiddenLayers, places: map[string]place{}, shards: shards}}
	defer func() {
		if err != nil {
			_ = errors.Join(m.weights.close()...)
		}
	}()
	if !config.TieWordEmbeddings {
		if m.rows, err = openRows(files); err != nil {
			return nil, fmt.Errorf("salamandra: %w", err)
		}
	}
	total, done := config.NumParameters(), int64(0)
	linears := config.Linears()
	for _, t := range config.Tensors() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		linear, quantized := slices.Contains(linears, strings.TrimSuffix(t.Name, ".weight")), ""
		if linear {
			quantized = opts.quantized(files, t.Name)
		}
		if err := m.loadTensor(files, t, linear, quantized); err != nil {
			return nil, fmt.Errorf("salamandra: %w", err)
		}
		files.Release(t.Name)
		if done += numElements(t); opts.Progress != nil {
			opts.Progress("loading "+dir, done, total)
		}
	}
	return m, nil
}

// numElements is how many numbers a tensor has.
func numElements(t llama.Tensor) int64 { return int64(shapes.Make(dtypes.Float32, t.Shape...).Size()) }

// loadTensor puts a tensor on the device and refuses one that is not finite.
func (m *Model) loadTensor(files *modelfiles.Files, tensor llama.Tensor, linear bool, quantized string) error {
	checked := make(chan error, 1)
	go func() { checked <- files.CheckFinite(tensor.Name) }() // beside the upload, which reads the same pages
	if quantized != "" {                                      // only finite numbers have codes
		if err := <-checked; err != nil {
			return err
		}
		close(checked)
	}
	var err error
	if m.rows == nil || tensor.Name != embeddingName {
		err = m.weights.upload(m.backend, files, tensor, linear, m.dtype, quantized)
	}
	if err != nil {
		err = fmt.Errorf("%s: tensor %s: %w", m.Dir, tensor.Name, err)
	}
	return cmp.Or(<-checked, err)
}

// checkQuantize refuses to quantise otherwise what is quantised in its files.
func (o Options) checkQuantize(config llama.Config) error {
	if err := quantize.Check(o.Quantize); err != nil {
		return fmt.Errorf("option Quantize: %w", err)
	}
	if q := config.Quantization; q != "" && o.Quantize != "" && o.Quantize != q {
		return fmt.Errorf("option Quantize %s: the model's files hold it in %s already; use the 16-bit model it was made from", o.Quantize, q)
	}
	return nil
}

// quantized is what the weight of a linear layer becomes, or is in the files. What
// bitsandbytes was told to leave stays as it is.
func (o Options) quantized(files *modelfiles.Files, name string) string {
	switch info, _ := files.Info(name); {
	case files.Config.Quantization == "":
		return o.Quantize
	case info.Dtype == safetensors.U8:
		return files.Config.Quantization
	}
	return ""
}

// DTypeOn resolves Dtype for a model of this configuration.
func (o Options) DTypeOn(backend compute.Backend, config llama.Config) (dtypes.DType, error) {
	name := o.Dtype
	if name == "auto" {
		name = "float32"
		if accelerator := !backend.HasSharedBuffers(); accelerator && config.TorchDtype != "" {
			name = config.TorchDtype
			if name == "bfloat16" && o.NoBFloat16 {
				name = "float16"
			}
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

// storedDtypes are the safetensors names of the dtypes a model computes in.
var storedDtypes = map[dtypes.DType]safetensors.Dtype{
	dtypes.Float32: safetensors.F32, dtypes.BFloat16: safetensors.BF16, dtypes.Float16: safetensors.F16,
}

// Close frees the weights on the device and closes the files. The model, and
// replicas of it, must not be used after it.
func (m *Model) Close() error {
	errs := m.weights.close()
	if m.rows != nil && !m.replica {
		errs = append(errs, m.rows.files.Close())
	}
	return errors.Join(errs...)
}

// Backend returns the backend the model was loaded on.
func (m *Model) Backend() compute.Backend { return m.backend }

// Shards returns how many devices the weights are divided among, 1 for a model that
// is on one.
func (m *Model) Shards() int {
	if m.weights.shards == nil {
		return 1
	}
	return m.weights.shards.n
}

// DType returns the dtype of the weights on the device and of the forward pass.
func (m *Model) DType() dtypes.DType { return m.dtype }

// RowNorms returns, for each linear layer named, the Euclidean norm of each row
// of its weight [out, in], in float32.
func (m *Model) RowNorms(names []string) ([][]float32, error) {
	p, err := m.NewProgram("row norms", nil, func(t Transformer, args []*graph.Node) []*graph.Node {
		after := graph.ConvertDType(args[0], m.dtype)
		var norms []*graph.Node
		for _, name := range names {
			w := graph.ConvertDType(t.LinearWeight(name).Matrix(after), dtypes.Float32)
			norms = append(norms, graph.Sqrt(graph.ReduceSum(graph.Square(w), -1)))
		}
		return norms
	})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	out, err := p.Call(float32(0))
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
