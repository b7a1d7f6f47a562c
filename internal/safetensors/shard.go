package safetensors

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxShardSize is the largest shard, in bytes, that Transformers writes by
// default.
const MaxShardSize = 5_000_000_000

// A Shard is one file of a model directory to be written.
type Shard struct {
	Name    string // file name
	Tensors []Info // in the order of their data
}

// PlanShards divides tensors into files of at most maxBytes of data, by the
// rules of huggingface_hub: tensors fill a shard in the order given until the
// next would not fit; one larger than maxBytes gets a shard of its own, before
// the one being filled. A single shard is called model.safetensors, several
// model-00001-of-0000N.safetensors.
//
// Within a shard the tensors are in the order of the reference implementation,
// wide dtypes first, then by name, so that equal tensors make equal files.
// Every info must have a size (see [Info.NumBytes]).
func PlanShards(infos []Info, maxBytes int64) []Shard {
	var plan [][]Info
	var current []Info
	var size int64
	for _, info := range infos {
		n := int64(info.NumBytes())
		if n > maxBytes {
			plan = append(plan, []Info{info})
			continue
		}
		if size+n > maxBytes {
			plan = append(plan, current)
			current, size = nil, 0
		}
		current = append(current, info)
		size += n
	}
	if len(current) > 0 {
		plan = append(plan, current)
	}
	shards := make([]Shard, len(plan))
	for i, tensors := range plan {
		shards[i] = Shard{Name: ModelFile, Tensors: InFileOrder(tensors)}
		if len(plan) > 1 {
			shards[i].Name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(plan))
		}
	}
	return shards
}

// InFileOrder returns the tensors in the order in which the reference
// implementation stores them in one file: wide dtypes first, then by name.
func InFileOrder(infos []Info) []Info {
	return slices.SortedFunc(slices.Values(infos), func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Dtype.rank(), b.Dtype.rank()), cmp.Compare(a.Name, b.Name))
	})
}
