#include "textflag.h"

// func fmaColumns(sum, a, b *float32, rank, stride, n int, scale float32)
//
// Eight columns to a register; 64 at a time hide the latency of the
// multiply-add, what is left of them goes eight by eight.
TEXT ·fmaColumns(SB), NOSPLIT, $0-52
	MOVQ sum+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ rank+24(FP), CX
	MOVQ stride+32(FP), R8
	MOVQ n+40(FP), R9
	VBROADCASTSS scale+48(FP), Y9
	SHLQ $2, R8 // in bytes

wide:
	CMPQ R9, $64
	JLT  narrow
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	MOVQ SI, R10
	MOVQ DX, R11
	MOVQ CX, R12

wideRank:
	VBROADCASTSS (R11), Y8
	VFMADD231PS (R10), Y8, Y0
	VFMADD231PS 32(R10), Y8, Y1
	VFMADD231PS 64(R10), Y8, Y2
	VFMADD231PS 96(R10), Y8, Y3
	VFMADD231PS 128(R10), Y8, Y4
	VFMADD231PS 160(R10), Y8, Y5
	VFMADD231PS 192(R10), Y8, Y6
	VFMADD231PS 224(R10), Y8, Y7
	ADDQ R8, R10
	ADDQ $4, R11
	DECQ R12
	JNZ  wideRank
	VMULPS Y9, Y0, Y0
	VMULPS Y9, Y1, Y1
	VMULPS Y9, Y2, Y2
	VMULPS Y9, Y3, Y3
	VMULPS Y9, Y4, Y4
	VMULPS Y9, Y5, Y5
	VMULPS Y9, Y6, Y6
	VMULPS Y9, Y7, Y7
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVUPS Y4, 128(DI)
	VMOVUPS Y5, 160(DI)
	VMOVUPS Y6, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ $256, SI
	ADDQ $256, DI
	SUBQ $64, R9
	JMP  wide

narrow:
	CMPQ R9, $8
	JLT  done
	VXORPS Y0, Y0, Y0
	MOVQ SI, R10
	MOVQ DX, R11
	MOVQ CX, R12

narrowRank:
	VBROADCASTSS (R11), Y8
	VFMADD231PS (R10), Y8, Y0
	ADDQ R8, R10
	ADDQ $4, R11
	DECQ R12
	JNZ  narrowRank
	VMULPS Y9, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	SUBQ $8, R9
	JMP  narrow

done:
	VZEROUPPER
	RET

// func shiftBF16Blocks(dst, src *byte, update *float32, n int, squares *[lanes]float64, counts *bf16Counts)
//
// Eight elements at a time; the sums of squares of columns 0 to 3 and 4 to 7 of
// each eight are in Y10 and Y11, the counts in the lanes of Y12 to Y14.
TEXT ·shiftBF16Blocks(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ update+16(FP), DX
	MOVQ n+24(FP), CX
	MOVQ squares+32(FP), R8
	MOVQ counts+40(FP), R9
	VPXOR Y15, Y15, Y15
	VPXOR Y10, Y10, Y10
	VPXOR Y11, Y11, Y11
	VPXOR Y12, Y12, Y12
	VPXOR Y13, Y13, Y13
	VPXOR Y14, Y14, Y14
	MOVL $1, AX
	MOVQ AX, X7
	VPBROADCASTD X7, Y7
	MOVL $0x7fff, AX
	MOVQ AX, X8
	VPBROADCASTD X8, Y8
	MOVL $0x7f80, AX
	MOVQ AX, X9
	VPBROADCASTD X9, Y9

eight:
	CMPQ CX, $8
	JLT  sums
	VPMOVZXWD (SI), Y0
	VPSLLD $16, Y0, Y0            // base
	VMOVUPS (DX), Y1              // update
	VADDPS Y1, Y0, Y2
	VCVTPS2PD X1, Y3
	VMULPD Y3, Y3, Y3
	VADDPD Y3, Y10, Y10
	VEXTRACTF128 $1, Y1, X3
	VCVTPS2PD X3, Y3
	VMULPD Y3, Y3, Y3
	VADDPD Y3, Y11, Y11
	VCMPPS $4, Y15, Y1, Y3        // update != 0
	VPSUBD Y3, Y12, Y12
	VPSRLD $16, Y2, Y3            // round to nearest, ties to even
	VPAND Y7, Y3, Y3
	VPADDD Y8, Y3, Y3
	VPADDD Y2, Y3, Y3
	VPSRLD $16, Y3, Y3
	VPSLLD $16, Y3, Y4
	VCMPPS $4, Y0, Y4, Y4         // stored != base
	VPSUBD Y4, Y13, Y13
	VPAND Y9, Y3, Y4
	VPCMPEQD Y9, Y4, Y4           // infinity or NaN
	VPSUBD Y4, Y14, Y14
	VEXTRACTI128 $1, Y3, X4
	VPACKUSDW X4, X3, X3
	VMOVDQU X3, (DI)
	ADDQ $16, SI
	ADDQ $16, DI
	ADDQ $32, DX
	SUBQ $8, CX
	JMP  eight

sums:
	VMOVUPD Y10, (R8)
	VMOVUPD Y11, 32(R8)
	VPHADDD Y13, Y12, Y12
	VPHADDD Y15, Y14, Y14
	VPHADDD Y14, Y12, Y12         // of each half: updates, changed, not finite, 0
	VEXTRACTI128 $1, Y12, X13
	VPADDD X13, X12, X12
	VPMOVZXDQ X12, Y12
	VMOVDQU Y12, (R9)
	VZEROUPPER
	RET
