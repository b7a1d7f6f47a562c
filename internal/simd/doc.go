// Package simd computes on slices of float32 with the vector instructions of the
// processor at hand: AVX2 and FMA on amd64, NEON on arm64, found when the program
// runs; plain Go does the same elsewhere.
//
// Its matrix product adds each element up in one order, which depends on nothing but
// the number of terms: not on the rows and columns beside it, nor on how many
// processors share the work. The same holds for sums.
//
// It knows slices and sizes only; internal/gobackend makes a backend of it.
package simd

//go:generate go run gen.go
