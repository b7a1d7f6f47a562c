package salamandra

import . "github.com/gomlx/gomlx/core/graph"

// Fuses is fuses.
var Fuses = fuses

// Attend is attend.
var Attend = Transformer.attend

// Block runs block i on x [N, C].
func Block(t Transformer, i int, x, positions *Node, attention Attention) *Node {
	return t.block(i, x, t.rotary(positions), attention, 0, nil)
}
