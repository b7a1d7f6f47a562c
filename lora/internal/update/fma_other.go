//go:build !(amd64 || arm64)

package update

const fmaStep = 8

func hasFMA() bool { return false }

func fmaColumns(sum, a, b *float32, rank, stride, n int, scale float32) {
	panic("update: no fused multiply-add here")
}
