package safetensors

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// TestNotFinite: the first infinity or NaN is found wherever it stands, in every
// format, among values of any bits; and nothing else is.
func TestNotFinite(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, d := range []Dtype{F64, F32, F16, BF16} {
		size := d.Size()
		for n := range 40 {
			values := make([]float32, n)
			for i := range values {
				values[i] = float32(random.NormFloat64()) * 1000
				if i%5 == 0 {
					values[i] = [...]float32{0, 65504, -65504, 1e-40, -1}[i/5%5]
				}
			}
			data := make([]byte, n*size)
			encode := func(at int, v float32) {
				if err := EncodeFloat32(data[at*size:(at+1)*size], []float32{v}, d); err != nil {
					t.Fatal(err)
				}
			}
			for i, v := range values {
				encode(i, v)
			}
			if at := NotFinite(data, d); at != -1 {
				t.Fatalf("%s, %d elements: %d is not finite, all are: %v", d, n, at, values[at])
			}
			for i := range n {
				for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
					encode(i, v)
					if at := NotFinite(data, d); at != i {
						t.Fatalf("%s, %d elements: %d, and %d is %v", d, n, at, i, v)
					}
					if i+1 < n {
						encode(n-1, v)
						if at := NotFinite(data, d); at != i {
							t.Fatalf("%s, %d elements: %d, and %d is the first", d, n, at, i)
						}
						encode(n-1, values[n-1])
					}
				}
				encode(i, values[i])
			}
		}
	}
	if at := NotFinite([]byte{0xff, 0xff, 0xff, 0xff}, "I32"); at != -1 {
		t.Errorf("%d of whole numbers is not finite", at)
	}
}

// FuzzNotFinite compares with the conversion to float32.
func FuzzNotFinite(f *testing.F) {
	f.Add([]byte{0x80, 0x7f, 0, 0, 0xff, 0xff}, 0)
	f.Add(make([]byte, 24), 1)
	f.Fuzz(func(t *testing.T, data []byte, format int) {
		d := []Dtype{F32, F16, BF16}[uint(format)%3]
		data = data[:len(data)/d.Size()*d.Size()]
		values := make([]float32, len(data)/d.Size())
		if err := DecodeFloat32(values, data, d); err != nil {
			t.Fatal(err)
		}
		want := -1
		for i, v := range values {
			if math.IsInf(float64(v), 0) || v != v {
				want = i
				break
			}
		}
		if got := NotFinite(data, d); got != want {
			t.Fatalf("%s %x: %d, want %d", d, data, got, want)
		}
	})
}

func TestCheckFinite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	w, err := Create(path, []Info{{Name: "good", Dtype: F32, Shape: []int{2}}, {Name: "bad", Dtype: BF16, Shape: []int{2, 3}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := w.WriteFloats("good", []float32{1, 2}); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFloats("bad", []float32{0, 1, 2, 3, float32(math.Inf(-1)), 5}); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.CheckFinite("good"); err != nil {
		t.Error(err)
	}
	if err := r.CheckFinite("bad"); err == nil || !strings.HasPrefix(err.Error(), path+": bad: element 4 of [2 3] is -Inf") {
		t.Error(err)
	}
	if err := r.CheckFinite("none"); err == nil {
		t.Error("a tensor that is not there is finite")
	}
}

func BenchmarkNotFinite(b *testing.B) {
	for _, d := range []Dtype{F32, BF16} {
		b.Run(string(d), func(b *testing.B) {
			data := make([]byte, 16<<20)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if at := NotFinite(data, d); at >= 0 {
					b.Fatalf("element %d", at)
				}
			}
		})
	}
}
