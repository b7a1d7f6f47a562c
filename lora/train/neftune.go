package train

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// neftuneDraw is the purpose of the noise's draws; those of dropout count the
// layers.
const neftuneDraw = 1 << 63

// neftune adds Config.NEFTuneAlpha's noise to the embeddings x [P + B·S, C] of a
// batch. Its draws depend on state, as those of dropout.
func neftune(x, state *Node, layout salamandra.SharedPrefix, alpha float64) *Node {
	if alpha == 0 {
		return x
	}
	length := (layout.P + layout.S) * x.Shape().Dim(-1)
	limit := alpha / math.Sqrt(float64(length))
	s := BitwiseXor(state, Const(state.Graph(), randomState(neftuneDraw, 0)))
	_, uniform := RandomUniform(s, shapes.Make(dtypes.Float32, x.Shape().Dimensions...))
	return Add(x, ConvertDType(MulScalar(SubScalar(uniform, 0.5), 2*limit), x.DType()))
}
