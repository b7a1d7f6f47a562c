package generate

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestShapesAreAll draws steps of any kind and sees that their shapes are among
// those that are compiled ahead of time.
func TestShapesAreAll(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := buckets{limit: 1 + draw.IntN(9000), prefix: 128 * draw.IntN(3), host: draw.IntN(2) == 0}
		w := []int{1, 1 + draw.IntN(12)}[draw.IntN(2)]
		most := chunkAlone
		if w > 1 {
			most = []int{chunkShared, chunkLong}[draw.IntN(2)]
		}
		var least size
		for range 1 + draw.IntN(w) {
			n := 1 + draw.IntN(most)
			least.n, least.s = least.n+n, max(least.s, n)
		}
		z := b.size(w, least)
		if z.n < least.n || !b.host && z.s < least.s {
			t.Fatalf("%v of %d rows rounded to %v", least, w, z)
		}
		if b.host {
			choices := 1 + draw.IntN(b.choices(z.n, w))
			r := b.chosen(choices, z.n, w)
			if r < choices || !slices.ContainsFunc(b.shapes(1, w), func(s stepShape) bool { return s.n == z.n && s.r == r && s.s+s.m+s.p == 0 }) {
				t.Fatalf("%d choices of %d tokens of %d rows become %d, which are not among %v", choices, z.n, w, r, b.shapes(1, w))
			}
			continue
		}
		m := 1 + draw.IntN(b.limit)
		room := b.room(m)
		if room < m || b.room(room) != room {
			t.Fatalf("%d tokens get %d places, and those get %d", m, room, b.room(room))
		}
		s := stepShape{w: w, m: room, size: z, p: b.prefix, r: b.choices(z.n, w)}
		if all := b.shapes(w); !slices.Contains(all, s) {
			t.Fatalf("%v is not among %v", s, all)
		}
	}
}

// TestShapesAreFew bounds what a warm-up costs.
func TestShapesAreFew(t *testing.T) {
	for limit, rooms := range map[int][]int{100: {128}, 512: {512}, 2048: {512, 2048}, 4000: {512, 2048, 4032}, 8192: {512, 2048, 8192}} {
		b := buckets{limit: limit}
		if got := b.rooms(); !slices.Equal(got, rooms) {
			t.Errorf("rooms for %d tokens are %v, want %v", limit, got, rooms)
		}
		if n := len(b.shapes(1, 8)); n != 11*len(rooms) {
			t.Errorf("%d programs for %d tokens, want %d", n, limit, 11*len(rooms))
		}
		b.host = true
		if n := len(b.shapes(1, 8)); n != 17 {
			t.Errorf("%d programs for %d tokens where the host computes attention, want 17", n, limit)
		}
	}
}

// TestExactShapes: where shapes cost nothing an eighth of the places are idle at most, a
// third of those of a row, and no choice that nobody asked for in steps of few.
func TestExactShapes(t *testing.T) {
	b := buckets{exact: true}
	for n := 1; n <= chunkAlone; n++ {
		if z := b.size(1, size{n, n}); z.n < n || z.s != z.n || 8*z.n > 9*n {
			t.Errorf("%d tokens of a row get %v", n, z)
		}
		for s := 1; s <= min(n, chunkLong); s++ {
			if z := b.size(8, size{n, s}); z.n < n || z.s < s || 8*z.n > 9*n || 2*z.s > 3*s {
				t.Errorf("%d tokens of 8 rows, %d of one, get %v", n, s, z)
			}
		}
		for choices := range min(n, b.choices(n, 8)) + 1 {
			if got := b.chosen(choices, n, 8); got < max(1, choices) || got > n || choices > 0 && 2*got > 3*choices {
				t.Errorf("%d choices of %d tokens become %d", choices, n, got)
			}
		}
	}
}
