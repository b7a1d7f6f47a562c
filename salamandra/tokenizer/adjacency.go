package tokenizer

import "unicode/utf8"

// Llama layouts hand the model whole paragraphs as one word. Most neighbours
// in them can never end up in one piece, such as a letter and the space after
// it; cutting there changes no id and makes words short enough to remember.

// adjacency says which characters, by class, a merge may join: the last one
// of its left piece and the first one of its right piece.
type adjacency [classes][classes]bool

// Each ASCII character is a class of its own, and so is U+2581, which stands
// for a space; all other characters are one class.
const (
	classMetaspace = utf8.RuneSelf
	classOther     = utf8.RuneSelf + 1
	classes        = utf8.RuneSelf + 2
)

func classOf(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return int(r)
	case r == '\u2581':
		return classMetaspace
	}
	return classOther
}

// newAdjacency returns nil where cutting could change ids: where a character
// may be unknown, since unknown ones fuse, and where bytes merge, since a byte
// is not the text of its piece.
func newAdjacency(m *bpe, pieces []string) *adjacency {
	isByte := map[int32]bool{}
	for _, id := range m.bytes {
		if id == none {
			return nil
		}
		isByte[id] = true
	}
	var a adjacency
	for _, merge := range m.merges {
		if isByte[merge.left] || isByte[merge.right] {
			return nil
		}
		last, _ := utf8.DecodeLastRuneInString(pieces[merge.left])
		first, _ := utf8.DecodeRuneInString(pieces[merge.right])
		a[classOf(last)][classOf(first)] = true
	}
	return &a
}
