package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// gpuModel is a card as its vendor describes it.
type gpuModel struct {
	gib       float64 // memory as the driver reports it: what is on the label, less what error correction takes
	bandwidth float64 // of the memory, 10^9 bytes per second
	tflops    float64 // products of dense 16-bit matrices summed in 32 bits, 10^12 operations per second
	bfloat16  bool
}

// gpus are cards by the name that --gpu takes. Bandwidth and speed are those of
// NVIDIA's data sheets and white papers, without sparsity; the numbers in brackets
// name them.
//
//	[1] T4 data sheet, 2019             [2] V100 data sheet, 2020 (SXM2)
//	[3] A100 data sheet, 2021 (SXM)     [4] A10 data sheet, 2021
//	[5] A40 data sheet, 2021            [6] L4 data sheet, 2023
//	[7] L40S data sheet, 2023           [8] H100 data sheet, 2023
//	[9] H200 data sheet, 2024           [10] Ampere GA102 white paper, v2
//	[11] Ada white paper, v2            [12] RTX A6000 data sheet, 2020
//	[13] RTX Blackwell white paper, v1  [14] A30 data sheet, 2021
var gpus = map[string]gpuModel{
	"t4":        {15, 320, 65, false},       // [1]
	"v100-16":   {16, 900, 125, false},      // [2]
	"v100":      {32, 900, 125, false},      // [2]
	"a100-40":   {40, 1555, 312, true},      // [3]
	"a100-80":   {80, 2039, 312, true},      // [3]
	"a10":       {22.5, 600, 125, true},     // [4]
	"a30":       {24, 933, 165, true},       // [14]
	"a40":       {45, 696, 149.7, true},     // [5]
	"l4":        {22.5, 300, 121, true},     // [6]
	"l40s":      {45, 864, 362, true},       // [7]
	"h100-pcie": {79.6, 2000, 756, true},    // [8]
	"h100":      {79.6, 3350, 989.5, true},  // [8]
	"h200":      {140.4, 4800, 989.5, true}, // [9]
	"rtx3080":   {10, 760, 59.5, true},      // [10]
	"rtx3090":   {24, 936, 71, true},        // [10]
	"rtxa6000":  {48, 768, 154.8, true},     // [12]
	"rtx4080":   {16, 716.8, 97.5, true},    // [11]
	"rtx4090":   {24, 1008, 165.2, true},    // [11]
	"rtx5090":   {31.8, 1792, 209.5, true},  // [13]
}

// findGPU returns a card by its name, written with or without hyphens and spaces.
func findGPU(name string) (gpuModel, error) {
	plain := func(s string) string {
		return strings.NewReplacer("-", "", " ", "", "_", "").Replace(strings.ToLower(s))
	}
	for known, card := range gpus {
		if plain(known) == plain(name) {
			return card, nil
		}
	}
	return gpuModel{}, fmt.Errorf("--gpu %q, want one of %s; --device-memory 24GB asks for the memory of any other", name, strings.Join(slices.Sorted(maps.Keys(gpus)), ", "))
}
