//go:build !(amd64 || arm64)

package lora

const fmaStep = 8

func hasFMA() bool { return false }

func fmaColumns(sum, a, b *float32, rank, stride, n int, scale float32) {
	panic("lora: no fused multiply-add here")
}
