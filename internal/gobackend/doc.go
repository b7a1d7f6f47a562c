// Package gobackend makes compute's Go backend fast: a [compute.Backend] around it
// that computes what models are made of with the vector instructions of internal/simd,
// on all processors, and leaves the rest to it.
//
// A graph is recorded while the backend inside checks each operation and tells its
// shape. Compiling turns it into a list of steps in the order in which the graph was
// built, with places in one block of memory for all that lies between inputs and
// outputs: what is not used any more makes room, reshapes and barriers cost nothing,
// and transposes, slices and broadcasts are read where they are used if that is as
// fast. An operation without a kernel here becomes a program of the backend inside
// with that operation alone. What depends on no input is computed once.
//
// The order in which numbers are added up does not depend on the number of
// processors, so equal inputs give equal bytes.
//
// Control flow, dynamic shapes and operations on several devices are not implemented:
// no graph of this module has them.
package gobackend

//go:generate go run gen.go
