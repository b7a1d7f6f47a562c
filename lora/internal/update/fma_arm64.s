#include "textflag.h"

// func fmaColumns(sum, a, b *float32, rank, stride, n int, scale float32)
//
// Four columns to a register; 16 at a time hide the latency of the
// multiply-add, what is left of them goes four by four.
TEXT ·fmaColumns(SB), NOSPLIT, $0-52
	MOVD sum+0(FP), R0
	MOVD a+8(FP), R1
	MOVD b+16(FP), R2
	MOVD rank+24(FP), R3
	MOVD stride+32(FP), R4
	MOVD n+40(FP), R5
	FMOVS scale+48(FP), F9
	VDUP V9.S[0], V9.S4
	LSL  $2, R4 // in bytes

wide:
	CMP  $16, R5
	BLT  narrow
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	MOVD R1, R6
	MOVD R2, R7
	MOVD R3, R8

wideRank:
	VLD1 (R6), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1R (R7), [V8.S4]
	VFMLA V8.S4, V4.S4, V0.S4
	VFMLA V8.S4, V5.S4, V1.S4
	VFMLA V8.S4, V6.S4, V2.S4
	VFMLA V8.S4, V7.S4, V3.S4
	ADD  R4, R6
	ADD  $4, R7
	SUBS $1, R8
	BNE  wideRank
	WORD $0x6e29dc00 // FMUL V0.4S, V0.4S, V9.4S
	WORD $0x6e29dc21 // FMUL V1.4S, V1.4S, V9.4S
	WORD $0x6e29dc42 // FMUL V2.4S, V2.4S, V9.4S
	WORD $0x6e29dc63 // FMUL V3.4S, V3.4S, V9.4S
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	ADD  $64, R1
	SUB  $16, R5
	B    wide

narrow:
	CMP  $4, R5
	BLT  done
	VEOR V0.B16, V0.B16, V0.B16
	MOVD R1, R6
	MOVD R2, R7
	MOVD R3, R8

narrowRank:
	VLD1 (R6), [V4.S4]
	VLD1R (R7), [V8.S4]
	VFMLA V8.S4, V4.S4, V0.S4
	ADD  R4, R6
	ADD  $4, R7
	SUBS $1, R8
	BNE  narrowRank
	WORD $0x6e29dc00 // FMUL V0.4S, V0.4S, V9.4S
	VST1.P [V0.S4], 16(R0)
	ADD  $16, R1
	SUB  $4, R5
	B    narrow

done:
	RET
