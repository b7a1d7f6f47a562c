package generate

import (
	"github.com/impulse-salamandra/finetune/internal/simd"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// stretch is the keys and values of tokens that follow one another, in the host's
// memory: of a prefix, or of what a request has behind it. They lie as products read
// them, in panels of sixteen columns; see [simd.Matrix].
type stretch struct {
	config *llama.Config
	room   int         // tokens, a multiple of a panel's columns
	keys   [][]float32 // of each layer, [K, room/16, D, 16]
	values [][]float32 // of each layer, [K, ⌈D/16⌉, room, 16]
}

const columns = simd.PanelColumns

func newStretch(config *llama.Config, room int) *stretch {
	s := &stretch{config: config}
	s.grow(room)
	return s
}

// grow makes room for so many tokens, and keeps what there is.
func (s *stretch) grow(room int) {
	room = multipleOf(room, columns)
	if room <= s.room {
		return
	}
	old := *s
	s.room = room
	s.keys, s.values = make([][]float32, s.config.NumHiddenLayers), make([][]float32, s.config.NumHiddenLayers)
	for i := range s.keys {
		s.keys[i] = make([]float32, s.config.NumKeyValueHeads*room*s.config.HeadDim)
		s.values[i] = make([]float32, s.config.NumKeyValueHeads*s.width()*room)
		if old.room == 0 {
			continue
		}
		for k := range s.config.NumKeyValueHeads {
			copy(s.keysOf(i, k), old.keysOf(i, k))
			for c := 0; c < s.width(); c += columns {
				copy(s.valuesOf(i, k)[c*room:], old.valuesOf(i, k)[c*old.room:(c+columns)*old.room])
			}
		}
	}
}

// width is the numbers of a value, in whole panels.
func (s *stretch) width() int { return multipleOf(s.config.HeadDim, columns) }

// keysOf are the keys of a head of a layer.
func (s *stretch) keysOf(layer, head int) []float32 {
	n := s.room * s.config.HeadDim
	return s.keys[layer][head*n : (head+1)*n]
}

// valuesOf are the values of a head of a layer.
func (s *stretch) valuesOf(layer, head int) []float32 {
	n := s.room * s.width()
	return s.values[layer][head*n : (head+1)*n]
}

// put writes the key and the value of a token.
func (s *stretch) put(layer, head, token int, key, value []float32) {
	keys, values := s.keysOf(layer, head), s.valuesOf(layer, head)
	at := token/columns*columns*len(key) + token%columns
	for i, x := range key {
		keys[at+i*columns] = x
	}
	for c := 0; c < len(value); c += columns {
		copy(values[c*s.room+token*columns:][:columns], value[c:min(c+columns, len(value))])
	}
}

func (s *stretch) bytes() int64 {
	n := 0
	for i := range s.keys {
		n += len(s.keys[i]) + len(s.values[i])
	}
	return 4 * int64(n)
}
