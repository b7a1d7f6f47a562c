package generate

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

// row is a request under way.
type row struct {
	*task
	variant *variant
	prefix  *prefix // nil for none
	draw    *rand.Rand
	at      int      // place in the cache
	length  int      // tokens in the cache
	kv      *stretch // the cache where the host has it
	text    []int32  // prompt and answer
	pending []int32  // tokens to compute before the next choice
	draft   []run    // what may come after them, computed with them
	ended   bool
}

// run is a token and those that it forces.
type run []int32

// advance takes the tokens that come after the pending ones, at choice i of the
// step: as long as the draft foresaw them, several.
func (r *row) advance(s *scores, i int) error {
	draft := r.draft
	r.draft = nil
	for {
		id, err := s.choose(r, i)
		if err != nil {
			return err
		}
		tokens, err := r.take(id)
		if err != nil || r.ended {
			return err
		}
		if len(draft) == 0 || !slices.Equal(tokens, draft[0]) {
			r.pending = append(r.pending, tokens...)
			return nil
		}
		r.length += len(tokens)
		draft, i = draft[1:], i+1
	}
}

// take appends a chosen token and those it forces.
func (r *row) take(id int32) (run, error) {
	if slices.Contains(r.StopTokens, id) {
		r.out.Stopped, r.ended = true, true
		return nil, nil
	}
	if len(r.out.IDs) == r.out.ForcedTokens {
		r.out.FirstToken = time.Since(r.start)
	}
	r.variant.ngrams.chosen(r.text, id)
	if err := r.append(id); err != nil || r.ended {
		return nil, err
	}
	forced, err := r.force()
	return append(run{id}, forced...), err
}

// force appends the tokens that the constraint leaves no choice about.
func (r *row) force() ([]int32, error) {
	if r.Constraint == nil {
		return nil, nil
	}
	forced := r.Constraint.ForcedTokens(r.MaxNewTokens - len(r.out.IDs))
	for i, id := range forced {
		r.out.ForcedTokens++
		if err := r.append(id); err != nil || r.ended {
			return forced[:i+1], err
		}
	}
	return forced, nil
}

// append puts a token behind the answer.
func (r *row) append(id int32) error {
	r.out.IDs = append(r.out.IDs, id)
	r.variant.ngrams.learn(r.text, id)
	r.text = append(r.text, id)
	err := r.emit(id)
	if r.Constraint != nil {
		err = errors.Join(err, r.Constraint.Accept(id))
		r.out.Stopped = r.Constraint.Done()
	}
	r.ended = r.out.Stopped || len(r.out.IDs) == r.MaxNewTokens
	return err
}
