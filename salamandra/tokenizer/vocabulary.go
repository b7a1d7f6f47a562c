package tokenizer

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/tokenizerjson"
)

// vocabulary holds the tokens by id and by text: the model's pieces, and the
// added tokens that are no pieces.
type vocabulary struct {
	pieces []string // "" for an id that no token has
	kinds  []kind   // by id, 0 for an id that no token has
	ids    map[string]int32
}

// kind is a set of things the token of an id may be.
type kind uint8

const (
	modelPiece kind = 1 << iota
	added
	special
	control // not to come of text
)

// maxGap bounds the number of ids that no token has, so that a small file
// cannot ask for a large table.
const maxGap = 1 << 16

// is reports whether the token of id is all that is in k.
func (v *vocabulary) is(id int32, k kind) bool {
	return id >= 0 && int(id) < len(v.kinds) && v.kinds[id]&k == k
}

// token returns the text of an id. It reports false if no token has the id.
func (v *vocabulary) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(v.pieces) {
		return "", false
	}
	return v.pieces[id], v.kinds[id] != 0
}

// newVocabulary takes the pieces of the model from a file.
func newVocabulary(f *tokenizerjson.File, list *faults.List) *vocabulary {
	v := &vocabulary{ids: make(map[string]int32, len(f.Vocab))}
	limit := len(f.Vocab) + maxGap
	for _, e := range f.Vocab {
		piece := f.Piece(e)
		if e.ID < 0 || int(e.ID) >= limit {
			list.Addf("model.vocab", "%q has id %d, want 0 to %d", piece, e.ID, limit-1)
		} else if other, ok := v.token(e.ID); ok {
			list.Addf("model.vocab", "%q and %q have the same id %d", other, piece, e.ID)
		} else if other, ok := v.ids[piece]; ok {
			list.Addf("model.vocab", "%q has two ids, %d and %d", piece, other, e.ID)
		} else {
			v.put(piece, e.ID, modelPiece)
		}
	}
	return v
}

func (v *vocabulary) put(piece string, id int32, k kind) {
	for int(id) >= len(v.pieces) {
		v.pieces = append(v.pieces, "")
		v.kinds = append(v.kinds, 0)
	}
	v.pieces[id], v.kinds[id], v.ids[piece] = piece, k, id
}

// add takes the added tokens. Those that are no pieces must have the ids that
// Hugging Face tokenizers gives them whatever the file says: in their order,
// from next, the number of pieces, on.
func (v *vocabulary) add(tokens []*addedToken, next int32, list *faults.List) {
	for i, a := range tokens {
		path := fmt.Sprintf("added_tokens[%d]", i)
		want, known := v.ids[a.content]
		if !known {
			want = next
			next++
		}
		if v.is(want, added) {
			list.Addf(path, "%q is there twice", a.content)
			continue
		}
		if a.id != want {
			list.Addf(path, "%q has id %d, want %d", a.content, a.id, want)
			continue
		}
		if other, ok := v.token(want); ok && !known {
			list.Addf(path, "%q and %q have the same id %d", other, a.content, want)
			continue
		}
		if !known {
			v.put(a.content, want, 0)
		}
		v.kinds[want] |= added
		if a.special {
			v.kinds[want] |= special
		}
		if a.control {
			v.kinds[want] |= control
		}
	}
	for id, piece := range v.pieces {
		if v.kinds[id] != 0 && isMark(piece) {
			v.kinds[id] |= control
		}
	}
}

// resolveMerges finds the ids of the pieces that the merges name.
func (v *vocabulary) resolveMerges(f *tokenizerjson.File, list *faults.List) []merge {
	id := func(i int, piece string) int32 {
		id, ok := v.ids[piece]
		if !ok {
			list.Addf(fmt.Sprintf("model.merges[%d]", i), "%q is not in the vocabulary", piece)
		}
		return id
	}
	merges := make([]merge, len(f.Merges))
	for i, m := range f.Merges {
		merges[i] = merge{
			pair: pair{id(i, f.Left(m)), id(i, f.Right(m))},
			id:   id(i, f.Merged(m)),
		}
	}
	return merges
}
