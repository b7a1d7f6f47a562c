package tokenizer

import (
	"slices"
	"unicode/utf8"
)

// Encode returns the ids of text. Added tokens written in it are recognised,
// special ones too: never call it with text from outside, which could close a
// turn of a chat; see EncodeText. It equals encode(text,
// add_special_tokens=False) of Hugging Face tokenizers.
func (t *Tokenizer) Encode(text string) []int32 {
	return t.encode(text, true, true)
}

// encodeWithSpecial returns the ids of text as Encode does, with the ids that
// the file's post-processor puts around them, often a BOS. It equals
// encode(text) of Hugging Face tokenizers.
func (t *Tokenizer) encodeWithSpecial(text string) []int32 {
	return slices.Concat(t.template.before, t.Encode(text), t.template.after)
}

// EncodeText returns the ids of a segment of a sequence in which control tokens
// are text like any other: "<|im_end|>" becomes the pieces of its characters.
// Control tokens are the special ones and, whatever their flags, those of the
// form <|...|> and <s>, </s>, <unk>, <pad>, <mask>, <bos> and <eos>. No id of one
// comes out, except the model's unknown token where the vocabulary has no bytes
// to spell a character with. Other added tokens are recognised.
//
// first is set for the segment that begins the sequence; some layouts put a space
// before it only there. For text after a control token it is false, so that
// control tokens by id and segments by EncodeText, put together, are what
// Encode makes of the whole, if no segment holds a control token and no
// control token has lstrip, rstrip or single_word.
func (t *Tokenizer) EncodeText(text string, first bool) []int32 {
	return t.encode(text, first, false)
}

func (t *Tokenizer) encode(text string, first, controls bool) []int32 {
	if !utf8.ValidString(text) {
		text = string([]rune(text))
	}
	m := t.model
	if !controls {
		m = t.plain
	}
	s := m.pool.Get().(*scratch)
	defer m.pool.Put(s)
	ids := make([]int32, 0, len(text)/3+1)
	for segment := range t.exact.segments(text, controls) {
		if segment.token != nil {
			ids = append(ids, segment.token.id)
			continue
		}
		atStart := first && segment.start == 0
		normal := t.normalize(s, segment.text)
		if len(t.normalized.tokens) == 0 {
			ids = t.encodeWords(ids, m, s, normal, atStart)
			continue
		}
		for segment := range t.normalized.segments(string(normal), controls) {
			if segment.token != nil {
				ids = append(ids, segment.token.id)
				continue
			}
			ids = t.encodeWords(ids, m, s, append(s.current.text[:0], segment.text...), atStart && segment.start == 0)
		}
	}
	return ids
}

// normalize returns the normalized text, in memory of s.current.
func (t *Tokenizer) normalize(s *scratch, text string) []byte {
	s.current.text = append(s.current.text[:0], text...)
	for _, n := range t.normalizers {
		s.next.text = n.normalize(s.next.text[:0], s.current.text)
		s.current, s.next = s.next, s.current
	}
	return s.current.text
}

// encodeWords appends the ids of a normalized text, which is in memory of
// s.current.
func (t *Tokenizer) encodeWords(ids []int32, m *bpe, s *scratch, text []byte, first bool) []int32 {
	s.current.text, s.current.ends = text, s.current.ends[:0]
	s.current.cut()
	for _, p := range t.preTokenizers {
		s.next.reset()
		start := 0
		for i, end := range s.current.ends {
			p.split(&s.next, s.current.text[start:end], first && i == 0)
			start = end
		}
		s.current, s.next = s.next, s.current
	}
	start := 0
	for _, end := range s.current.ends {
		ids = m.encode(ids, s.current.text[start:end], s)
		start = end
	}
	return ids
}
