package main

import (
	"strings"
	"testing"
)

// TestPlugin: a V100 needs CUDA 12, as do newer cards with an older driver.
func TestPlugin(t *testing.T) {
	for line, want := range map[string]string{
		"Tesla V100-SXM2-16GB, 16384 MiB, 580.65.06, 7.0": "jax[cuda12]",
		"Tesla T4, 15360 MiB, 580.65.06, 7.5":             "jax[cuda13]",
		"NVIDIA GeForce RTX 3090, 24576 MiB, 550.54, 8.6": "CUDA 12, for driver 550",
		"NVIDIA H100 80GB HBM3, 81559 MiB, 590.10, 9.0":   "jax[cuda13]",
		"Tesla K80, 11441 MiB, 470.82.01, 3.7":            "none for driver 470",
	} {
		card := parseCard(line)
		if card == nil || !strings.Contains(card.plugin(), want) {
			t.Errorf("%s: %v, want %s", line, card, want)
		}
	}
	if card := parseCard("No devices were found"); card != nil {
		t.Errorf("a card of nothing: %v", card)
	}
}
