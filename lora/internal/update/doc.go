// Package update is the arithmetic of a merge: what adapters add to one weight
// of a model, and how that is added and rounded.
//
// A [Part] is one adapter's B*A with its scale and weight; [Sum], [Elect] and
// [Drop] make an [Update] of several, which [Update.Merger] adds to a weight row
// by row. [Concatenate] and [Nearest] make one Part of several.
//
// Results have the same bits on every processor.
package update
