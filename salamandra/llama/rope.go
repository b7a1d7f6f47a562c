package llama

import (
	"cmp"
	"math"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// RoPE holds the settings of the rotary position embedding.
// Source: Su et al. 2021, arXiv:2104.09864; the scaled variants as Transformers
// computes them from rope_parameters (formerly rope_scaling).
type RoPE struct {
	Type   string  // "default", "linear" or "llama3"
	Theta  float64 // base of the frequencies
	Factor float64 // linear, llama3: how much longer the context becomes

	// llama3 only.
	LowFreqFactor, HighFreqFactor float64
	OriginalMaxPositionEmbeddings int
}

// rope reads the rotary settings. Both spellings may be there if they mean the
// same; a nested rope_theta wins over the one at the top, as in Transformers.
func rope(f *strictjson.Fields, maxPositions int) RoPE {
	outer := RoPE{Type: "default", Theta: f.Number("rope_theta", 10000)}
	original := f.Int("original_max_position_embeddings", 0)
	now, before := object(f, "rope_parameters"), object(f, "rope_scaling")
	switch {
	case now == nil && before == nil:
		if !(outer.Theta > 0) {
			f.Fault("rope_theta", nil, "%v, want a positive number", outer.Theta)
		}
		return outer
	case before == nil:
		return ropeObject(now, outer.Theta, original, maxPositions)
	case now == nil:
		return ropeObject(before, outer.Theta, original, maxPositions)
	}
	a, b := ropeObject(now, outer.Theta, original, maxPositions), ropeObject(before, outer.Theta, original, maxPositions)
	if a != b {
		f.Fault("rope_parameters", nil, "type %s, theta %v and factor %v contradict rope_scaling with type %s, theta %v and factor %v: keep the one that is meant",
			a.Type, a.Theta, a.Factor, b.Type, b.Theta, b.Factor)
	}
	return a
}

// ropeObject reads a nested object; theta and original, 0 for none, are what stands
// beside it.
func ropeObject(f *strictjson.Fields, theta float64, original, maxPositions int) RoPE {
	now, old := f.String("rope_type", ""), f.String("type", "")
	if now != "" && old != "" && now != old {
		f.Fault("rope_type", nil, "%q differs from type %q: keep the one that is meant", now, old)
	}
	r := RoPE{Type: cmp.Or(now, old, "default"), Theta: f.Number("rope_theta", theta)}
	if p := f.Number("partial_rotary_factor", 1); p != 1 {
		f.Fault("partial_rotary_factor", nil, "%v is not supported, want 1", p)
	}
	if !(r.Theta > 0) {
		f.Fault("rope_theta", nil, "%v, want a positive number", r.Theta)
	}
	switch r.Type {
	case "default":
	case "linear":
		r.Factor = factor(f)
	case "llama3":
		r.Factor = factor(f)
		r.LowFreqFactor, r.HighFreqFactor = f.Number("low_freq_factor", 0), f.Number("high_freq_factor", 0)
		if r.LowFreqFactor <= 0 || r.HighFreqFactor <= r.LowFreqFactor {
			f.Fault("low_freq_factor", nil, "%v with high_freq_factor %v, want a positive number and a greater one", r.LowFreqFactor, r.HighFreqFactor)
		}
		r.OriginalMaxPositionEmbeddings = size(f, "original_max_position_embeddings", cmp.Or(original, maxPositions))
		if original != 0 && original != r.OriginalMaxPositionEmbeddings {
			f.Fault("original_max_position_embeddings", nil, "%d, and %d outside: keep the one that is meant", r.OriginalMaxPositionEmbeddings, original)
		}
	default:
		f.Fault("rope_type", nil, "%q is not supported, want default, linear or llama3", r.Type)
	}
	return r
}

// factor is how much longer the context becomes.
func factor(f *strictjson.Fields) float64 {
	f.Need("factor")
	n := f.Number("factor", 1)
	if n < 1 {
		f.Fault("factor", nil, "%v, want 1 or more", n)
	}
	return n
}

// InverseFrequencies returns the HeadDim/2 angles per position, in float32
// with the roundings of the reference.
func (c Config) InverseFrequencies() []float32 {
	freq := make([]float32, c.HeadDim/2)
	for i := range freq {
		exponent := float32(2*i) / float32(c.HeadDim)
		f := 1 / float32(math.Pow(c.RoPE.Theta, float64(exponent)))
		switch c.RoPE.Type {
		case "linear":
			f /= float32(c.RoPE.Factor)
		case "llama3":
			f = c.RoPE.llama3(f)
		}
		freq[i] = f
	}
	return freq
}

// llama3 stretches long wavelengths by Factor, leaves short ones and blends
// those between.
func (r RoPE) llama3(f float32) float32 {
	original := float32(r.OriginalMaxPositionEmbeddings)
	wavelength := 2 * math.Pi / f
	switch {
	case wavelength < original/float32(r.HighFreqFactor):
		return f
	case wavelength > original/float32(r.LowFreqFactor):
		return f / float32(r.Factor)
	}
	smooth := (original/wavelength - float32(r.LowFreqFactor)) / float32(r.HighFreqFactor-r.LowFreqFactor)
	return (1-smooth)*f/float32(r.Factor) + smooth*f
}
