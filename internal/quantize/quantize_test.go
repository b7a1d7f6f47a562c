package quantize

import (
	"bytes"
	"slices"
	"testing"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// golden is testdata/golden.safetensors, as testdata/make_golden.py made it.
type golden struct {
	*testing.T
	files *safetensors.Reader
}

func openGolden(t *testing.T) golden {
	files, err := safetensors.Open("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	return golden{t, files}
}

func (g golden) raw(name string) ([]byte, safetensors.Info) {
	info, ok := g.files.Info(name)
	data, err := g.files.Bytes(name)
	if !ok || err != nil {
		g.Fatal(name, err)
	}
	return data, info
}

func (g golden) floats(name string) []float32 {
	data, info := g.raw(name)
	values := make([]float32, info.NumElements())
	if err := safetensors.DecodeFloat32(values, data, info.Dtype); err != nil {
		g.Fatal(err)
	}
	return values
}

// matrix returns a weight and the width of its rows.
func (g golden) matrix(name string) ([]float32, int) {
	_, info := g.raw(name)
	return g.floats(name), info.Shape[1]
}

func (g golden) same(name string, got []float32) {
	g.Helper()
	if want := g.floats(name); !slices.Equal(got, want) {
		g.Errorf("%s: not equal bit for bit: %v, want %v", name, got[:min(4, len(got))], want[:min(4, len(want))])
	}
}

func (g golden) sameBytes(name string, got []byte) {
	g.Helper()
	if want, _ := g.raw(name); !bytes.Equal(got, want) {
		g.Errorf("%s: not equal", name)
	}
}

var names = []string{"even", "across", "odd", "short"}

func TestTablesAreThoseOfBitsandbytes(t *testing.T) {
	g := openGolden(t)
	g.same("code", nf4Values[:])
	g.same("map", dynamicValues[:])
}

func TestNF4EqualsBitsandbytes(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t)
			weight, _ := g.matrix(name + ".weight")
			q := ToNF4(weight)
			g.sameBytes(name+".packed", packPairs(q.Codes))
			g.same(name+".dequantised", q.Values())

			plain := g.floats(name + ".absmax")
			n := nest(plain)
			g.same(name+".offset", []float32{n.offset})
			g.same(name+".nested_absmax", n.absmax)
			g.sameBytes(name+".codes", n.codes)
			for b := range plain {
				if got := absmax(block(weight, b, blockSize)); got != plain[b] {
					t.Errorf("block %d: scale %v, want %v", b, got, plain[b])
				}
			}
		})
	}
}

// packPairs packs neighbouring codes, the first in the high bits.
func packPairs(codes []byte) []byte {
	packed := make([]byte, blocks(len(codes), 2))
	for i, c := range codes {
		packed[i/2] |= c << (4 * (1 - i%2))
	}
	return packed
}

func TestScalesAreQuantisedAsOnCUDA(t *testing.T) {
	g := openGolden(t)
	scales := g.floats("scales")
	n := nest(scales)
	g.same("scales.offset", []float32{n.offset})
	g.same("scales.nested_absmax", n.absmax)
	g.sameBytes("scales.codes", n.codes)

	// The CPU code of bitsandbytes differs by its table, and by nothing else.
	byTable := make([]byte, len(scales))
	for i, x := range scales {
		byTable[i] = cpuCode((x - n.offset) * (1 / n.absmax[i/nestedBlock]))
	}
	g.sameBytes("scales.cpu_codes", byTable)
	if bytes.Equal(byTable, n.codes) {
		t.Error("the scales show no difference between the two rules")
	}
}

// cpuCode is how the CPU code of bitsandbytes quantises scales: it looks the nearest
// of 65536 numbers up, not x.
func cpuCode(x float32) byte {
	const last = 65535
	entry := int((x+1)*0.5*last + 0.5)
	at := -1 + 2*float32(entry)/last
	code := 0
	for code < 255 && 0.5*(dynamicValues[code]+dynamicValues[code+1]) < at {
		code++
	}
	return byte(code)
}

func TestInt8EqualsBitsandbytes(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t)
			weight, in := g.matrix(name + ".weight")
			q := ToInt8(weight, in)
			codes := make([]byte, len(q.Codes))
			for i, c := range q.Codes {
				codes[i] = byte(c)
			}
			g.sameBytes(name+".int8", codes)
			g.same(name+".int8.absmax", q.Absmax)
			g.same(name+".int8.dequantised", q.Values())
		})
	}
}

func TestZerosStayZeros(t *testing.T) {
	weight := make([]float32, 3*64)
	weight[70] = 1 // the other blocks and rows are zero
	for name, got := range map[string][]float32{"NF4": ToNF4(weight).Values(), "Int8": ToInt8(weight, 64).Values()} {
		for i, x := range got {
			if i != 70 && x != 0 {
				t.Errorf("%s: weight %d is %v, want 0", name, i, x)
			}
		}
	}
}

func BenchmarkToNF4(b *testing.B) {
	weight := make([]float32, 1<<20)
	for i := range weight {
		weight[i] = float32(i%1000)/500 - 1
	}
	b.SetBytes(int64(4 * len(weight)))
	for b.Loop() {
		ToNF4(weight)
	}
}
