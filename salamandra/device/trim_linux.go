//go:build cgo && !noxla

package device

// #include <stdlib.h>
// #ifdef __GLIBC__
// #include <malloc.h>
// static void trim(void) { malloc_trim(0); }
// #else
// static void trim(void) {}
// #endif
import "C"

// trimMemory gives back what compiling took, of which glibc keeps most: small
// pieces lie between those still needed.
func trimMemory() { C.trim() }
