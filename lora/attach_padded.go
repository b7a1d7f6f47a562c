package lora

import (
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// AttachPadded is [Attach] in a form that all adapters of up to the given rank
// share, so that one can take another's place in compiled programs: every
// linear layer has factors of that rank, filled up with zeros, and B takes up
// the scale, rounded to float32. A nil adapter gives one that changes nothing.
//
// It costs memory and time as an adapter of that rank on all layers does. With
// DoRA the layers are those of the adapter, and only what adapts the same
// layers by DoRA is alike. A layer of higher rank is an error.
func AttachPadded(target Target, a *Adapter, rank int) (*Layers, error) {
	config := Config{Rank: rank, Alpha: float64(rank), TargetPattern: allLinear}
	var own Layers
	var flat []float32
	if a != nil {
		l, values, err := lay(target, a)
		if err != nil {
			return nil, err
		}
		own, flat = *l, values
		config.BaseModelNameOrPath, config.Revision = a.Config.BaseModelNameOrPath, a.Config.Revision
		if a.Config.UseDoRA {
			config.UseDoRA, config.TargetPattern, config.TargetModules = true, "", own.Names()
		}
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	l, err := newLayers(target, config)
	if err != nil {
		return nil, err
	}
	var list faults.List
	padded := make([]float32, l.size())
	for _, y := range own.layers {
		if y.rank > rank {
			list.Addf(y.name, "%w: rank %d, more than %d", errTarget, y.rank, rank)
			continue
		}
		to := l.layers[l.place[y.name]]
		copy(padded[to.a:], flat[y.a:y.b])
		for i := range y.out {
			for r, x := range flat[y.b+i*y.rank : y.b+(i+1)*y.rank] {
				padded[to.b+i*rank+r] = float32(y.scale * float64(x))
			}
		}
		if config.UseDoRA {
			copy(padded[to.mag:], flat[y.mag:y.mag+y.out])
		}
	}
	if err := list.Err(); err != nil {
		return nil, err
	}
	l.params = tensors.FromFlatDataAndDimensions(padded, len(padded))
	return l, nil
}
