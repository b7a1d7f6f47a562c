package quantize

import (
	"encoding/json"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// The tensors beside a weight that bitsandbytes quantised are named after it.
const (
	absmaxPart       = ".absmax"
	mapPart          = ".quant_map"
	nestedAbsmaxPart = ".nested_absmax"
	nestedMapPart    = ".nested_quant_map"
	statePart        = ".quant_state.bitsandbytes__nf4"
)

// Parts are what follows the name of a weight in those tensors.
var Parts = []string{absmaxPart, mapPart, nestedAbsmaxPart, nestedMapPart, statePart}

// state is what bitsandbytes keeps as JSON.
type state struct {
	QuantType       string  `json:"quant_type"`
	Blocksize       int     `json:"blocksize"`
	Shape           []int   `json:"shape"`
	NestedBlocksize int     `json:"nested_blocksize"`
	NestedOffset    float64 `json:"nested_offset"`
}

// Files are where tensors are read from; *safetensors.Reader is one.
type Files interface {
	Info(name string) (safetensors.Info, bool)
	Bytes(name string) ([]byte, error)
}

// ReadNF4 reads the weight called name, [out, in], as bitsandbytes stores it, with
// scales in 8 bits or in float32. The error lists all that it lacks.
func ReadNF4(files Files, name string, out, in int) (NF4, error) {
	r := nf4Reader{files: files, name: name, faults: faults.List{Subject: name}}
	n := out * in
	count := blocks(n, blockSize)
	s := r.state(out, in)
	packed := r.bytes("", blocks(n, 2))
	r.values(mapPart, nf4Values[:])
	q := NF4{Absmax: r.scales(s, count)}
	for _, x := range q.Absmax {
		if notFinite(x) {
			r.faults.Addf(name+absmaxPart, "a scale is %v, want finite numbers", x)
			break
		}
	}
	if err := r.faults.Err(); err != nil {
		return NF4{}, err
	}
	q.Codes = make([]byte, n)
	for i := range q.Codes {
		q.Codes[i] = packed[i/2] >> (4 * (1 - i%2)) & 15
	}
	return q, nil
}

// nf4Reader collects what is wrong with the tensors of one weight.
type nf4Reader struct {
	files  Files
	name   string
	faults faults.List
}

// state reads the JSON.
func (r *nf4Reader) state(out, in int) (s state) {
	name := r.name + statePart
	data, err := r.files.Bytes(name)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	switch {
	case err != nil:
		r.faults.Add(name, err)
		s.NestedBlocksize = nestedBlock // enough is said
	case s.QuantType != "nf4" || s.Blocksize != blockSize:
		r.faults.Addf(name, "quant_type %q in blocks of %d, want nf4 and %d", s.QuantType, s.Blocksize, blockSize)
	case !slices.Equal(s.Shape, []int{out, in}):
		r.faults.Addf(name, "shape %v, want %v by config.json", s.Shape, []int{out, in})
	}
	return s
}

// scales reads those of the blocks.
func (r *nf4Reader) scales(s state, count int) []float32 {
	if info, ok := r.files.Info(r.name + absmaxPart); ok && info.Dtype == safetensors.F32 {
		return r.floats(absmaxPart, count)
	}
	if s.NestedBlocksize != nestedBlock {
		r.faults.Addf(r.name+statePart, "nested_blocksize %d, want %d", s.NestedBlocksize, nestedBlock)
	}
	r.values(nestedMapPart, dynamicValues[:])
	return nested{r.bytes(absmaxPart, count), r.floats(nestedAbsmaxPart, blocks(count, nestedBlock)), float32(s.NestedOffset)}.values()
}

// bytes reads a tensor of n bytes, zeros if it is not one.
func (r *nf4Reader) bytes(part string, n int) []byte {
	return r.tensor(part, safetensors.U8, n)
}

// floats reads a tensor of n numbers, zeros if it is not one.
func (r *nf4Reader) floats(part string, n int) []float32 {
	values := make([]float32, n)
	if err := safetensors.DecodeFloat32(values, r.tensor(part, safetensors.F32, n), safetensors.F32); err != nil {
		r.faults.Add(r.name+part, err)
	}
	return values
}

// values refuses a tensor that does not hold these numbers.
func (r *nf4Reader) values(part string, want []float32) {
	if before := r.faults.Len(); !slices.Equal(r.floats(part, len(want)), want) && r.faults.Len() == before {
		r.faults.Addf(r.name+part, "codes stand for other values than those of bitsandbytes")
	}
}

func (r *nf4Reader) tensor(part string, dtype safetensors.Dtype, n int) []byte {
	name := r.name + part
	info, ok := r.files.Info(name)
	data, err := r.files.Bytes(name)
	switch {
	case !ok:
		r.faults.Addf(name, "missing, want %d of %s", n, dtype)
	case info.Dtype != dtype || info.NumElements() != n:
		r.faults.Addf(name, "is %s %v, want %d of %s", info.Dtype, info.Shape, n, dtype)
	case err != nil:
		r.faults.Add(name, err)
	default:
		return data
	}
	return make([]byte, n*dtype.Size())
}

func notFinite(x float32) bool { return x-x != 0 }
