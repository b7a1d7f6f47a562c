package lora

import (
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// A storedWeight is a weight of the base that an adapter's file repeats. PEFT
// stores the layer below an adapter of the head or the embedding, and both of
// them where the vocabulary has another size than the hub's config.json says.
type storedWeight struct {
	path   string // of the adapter's file
	tensor string // there
	weight string // in the base
}

// headWeight and embeddingWeight are the tensors of which an adapter's file may
// hold a copy; a tied head has no tensor of its own.
const (
	headWeight      = "lm_head.weight"
	embeddingWeight = "model.embed_tokens.weight"
)

// storedWeightOf returns the base's tensor that one of an adapter's file is a copy
// of by its name, "" if it is none.
func storedWeightOf(tensor string) string {
	name, ok := strings.CutPrefix(wrappers.ReplaceAllString(tensor, ""), prefix)
	if module, isBelow := strings.CutSuffix(name, ".base_layer.weight"); ok && isBelow {
		return module + ".weight"
	}
	if ok && (name == headWeight || name == embeddingWeight) {
		return name
	}
	return ""
}

// CheckBase reports the weights of a base that the adapter's file repeats and
// that the model directory base does not hold with the same values: the
// adapter was trained on others. An adapter of which nothing else was stored
// fits any base. The adapter is one that [ReadAdapter] returned.
func (a *Adapter) CheckBase(base string) error {
	if len(a.stored) == 0 {
		return nil
	}
	files, err := safetensors.OpenModel(base)
	if err != nil {
		return err
	}
	defer files.Close()
	return a.checkBase(files, base)
}

// checkBase is CheckBase of a base that is open.
func (a *Adapter) checkBase(base *safetensors.Reader, dir string) error {
	if len(a.stored) == 0 {
		return nil
	}
	path := a.stored[0].path
	adapter, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer adapter.Close()
	list := faults.List{Subject: path}
	for _, s := range a.stored {
		name := s.weight
		if _, ok := base.Info(name); !ok && name == headWeight {
			name = embeddingWeight
		}
		same, err := safetensors.Equal(adapter, s.tensor, base, name)
		if err != nil {
			return err
		}
		if !same {
			list.Addf(s.tensor, "%w: it is not %s of %s; merge the adapter in PEFT into the base that it was trained on", errTarget, name, dir)
		}
	}
	return list.Err()
}
