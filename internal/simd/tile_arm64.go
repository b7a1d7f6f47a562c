package simd

// vectors reports whether the kernels of this architecture can run here: NEON is part
// of it.
var vectors = true
