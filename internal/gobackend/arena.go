package gobackend

import (
	"slices"
	"sync"
	"unsafe"
)

// line is what places in an arena are aligned to: a line of the cache.
const line = 64

func roundUp(n int) int { return (n + line - 1) / line * line }

// aligned is memory that begins at a line of the cache.
func aligned(n int) []byte {
	b := make([]byte, n+line)
	at := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % line)
	return b[at : at+n : at+n]
}

// spaces are the free ranges of an arena that grows.
type spaces struct {
	free []space // by offset, none beside another
	end  int
}

type space struct{ from, to int }

// take finds the smallest range that n bytes fit in.
func (s *spaces) take(n int) int {
	n = roundUp(max(n, 1))
	best := -1
	for i, f := range s.free {
		if f.to-f.from >= n && (best < 0 || f.to-f.from < s.free[best].to-s.free[best].from) {
			best = i
		}
	}
	if best >= 0 {
		at := s.free[best].from
		if s.free[best].from += n; s.free[best].from == s.free[best].to {
			s.free = slices.Delete(s.free, best, best+1)
		}
		return at
	}
	at := s.end
	if last := len(s.free) - 1; last >= 0 && s.free[last].to == s.end {
		at = s.free[last].from
		s.free = s.free[:last]
	}
	s.end = at + n
	return at
}

// give makes a range free again.
func (s *spaces) give(at, n int) {
	to := at + roundUp(max(n, 1))
	i, _ := slices.BinarySearchFunc(s.free, at, func(f space, at int) int { return f.from - at })
	if i > 0 && s.free[i-1].to == at {
		i--
		s.free[i].to = to
	} else {
		s.free = slices.Insert(s.free, i, space{at, to})
	}
	if i+1 < len(s.free) && s.free[i+1].from == to {
		s.free[i].to = s.free[i+1].to
		s.free = slices.Delete(s.free, i+1, i+2)
	}
}

// arenas are the memory of programs that run, kept for the next: one of a program
// that has ended serves any other that it is large enough for.
type arenas struct {
	mu   sync.Mutex
	idle [][]byte
}

// get returns the smallest idle arena of at least n bytes; if there is none, the
// largest makes room for a new one.
func (a *arenas) get(n int) []byte {
	a.mu.Lock()
	best := -1
	for i, b := range a.idle {
		if len(b) >= n && (best < 0 || len(b) < len(a.idle[best])) {
			best = i
		}
	}
	if best < 0 && len(a.idle) > 0 {
		largest := 0
		for i, b := range a.idle {
			if len(b) > len(a.idle[largest]) {
				largest = i
			}
		}
		a.idle = slices.Delete(a.idle, largest, largest+1)
	}
	defer a.mu.Unlock()
	if best < 0 {
		return aligned(n)
	}
	b := a.idle[best]
	a.idle = slices.Delete(a.idle, best, best+1)
	return b
}

func (a *arenas) put(b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.idle = append(a.idle, b)
}

func (a *arenas) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.idle = nil
}
