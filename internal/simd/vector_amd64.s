#include "textflag.h"

// Kernels on eight numbers at a time; n is a multiple of 8. as and bs are the steps
// of a and b in bytes: 32, or 0 for eight copies of one number.

#define BINARY(OP) \
	MOVQ dst+0(FP), DI; \
	MOVQ a+8(FP), SI; \
	MOVQ b+16(FP), DX; \
	MOVQ n+24(FP), CX; \
	MOVQ as+32(FP), R8; \
	MOVQ bs+40(FP), R9; \
	SUBQ $16, CX; \
	JLT  tail; \
loop: \
	VMOVUPS (SI), Y0; \
	VMOVUPS (SI)(R8*1), Y1; \
	OP (DX), Y0, Y0; \
	OP (DX)(R9*1), Y1, Y1; \
	VMOVUPS Y0, (DI); \
	VMOVUPS Y1, 32(DI); \
	LEAQ (SI)(R8*2), SI; \
	LEAQ (DX)(R9*2), DX; \
	ADDQ $64, DI; \
	SUBQ $16, CX; \
	JGE  loop; \
tail: \
	ADDQ $16, CX; \
	JZ   end; \
	VMOVUPS (SI), Y0; \
	OP (DX), Y0, Y0; \
	VMOVUPS Y0, (DI); \
end: \
	VZEROUPPER; \
	RET

// func addVector(dst, a, b *float32, n, as, bs int)
TEXT ·addVector(SB), NOSPLIT, $0-48
	BINARY(VADDPS)

// func subVector(dst, a, b *float32, n, as, bs int)
TEXT ·subVector(SB), NOSPLIT, $0-48
	BINARY(VSUBPS)

// func mulVector(dst, a, b *float32, n, as, bs int)
TEXT ·mulVector(SB), NOSPLIT, $0-48
	BINARY(VMULPS)

// func divVector(dst, a, b *float32, n, as, bs int)
TEXT ·divVector(SB), NOSPLIT, $0-48
	BINARY(VDIVPS)

DATA exps<>+0(SB)/4, $0x42b20000  // 89: the exponential is infinite
DATA exps<>+4(SB)/4, $0xc2d00000  // -104: it is zero
DATA exps<>+8(SB)/4, $0x3fb8aa3b  // 1/log(2)
DATA exps<>+12(SB)/4, $0x3f317000 // log(2), its first bits
DATA exps<>+16(SB)/4, $0x3805fdf4 // and the rest
DATA exps<>+20(SB)/4, $0x39500d01 // 1/7!
DATA exps<>+24(SB)/4, $0x3ab60b61 // 1/6!
DATA exps<>+28(SB)/4, $0x3c088889 // 1/5!
DATA exps<>+32(SB)/4, $0x3d2aaaab // 1/4!
DATA exps<>+36(SB)/4, $0x3e2aaaab // 1/3!
DATA exps<>+40(SB)/4, $0x3f000000 // 1/2!
DATA exps<>+44(SB)/4, $0x3f800000 // 1
DATA exps<>+48(SB)/4, $127
DATA exps<>+52(SB)/4, $0x80000000 // the sign
GLOBL exps<>(SB), RODATA|NOPTR, $56

#define EXPSETUP \
	VBROADCASTSS exps<>+8(SB), Y5; \
	VBROADCASTSS exps<>+12(SB), Y6; \
	VBROADCASTSS exps<>+16(SB), Y7; \
	VBROADCASTSS exps<>+20(SB), Y8; \
	VBROADCASTSS exps<>+24(SB), Y9; \
	VBROADCASTSS exps<>+28(SB), Y10; \
	VBROADCASTSS exps<>+32(SB), Y11; \
	VBROADCASTSS exps<>+36(SB), Y12; \
	VBROADCASTSS exps<>+40(SB), Y13; \
	VBROADCASTSS exps<>+44(SB), Y14; \
	VPBROADCASTD exps<>+48(SB), Y15

// EXP replaces Y0 by its exponential, with Y1 to Y3: x = n*log(2) + r, and
// the series of r times 2**n in two factors, so that both ends come out right. A
// comparison's second operand is the result where one is not a number.
#define EXP \
	VBROADCASTSS exps<>+0(SB), Y1; \
	VMINPS Y0, Y1, Y0; \
	VBROADCASTSS exps<>+4(SB), Y1; \
	VMAXPS Y0, Y1, Y0; \
	VMULPS Y5, Y0, Y1; \
	VROUNDPS $0, Y1, Y1; \
	VFNMADD231PS Y6, Y1, Y0; \
	VFNMADD231PS Y7, Y1, Y0; \
	VCVTPS2DQ Y1, Y1; \
	VMOVAPS Y8, Y2; \
	VFMADD213PS Y9, Y0, Y2; \
	VFMADD213PS Y10, Y0, Y2; \
	VFMADD213PS Y11, Y0, Y2; \
	VFMADD213PS Y12, Y0, Y2; \
	VFMADD213PS Y13, Y0, Y2; \
	VFMADD213PS Y14, Y0, Y2; \
	VFMADD213PS Y14, Y0, Y2; \
	VPSRAD $1, Y1, Y3; \
	VPSUBD Y3, Y1, Y1; \
	VPADDD Y15, Y3, Y3; \
	VPSLLD $23, Y3, Y3; \
	VPADDD Y15, Y1, Y1; \
	VPSLLD $23, Y1, Y1; \
	VMULPS Y3, Y2, Y2; \
	VMULPS Y1, Y2, Y0

// func expVector(dst, a *float32, n int)
TEXT ·expVector(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ n+16(FP), CX
	EXPSETUP

loop:
	VMOVUPS (SI), Y0
	EXP
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	SUBQ $8, CX
	JNZ  loop
	VZEROUPPER
	RET

// func logisticVector(dst, a *float32, n int)
TEXT ·logisticVector(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ n+16(FP), CX
	EXPSETUP
	VBROADCASTSS exps<>+52(SB), Y4

loop:
	VXORPS (SI), Y4, Y0
	EXP
	VADDPS Y14, Y0, Y0
	VDIVPS Y0, Y14, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	SUBQ $8, CX
	JNZ  loop
	VZEROUPPER
	RET

// func sumVector(a *float32, n int, lanes *[32]float32)
//
// Number i goes to lane i%32; n is a multiple of 32.
TEXT ·sumVector(SB), NOSPLIT, $0-24
	MOVQ a+0(FP), SI
	MOVQ n+8(FP), CX
	MOVQ lanes+16(FP), DI
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3

loop:
	VADDPS (SI), Y0, Y0
	VADDPS 32(SI), Y1, Y1
	VADDPS 64(SI), Y2, Y2
	VADDPS 96(SI), Y3, Y3
	ADDQ $128, SI
	SUBQ $32, CX
	JNZ  loop
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VZEROUPPER
	RET

// func maxVector(a *float32, n int, lanes *[32]float32) (nan bool)
//
// The same with maxima; nan reports whether one is not a number.
TEXT ·maxVector(SB), NOSPLIT, $0-25
	MOVQ a+0(FP), SI
	MOVQ n+8(FP), CX
	MOVQ lanes+16(FP), DI
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VMOVUPS 64(SI), Y2
	VMOVUPS 96(SI), Y3
	VXORPS Y8, Y8, Y8

loop:
	VMOVUPS (SI), Y4
	VMOVUPS 32(SI), Y5
	VMOVUPS 64(SI), Y6
	VMOVUPS 96(SI), Y7
	VMAXPS Y4, Y0, Y0
	VMAXPS Y5, Y1, Y1
	VMAXPS Y6, Y2, Y2
	VMAXPS Y7, Y3, Y3
	VCMPPS $3, Y5, Y4, Y9  // not a number in one of them
	VORPS  Y9, Y8, Y8
	VCMPPS $3, Y7, Y6, Y9
	VORPS  Y9, Y8, Y8
	ADDQ $128, SI
	SUBQ $32, CX
	JNZ  loop
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVMSKPS Y8, AX
	TESTL AX, AX
	SETNE nan+24(FP)
	VZEROUPPER
	RET

// func widenVector(dst *float32, src *uint16, n int)
TEXT ·widenVector(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VPMOVZXWD (SI), Y0
	VPSLLD $16, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $16, SI
	ADDQ $32, DI
	SUBQ $8, CX
	JNZ  loop
	VZEROUPPER
	RET

// func widenBytesVector(dst *float32, src *int8, n int)
TEXT ·widenBytesVector(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	SUBQ $32, CX
	JLT  rest

four:
	PREFETCHT0 4096(SI)
	VPMOVSXBD (SI), Y0
	VPMOVSXBD 8(SI), Y1
	VPMOVSXBD 16(SI), Y2
	VPMOVSXBD 24(SI), Y3
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ $32, SI
	ADDQ $128, DI
	SUBQ $32, CX
	JGE  four

rest:
	ADDQ $32, CX
	JZ   done

loop:
	VPMOVSXBD (SI), Y0
	VCVTDQ2PS Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $8, SI
	ADDQ $32, DI
	SUBQ $8, CX
	JNZ  loop

done:
	VZEROUPPER
	RET

// func transposeVector(panel, b *float32, stride, k int)
//
// Eight columns of a panel of sixteen from eight rows, eight numbers of each at a
// time; stride is that of the rows in bytes.
TEXT ·transposeVector(SB), NOSPLIT, $0-32
	MOVQ panel+0(FP), DI
	MOVQ b+8(FP), SI
	MOVQ stride+16(FP), R8
	MOVQ k+24(FP), CX
	LEAQ (R8)(R8*2), R9
	LEAQ (SI)(R8*4), DX
	LEAQ (SI)(R8*8), R10
	LEAQ (R10)(R8*8), R10
	LEAQ (R10)(R8*4), R11

loop:
	PREFETCHT0 (R10)
	PREFETCHT0 (R10)(R8*1)
	PREFETCHT0 (R10)(R8*2)
	PREFETCHT0 (R10)(R9*1)
	PREFETCHT0 (R11)
	PREFETCHT0 (R11)(R8*1)
	PREFETCHT0 (R11)(R8*2)
	PREFETCHT0 (R11)(R9*1)
	VMOVUPS (SI), X0
	VMOVUPS (SI)(R8*1), X1
	VMOVUPS (SI)(R8*2), X2
	VMOVUPS (SI)(R9*1), X3
	VINSERTF128 $1, (DX), Y0, Y0           // rows 0 and 4, numbers 0 to 3
	VINSERTF128 $1, (DX)(R8*1), Y1, Y1     // 1 and 5
	VINSERTF128 $1, (DX)(R8*2), Y2, Y2
	VINSERTF128 $1, (DX)(R9*1), Y3, Y3
	VMOVUPS 16(SI), X4
	VMOVUPS 16(SI)(R8*1), X5
	VMOVUPS 16(SI)(R8*2), X6
	VMOVUPS 16(SI)(R9*1), X7
	VINSERTF128 $1, 16(DX), Y4, Y4         // numbers 4 to 7
	VINSERTF128 $1, 16(DX)(R8*1), Y5, Y5
	VINSERTF128 $1, 16(DX)(R8*2), Y6, Y6
	VINSERTF128 $1, 16(DX)(R9*1), Y7, Y7
	VUNPCKLPS Y1, Y0, Y8                   // 0 of rows 0 1, 1 of rows 0 1
	VUNPCKHPS Y1, Y0, Y9
	VUNPCKLPS Y3, Y2, Y10
	VUNPCKHPS Y3, Y2, Y11
	VUNPCKLPD Y10, Y8, Y0                  // number 0 of all rows
	VUNPCKHPD Y10, Y8, Y1
	VUNPCKLPD Y11, Y9, Y2
	VUNPCKHPD Y11, Y9, Y3
	VUNPCKLPS Y5, Y4, Y8
	VUNPCKHPS Y5, Y4, Y9
	VUNPCKLPS Y7, Y6, Y10
	VUNPCKHPS Y7, Y6, Y11
	VUNPCKLPD Y10, Y8, Y4
	VUNPCKHPD Y10, Y8, Y5
	VUNPCKLPD Y11, Y9, Y6
	VUNPCKHPD Y11, Y9, Y7
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 64(DI)
	VMOVUPS Y2, 128(DI)
	VMOVUPS Y3, 192(DI)
	VMOVUPS Y4, 256(DI)
	VMOVUPS Y5, 320(DI)
	VMOVUPS Y6, 384(DI)
	VMOVUPS Y7, 448(DI)
	ADDQ $32, SI
	ADDQ $32, DX
	ADDQ $32, R10
	ADDQ $32, R11
	ADDQ $512, DI
	SUBQ $8, CX
	JNZ  loop
	VZEROUPPER
	RET
