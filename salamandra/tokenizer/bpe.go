package tokenizer

import (
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// none marks the absence of an id.
const none = int32(-1)

// bpe turns a word into ids: first one symbol per character, then the pair of
// neighbours with the lowest rank, leftmost first, becomes one, until no pair
// is left that may.
//
// Source: Sennrich et al. 2016, arXiv:1508.07909; what becomes of unknown
// characters as in the BPE model of Hugging Face tokenizers.
type bpe struct {
	ascii    [utf8.RuneSelf]int32 // ids of the pieces of one character
	runes    map[rune]int32       // the same beyond ASCII
	bytes    [256]int32           // ids of the pieces <0x00> to <0xFF>
	unknown  int32                // for a character with neither id nor bytes
	fuse     bool                 // a run of such characters becomes one id
	isPiece  func(word []byte) (int32, bool)
	merges   []merge // by rank
	ranks    map[pair]uint32
	adjacent *adjacency // nil where any two characters may be joined

	pool sync.Pool // of *scratch
}

type pair struct{ left, right int32 }

// merge is a pair of symbols and the symbol they become.
type merge struct {
	pair
	id int32
}

// scratch is the memory of one encoding, kept for the next one.
type scratch struct {
	current, next words
	symbols       []symbol
	heap          mergeHeap
	cache         map[string][2]int // word to the bounds of its ids in cached
	cached        []int32
}

// symbol is an element of the doubly linked list of a word's symbols.
type symbol struct {
	id         int32 // none once it is merged into the one before
	prev, next int32 // indices, none at the ends
}

// Words up to longestCached bytes are remembered, mostCached of them: about
// 1 MB for each encoding that runs at the same time.
const (
	longestCached = 64
	mostCached    = 1 << 13
)

// modelOptions are the small members of the section "model".
type modelOptions struct {
	unknown      string // none if empty
	fuse         bool
	byteFallback bool
	ignoreMerges bool
}

// parseModel reads the members of "model" but vocab and merges.
func parseModel(f *strictjson.Fields, v *vocabulary) modelOptions {
	f.Need("type")
	if kind := f.String("type", ""); kind != "" && kind != "BPE" {
		f.Fault("type", nil, "%q is not supported, want \"BPE\"", kind)
	}
	if f.Has("dropout") {
		f.Fault("dropout", nil, "%v is not supported, want null", f.Number("dropout", 0))
	}
	for _, key := range []string{"continuing_subword_prefix", "end_of_word_suffix"} {
		if affix := f.String(key, ""); affix != "" {
			f.Fault(key, nil, "%q is not supported, want null", affix)
		}
	}
	o := modelOptions{
		unknown: f.String("unk_token", ""), fuse: f.Bool("fuse_unk", false),
		byteFallback: f.Bool("byte_fallback", false), ignoreMerges: f.Bool("ignore_merges", false),
	}
	if _, ok := v.ids[o.unknown]; o.unknown != "" && !ok {
		f.Fault("unk_token", nil, "%q is not in the vocabulary", o.unknown)
	}
	end(f)
	return o
}

// newBPE builds the model over the pieces of v that usable admits.
func newBPE(o modelOptions, v *vocabulary, merges []merge, usable func(id int32) bool) *bpe {
	m := &bpe{unknown: none, fuse: o.fuse, runes: map[rune]int32{}, merges: merges}
	m.pool.New = func() any { return &scratch{cache: map[string][2]int{}} }
	lookup := func(piece string) int32 {
		if id, ok := v.ids[piece]; ok && usable(id) {
			return id
		}
		return none
	}
	for i := range m.ascii {
		m.ascii[i] = lookup(string(rune(i)))
	}
	for _, piece := range v.pieces {
		if r, size := utf8.DecodeRuneInString(piece); size > 1 && size == len(piece) {
			if id := lookup(piece); id != none {
				m.runes[r] = id
			}
		}
	}
	for b := range m.bytes {
		m.bytes[b] = none
		if o.byteFallback {
			m.bytes[b] = lookup(bytePiece(byte(b)))
		}
	}
	if o.unknown != "" {
		m.unknown = v.ids[o.unknown]
	}
	if o.ignoreMerges {
		m.isPiece = func(word []byte) (int32, bool) {
			id, ok := v.ids[string(word)]
			return id, ok && usable(id)
		}
	}
	m.ranks = make(map[pair]uint32, len(merges))
	for rank, merge := range merges {
		if usable(merge.id) {
			m.ranks[merge.pair] = uint32(rank)
		}
	}
	m.adjacent = newAdjacency(m, v.pieces)
	return m
}

// reaches reports whether the model can write, other than for an unknown
// character, an id of a kind.
func (m *bpe) reaches(v *vocabulary, k kind) bool {
	for id, piece := range v.pieces {
		_, isByte := pieceByte(piece)
		if v.is(int32(id), modelPiece|k) && (m.isPiece != nil || isByte || utf8.RuneCountInString(piece) == 1) {
			return true
		}
	}
	return slices.ContainsFunc(m.merges, func(merge merge) bool { return v.is(merge.id, k) })
}

// bytePiece returns the piece that stands for a byte.
func bytePiece(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

// encode appends the ids of a word.
func (m *bpe) encode(ids []int32, word []byte, s *scratch) []int32 {
	if m.isPiece != nil {
		if id, ok := m.isPiece(word); ok {
			return append(ids, id)
		}
	}
	if m.adjacent == nil {
		return m.encodePart(ids, word, s)
	}
	start, before := 0, 0
	for i := 0; i < len(word); {
		r, size := rune(word[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(word[i:])
		}
		after := classOf(r)
		if i > start && !m.adjacent[before][after] {
			ids = m.encodePart(ids, word[start:i], s)
			start = i
		}
		before = after
		i += size
	}
	return m.encodePart(ids, word[start:], s)
}

// encodePart appends the ids of a word that cannot be cut further, from the
// cache if it is there.
func (m *bpe) encodePart(ids []int32, word []byte, s *scratch) []int32 {
	if len(word) == 1 && word[0] < utf8.RuneSelf {
		if id := m.ascii[word[0]]; id != none {
			return append(ids, id)
		}
	}
	if len(word) > longestCached {
		return m.merge(ids, word, s)
	}
	if at, ok := s.cache[string(word)]; ok {
		return append(ids, s.cached[at[0]:at[1]]...)
	}
	if len(s.cache) == mostCached {
		s.forget()
	}
	start := len(s.cached)
	s.cached = m.merge(s.cached, word, s)
	s.cache[string(word)] = [2]int{start, len(s.cached)}
	return append(ids, s.cached[start:]...)
}

// forget empties the cache.
func (s *scratch) forget() {
	clear(s.cache)
	s.cached = s.cached[:0]
}

// merge appends the ids of a word.
func (m *bpe) merge(ids []int32, word []byte, s *scratch) []int32 {
	s.spell(m, word)
	symbols := s.symbols
	s.heap = s.heap[:0]
	for i := 1; i < len(symbols); i++ {
		if rank, ok := m.ranks[pair{symbols[i-1].id, symbols[i].id}]; ok {
			s.heap = append(s.heap, entry(rank, int32(i-1)))
		}
	}
	slices.Sort(s.heap) // a sorted slice is a heap
	for len(s.heap) > 0 {
		rank, at := s.heap.pop()
		left := &symbols[at]
		if left.next == none {
			continue
		}
		right := &symbols[left.next]
		if merge := m.merges[rank]; (pair{left.id, right.id}) == merge.pair {
			left.id = merge.id
		} else {
			continue // one of the two has changed since
		}
		right.id = none
		left.next = right.next
		if left.next != none {
			symbols[left.next].prev = at
			if rank, ok := m.ranks[pair{left.id, symbols[left.next].id}]; ok {
				s.heap.push(entry(rank, at))
			}
		}
		if left.prev != none {
			if rank, ok := m.ranks[pair{symbols[left.prev].id, left.id}]; ok {
				s.heap.push(entry(rank, left.prev))
			}
		}
	}
	for i := range symbols {
		if symbols[i].id != none {
			ids = append(ids, symbols[i].id)
		}
	}
	return ids
}

// spell fills s.symbols with one symbol per character of word, or one per byte
// of a character that is no piece. A character without either becomes
// m.unknown, which waits for the next known character: bytes in between come
// before it, as in the reference.
func (s *scratch) spell(m *bpe, word []byte) {
	s.symbols = s.symbols[:0]
	waiting := false
	for i := 0; i < len(word); {
		r, size := rune(word[i]), 1
		id := none
		if r < utf8.RuneSelf {
			id = m.ascii[r]
		} else {
			r, size = utf8.DecodeRune(word[i:])
			if known, ok := m.runes[r]; ok {
				id = known
			}
		}
		char := word[i : i+size]
		i += size
		switch {
		case id != none:
			if waiting {
				s.add(m.unknown)
				waiting = false
			}
			s.add(id)
		case m.hasBytes(char):
			for _, b := range char {
				s.add(m.bytes[b])
			}
		case m.unknown != none:
			if waiting && !m.fuse {
				s.add(m.unknown)
			}
			waiting = true
		}
	}
	if waiting {
		s.add(m.unknown)
	}
	if n := len(s.symbols); n > 0 {
		s.symbols[n-1].next = none
	}
}

func (s *scratch) add(id int32) {
	n := int32(len(s.symbols))
	s.symbols = append(s.symbols, symbol{id: id, prev: n - 1, next: n + 1})
}

func (m *bpe) hasBytes(char []byte) bool {
	for _, b := range char {
		if m.bytes[b] == none {
			return false
		}
	}
	return true
}

// mergeHeap is a binary heap of possible merges, the least on top. An entry is
// a rank and, in the low half, the index of the left symbol.
type mergeHeap []uint64

func entry(rank uint32, at int32) uint64 { return uint64(rank)<<32 | uint64(at) }

func (h *mergeHeap) push(e uint64) {
	heap := append(*h, e)
	i := len(heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if heap[parent] <= e {
			break
		}
		heap[i] = heap[parent]
		i = parent
	}
	heap[i] = e
	*h = heap
}

func (h *mergeHeap) pop() (rank uint32, at int32) {
	heap := *h
	top, last := heap[0], heap[len(heap)-1]
	heap = heap[:len(heap)-1]
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(heap) {
			if len(heap) > 0 {
				heap[i] = last
			}
			break
		}
		if child+1 < len(heap) && heap[child+1] < heap[child] {
			child++
		}
		if last <= heap[child] {
			heap[i] = last
			break
		}
		heap[i] = heap[child]
		i = child
	}
	*h = heap
	return uint32(top >> 32), int32(uint32(top))
}
