// Package quantize stores the weights of linear layers in 8 or 4 bits, as
// bitsandbytes does, and builds the products with them.
//
//   - NF4: blocks of 64 weights in a row, whichever row of the matrix they are of,
//     share a scale, and a weight is one of 16 values times that scale. The scales
//     are quantised a second time, in 8 bits. What is kept is their value after
//     that, in float32.
//   - Int8: a row of the matrix has one scale, and a weight is a whole number from
//     -127 to 127 times that. Activations stay as they are: this is not LLM.int8(),
//     which multiplies in whole numbers and treats outliers apart.
//
// Codes, scales and values equal those of bitsandbytes' device-independent code bit
// for bit. Elsewhere it differs from itself: its CPU code finds codes of scales by a
// table of 65536 entries, and so takes a neighbour of the nearest for one in a
// thousand; its CUDA code divides approximately, which may decide between two equally
// near codes otherwise. Checkpoints written by either are read as they are.
package quantize
