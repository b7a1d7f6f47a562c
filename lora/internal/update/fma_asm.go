//go:build amd64 || arm64

package update

// fmaStep is what n of fmaColumns must be a multiple of.
const fmaStep = 8

// fmaColumns computes n columns of one row of scale*B*A as product.columns does,
// with the machine's fused multiply-add. The row of B begins at b, A at a, and
// rows of A are stride elements apart; rank is at least 1.
//
//go:noescape
func fmaColumns(sum, a, b *float32, rank, stride, n int, scale float32)
