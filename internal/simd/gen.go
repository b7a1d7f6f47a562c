//go:build ignore

package main

// This program writes tile_amd64.s, whole_amd64.s and tile_arm64.s: the tile kernels of
// the matrix product, for one to six rows.

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

const head = "// Made by gen.go; do not edit.\n\n#include \"textflag.h\"\n"

func main() {
	for name, kernel := range map[string]func(w *bytes.Buffer, rows int){"tile_amd64.s": avx2, "whole_amd64.s": avx2Whole, "tile_arm64.s": neon} {
		w := bytes.NewBufferString(head)
		for rows := 1; rows <= 6; rows++ {
			kernel(w, rows)
		}
		if err := os.WriteFile(name, w.Bytes(), 0o644); err != nil {
			panic(err)
		}
	}
}

// avx2 is the kernel for panels of float32.
func avx2(w *bytes.Buffer, rows int) {
	tile(w, fmt.Sprintf("tile%d(c *float32, ldc int, a *float32, lda int, b *float32, k int, add bool)", rows), rows, 64, func(n int) string {
		return fmt.Sprintf("\tVMOVUPS %d(DX), Y12\n\tVMOVUPS %d(DX), Y13\n", 64*n, 64*n+32)
	})
}

// avx2Whole is the kernel for panels of int8, which it converts as it reads them.
func avx2Whole(w *bytes.Buffer, rows int) {
	tile(w, fmt.Sprintf("whole%d(c *float32, ldc int, a *float32, lda int, b *int8, k int, add bool)", rows), rows, 16, func(n int) string {
		text := fmt.Sprintf("\tVPMOVSXBD %d(DX), Y12\n\tVPMOVSXBD %d(DX), Y13\n\tVCVTDQ2PS Y12, Y12\n\tVCVTDQ2PS Y13, Y13\n", 16*n, 16*n+8)
		if n == 0 {
			text = "\tPREFETCHT0 4096(DX)\n" + text
		}
		return text
	})
}

// tile keeps sixteen columns of a row in two registers, Y0 and Y1 for the first. load
// puts row n of a panel, of rows of so many bytes, into Y12 and Y13.
func tile(w *bytes.Buffer, signature string, rows, bytes int, load func(n int) string) {
	address := func(base, one, three, five string, i int, offset string) string {
		forms := []string{"(" + base + ")", "(" + base + ")(" + one + "*1)", "(" + base + ")(" + one + "*2)", "(" + base + ")(" + three + "*1)", "(" + base + ")(" + one + "*4)", "(" + base + ")(" + five + "*1)"}
		return offset + forms[i]
	}
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	name, _, _ := strings.Cut(signature, "(")
	p("\n// func %s", signature)
	p("TEXT ·%s(SB), NOSPLIT, $0-49", name)
	p("\tMOVQ c+0(FP), DI\n\tMOVQ ldc+8(FP), R8\n\tMOVQ a+16(FP), SI\n\tMOVQ lda+24(FP), R9\n\tMOVQ b+32(FP), DX\n\tMOVQ k+40(FP), CX")
	p("\tSHLQ $2, R8\n\tSHLQ $2, R9\n\tLEAQ (R9)(R9*2), R10\n\tLEAQ (R9)(R9*4), R11")
	for i := range 2 * rows {
		p("\tVXORPS Y%d, Y%d, Y%d", i, i, i)
	}
	step := func(n int) {
		w.WriteString(load(n))
		for i := range rows {
			y := 14 + i%2
			p("\tVBROADCASTSS %s, Y%d", address("SI", "R9", "R10", "R11", i, fmt.Sprint(4*n)), y)
			p("\tVFMADD231PS Y12, Y%d, Y%d\n\tVFMADD231PS Y13, Y%d, Y%d", y, 2*i, y, 2*i+1)
		}
	}
	p("\tSUBQ $4, CX\n\tJLT rest\n\nfour:")
	for n := range 4 {
		step(n)
	}
	p("\tADDQ $16, SI\n\tADDQ $%d, DX\n\tSUBQ $4, CX\n\tJGE four\n\nrest:\n\tADDQ $4, CX\n\tJZ sums\n\none:", 4*bytes)
	step(0)
	p("\tADDQ $4, SI\n\tADDQ $%d, DX\n\tDECQ CX\n\tJNZ one\n\nsums:", bytes)
	p("\tLEAQ (R8)(R8*2), R10\n\tLEAQ (R8)(R8*4), R11\n\tMOVBLZX add+48(FP), AX\n\tTESTL AX, AX\n\tJZ store")
	for i := range rows {
		for half, offset := range []string{"", "32"} {
			p("\tVADDPS %s, Y%d, Y%d", address("DI", "R8", "R10", "R11", i, offset), 2*i+half, 2*i+half)
		}
	}
	p("\nstore:")
	for i := range rows {
		for half, offset := range []string{"", "32"} {
			p("\tVMOVUPS Y%d, %s", 2*i+half, address("DI", "R8", "R10", "R11", i, offset))
		}
	}
	p("\tVZEROUPPER\n\tRET")
}

// neon keeps sixteen columns of a row in four registers, V0 to V3 for the first.
func neon(w *bytes.Buffer, rows int) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("\n// func tile%d(c *float32, ldc int, a *float32, lda int, b *float32, k int, add bool)", rows)
	p("TEXT ·tile%d(SB), NOSPLIT, $0-49", rows)
	p("\tMOVD c+0(FP), R0\n\tMOVD ldc+8(FP), R1\n\tMOVD a+16(FP), R2\n\tMOVD lda+24(FP), R3\n\tMOVD b+32(FP), R4\n\tMOVD k+40(FP), R5\n\tMOVBU add+48(FP), R6")
	p("\tLSL $2, R1, R1\n\tLSL $2, R3, R3")
	for i := 1; i < rows; i++ { // the rows of a begin at R2, R7, R8, ...
		from := "R2"
		if i > 1 {
			from = fmt.Sprintf("R%d", 5+i)
		}
		p("\tADD R3, %s, R%d", from, 6+i)
	}
	for i := range 4 * rows {
		p("\tVEOR V%d.B16, V%d.B16, V%d.B16", i, i, i)
	}
	p("\tCBZ R5, sums\n\none:\n\tVLD1.P 64(R4), [V24.S4, V25.S4, V26.S4, V27.S4]")
	for i := range rows {
		from := "R2"
		if i > 0 {
			from = fmt.Sprintf("R%d", 6+i)
		}
		v := 28 + i%2
		p("\tVLD1R.P 4(%s), [V%d.S4]", from, v)
		for j := range 4 {
			p("\tVFMLA V%d.S4, V%d.S4, V%d.S4", v, 24+j, 4*i+j)
		}
	}
	p("\tSUB $1, R5, R5\n\tCBNZ R5, one\n\nsums:\n\tCBZ R6, store\n\tMOVD R0, R7")
	for i := range rows {
		// a + b is 1*b + a, rounded once.
		if i == 0 {
			p("\tFMOVS $1.0, F28\n\tVDUP V28.S[0], V28.S4")
		}
		p("\tVLD1 (R7), [V24.S4, V25.S4, V26.S4, V27.S4]\n\tADD R1, R7, R7")
		for j := range 4 {
			p("\tVFMLA V28.S4, V%d.S4, V%d.S4", 24+j, 4*i+j)
		}
	}
	p("\nstore:")
	for i := range rows {
		p("\tVST1 [V%d.S4, V%d.S4, V%d.S4, V%d.S4], (R0)\n\tADD R1, R0, R0", 4*i, 4*i+1, 4*i+2, 4*i+3)
	}
	p("\tRET")
}
