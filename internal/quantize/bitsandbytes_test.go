package quantize

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// tensor is one of a file.
type tensor struct {
	info safetensors.Info
	data []byte
}

// storedNF4 are the tensors that bitsandbytes writes for the golden weight "even",
// [32, 128], as "w".
func storedNF4(t testing.TB) stored {
	files, err := safetensors.Open("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	offset, err := files.Bytes("even.offset")
	if err != nil {
		t.Fatal(err)
	}
	all := stored{"w" + statePart: {data: stateJSON(math.Float32frombits(binary.LittleEndian.Uint32(offset)))}}
	for part, golden := range map[string]string{"": "even.packed", absmaxPart: "even.codes", mapPart: "code", nestedAbsmaxPart: "even.nested_absmax", nestedMapPart: "map"} {
		info, _ := files.Info(golden)
		data, err := files.Bytes(golden)
		if err != nil {
			t.Fatal(err)
		}
		all["w"+part] = tensor{info, slices.Clone(data)}
	}
	for name, x := range all {
		if x.info.Name = name; x.info.Dtype == "" {
			x.info.Dtype, x.info.Shape = safetensors.U8, []int{len(x.data)}
		}
		all[name] = x
	}
	return all
}

func stateJSON(offset float32) []byte {
	text := `{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [32, 128], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": `
	return fmt.Appendf(nil, "%s%v}", text, offset)
}

// stored are the tensors of a model.
type stored map[string]tensor

func (s stored) Info(name string) (safetensors.Info, bool) { x, ok := s[name]; return x.info, ok }

func (s stored) Bytes(name string) ([]byte, error) {
	if x, ok := s[name]; ok {
		return x.data, nil
	}
	return nil, errors.New("no such tensor")
}

func read(all stored) (NF4, error) { return ReadNF4(all, "w", 32, 128) }

func TestReadNF4(t *testing.T) {
	all := storedNF4(t)
	q, err := read(all)
	if err != nil {
		t.Fatal(err)
	}
	g := openGolden(t)
	g.same("even.dequantised", q.Values())

	// without double quantisation the scales are in float32
	plain, info := g.raw("even.absmax")
	info.Name = "w" + absmaxPart
	all[info.Name] = tensor{info, plain}
	delete(all, "w"+nestedAbsmaxPart)
	delete(all, "w"+nestedMapPart)
	if q, err = read(all); err != nil {
		t.Fatal(err)
	}
	g.same("even.absmax", q.Absmax)
}

func TestReadNF4Refuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(all stored)
		want   []string
	}{
		{"nothing beside it", func(all stored) {
			for _, part := range Parts {
				delete(all, "w"+part)
			}
		}, []string{"w.absmax: missing", "w.quant_map: missing", statePart + ": no such tensor"}},
		{"fp4", func(all stored) { replace(all, statePart, "nf4", "fp4") }, []string{`quant_type "fp4" in blocks of 64, want nf4 and 64`}},
		{"blocks", func(all stored) {
			replace(all, statePart, `"blocksize": 64`, `"blocksize": 32`)
			replace(all, statePart, `"nested_blocksize": 256`, `"nested_blocksize": 64`)
		}, []string{"blocks of 32", "nested_blocksize 64, want 256"}},
		{"another shape", func(all stored) { replace(all, statePart, "[32, 128]", "[64, 64]") }, []string{"shape [64 64], want [32 128] by config.json"}},
		{"no JSON", func(all stored) { replace(all, statePart, "{", "[") }, []string{"w" + statePart + ": "}},
		{"another table", func(all stored) { all["w"+mapPart].data[0]++ }, []string{"w.quant_map: codes stand for other values"}},
		{"too short", func(all stored) {
			x := all["w"]
			x.info.Shape, x.data = []int{8, 1}, x.data[:8]
			all["w"] = x
		}, []string{"w: is U8 [8 1], want 2048 of U8"}},
		{"not finite", func(all stored) {
			binary.LittleEndian.PutUint32(all["w"+nestedAbsmaxPart].data, math.Float32bits(float32(math.Inf(1))))
		}, []string{"w.absmax: a scale is"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			all := storedNF4(t)
			row.change(all)
			_, err := read(all)
			for _, want := range row.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
		})
	}
}

// replace changes the text of a tensor.
func replace(all stored, part, from, to string) {
	x := all["w"+part]
	x.data = []byte(strings.Replace(string(x.data), from, to, 1))
	x.info.Shape = []int{len(x.data)}
	all["w"+part] = x
}

// FuzzReadNF4: no state and no scales make reading panic, and what is read is finite.
func FuzzReadNF4(f *testing.F) {
	f.Add(stateJSON(0.5), []byte{0, 0, 128, 63}, true)
	f.Add([]byte(`{"quant_type":"nf4","blocksize":64,"shape":[32,128],"nested_blocksize":256,"nested_offset":1e300}`), []byte{0, 0, 128, 127}, false)
	f.Fuzz(func(t *testing.T, state, nestedAbsmax []byte, whole bool) {
		all := storedNF4(t)
		all["w"+statePart] = tensor{safetensors.Info{Name: "w" + statePart, Dtype: safetensors.U8, Shape: []int{len(state)}}, state}
		dtype, n := safetensors.F32, len(nestedAbsmax)/4
		if !whole {
			dtype, n = safetensors.U8, len(nestedAbsmax)
		}
		name := "w" + nestedAbsmaxPart
		all[name] = tensor{safetensors.Info{Name: name, Dtype: dtype, Shape: []int{n}}, nestedAbsmax[:n*dtype.Size()]}
		q, err := read(all)
		if err != nil {
			return
		}
		for i, x := range q.Values() {
			if notFinite(x) {
				t.Fatalf("number %d is %v", i, x)
			}
		}
	})
}
