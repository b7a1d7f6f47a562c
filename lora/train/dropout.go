package train

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// dropout returns the Dropout of an adapter: factors of 0 with probability p,
// of 1/(1-p) otherwise. The draws of a layer depend on state, three uint64 that
// change with every batch, and on the layer's key, three too.
//
// A draw is a function of the number's place, by integers alone: the same on
// every executor, and computed where it is used, so that no executor needs to
// keep a mask.
func dropout(state *Node, p float64, keysOf func(layer int) *Node) func(layer int, x, after *Node) *Node {
	if p == 0 {
		return nil
	}
	least := uint32(math.Round(p * (1 << 32)))
	return func(layer int, x, after *Node) *Node {
		g := x.Graph()
		keys := ConvertDType(BitwiseXor(state, keysOf(layer)), dtypes.Uint32)
		// The draw of the backward pass waits, so that it is another one to the
		// executor, which need not keep the first. It is a float that waits:
		// executors see that an integer times zero is zero.
		if after != nil {
			keys = Add(keys, ConvertDType(SchedulingBarrier(ScalarZero(g, dtypes.Float32), after), dtypes.Uint32))
		}
		key := func(i int) *Node { return Reshape(Slice(keys, AxisElem(i))) }
		draws := IotaFull(g, shapes.Make(dtypes.Uint32, x.Shape().Dimensions...))
		draws = scrambled(BitwiseXor(draws, key(0)))
		draws = scrambled(BitwiseXor(draws, key(1)))
		keep := GreaterOrEqual(draws, Scalar(g, dtypes.Uint32, least))
		return Where(keep, Scalar(g, x.DType(), 1/(1-p)), ScalarZero(g, x.DType()))
	}
}

// layerKeys returns the keys of the layers, of which a block has each; block is its
// number, nil in a graph of all of them.
func layerKeys(g *Graph, block *Node, blocks, each int) func(layer int) *Node {
	return func(layer int) *Node {
		if block == nil {
			return Const(g, randomState(uint64(layer), 0))
		}
		all := make([][]uint64, blocks)
		for i := range all {
			all[i] = randomState(uint64(i*each+layer), 0)
		}
		return Gather(Const(g, all), Reshape(block, 1))
	}
}

// scrambled maps each uint32 to another one, every bit of which depends on every
// bit of the first.
// Source: Wellons 2018, "Prospecting for Hash Functions", lowbias32.
func scrambled(x *Node) *Node {
	shifted := func(n uint32) { x = BitwiseXor(x, BitwiseShiftRightLogicalScalar(x, n)) }
	shifted(16)
	x = Mul(x, Scalar(x.Graph(), dtypes.Uint32, uint32(0x7feb352d)))
	shifted(15)
	x = Mul(x, Scalar(x.Graph(), dtypes.Uint32, uint32(0x846ca68b)))
	shifted(16)
	return x
}

// randomState is the state of gomlx's generators for a purpose, from two
// numbers, by the finaliser of SplitMix64.
func randomState(a, b uint64) []uint64 {
	state := make([]uint64, 3)
	z := a*0x9e3779b97f4a7c15 + b*0xd1342543de82ef95
	for i := range state {
		z += 0x9e3779b97f4a7c15
		y := (z ^ z>>30) * 0xbf58476d1ce4e5b9
		y = (y ^ y>>27) * 0x94d049bb133111eb
		state[i] = y ^ y>>31
	}
	return state
}
