package tokenizer

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// Decode returns the text of ids. With skipSpecial the special tokens are left
// out. Ids that no token has are left out too. It equals decode(ids,
// skip_special_tokens) of Hugging Face tokenizers, but for a special token
// that the normalizer changes, which version 0.23 there shows all the same.
// The result is always UTF-8: U+FFFD stands for bytes that make no character.
//
// The text of a list of ids is not the text of its parts put together: layouts
// that put a space before a text take it off again at the start, and a
// character may be spread over several ids.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	pieces := make([]string, 0, len(ids))
	for _, id := range ids {
		if piece, ok := t.piece(id); ok && !(skipSpecial && t.isSpecial(id)) {
			pieces = append(pieces, piece)
		}
	}
	if t.decoders == nil {
		return strings.Join(pieces, " ")
	}
	for _, d := range t.decoders {
		pieces = d.decode(pieces)
	}
	return strings.Join(pieces, "")
}

// TokenBytes returns the bytes that a token adds to a text that it does not
// begin: one byte for "<0x0A>", a space for U+2581, the bytes behind a
// ByteLevel piece. They need not be UTF-8 by themselves. It reports false for
// control tokens (see [Tokenizer.EncodeText]), which add no text, and for ids that
// no token has.
func (t *Tokenizer) TokenBytes(id int32) ([]byte, bool) {
	piece, ok := t.piece(id)
	if !ok || t.vocabulary.is(id, control) {
		return nil, false
	}
	for _, d := range t.decoders {
		piece = d.decodePiece(piece)
	}
	return []byte(piece), true
}

// piece returns what Decode starts from for an id.
func (t *Tokenizer) piece(id int32) (string, bool) {
	if text, ok := t.shown[id]; ok {
		return text, true
	}
	return t.Token(id)
}

// decoder is a step from the pieces of a sequence back to its text.
type decoder interface {
	// decode rewrites the pieces, which it may overwrite.
	decode(pieces []string) []string
	// decodePiece rewrites one piece as decode does in the middle of a text.
	// The result need not be UTF-8.
	decodePiece(piece string) string
}

func (r replace) decode(pieces []string) []string {
	for i, piece := range pieces {
		pieces[i] = r.decodePiece(piece)
	}
	return pieces
}

func (r replace) decodePiece(piece string) string {
	return strings.ReplaceAll(piece, string(r.old), string(r.new))
}

// byteFallback turns a run of pieces like <0xC3> into the text that their bytes
// are, or into one U+FFFD for each if they are none.
type byteFallback struct{}

func (b byteFallback) decode(pieces []string) []string {
	out := pieces[:0]
	var run []byte
	flush := func() {
		if utf8.Valid(run) && len(run) > 0 {
			out = append(out, string(run))
		} else {
			for range run {
				out = append(out, string(utf8.RuneError))
			}
		}
		run = run[:0]
	}
	for _, piece := range pieces {
		if c, ok := pieceByte(piece); ok {
			run = append(run, c)
			continue
		}
		flush()
		out = append(out, piece)
	}
	flush()
	return out
}

func (byteFallback) decodePiece(piece string) string {
	if c, ok := pieceByte(piece); ok {
		return string([]byte{c})
	}
	return piece
}

// pieceByte is the inverse of bytePiece; either case of the digits will do.
func pieceByte(piece string) (byte, bool) {
	if len(piece) != len("<0x00>") || piece[:3] != "<0x" || piece[5] != '>' {
		return 0, false
	}
	n, err := strconv.ParseUint(piece[3:5], 16, 8)
	return byte(n), err == nil
}

// fuse makes one piece of all.
type fuse struct{}

func (fuse) decode(pieces []string) []string { return []string{strings.Join(pieces, "")} }
func (fuse) decodePiece(piece string) string { return piece }

// strip takes a character off the ends of each piece, at most so many times.
type strip struct {
	content     string
	start, stop int
}

func (s strip) decode(pieces []string) []string {
	for i, piece := range pieces {
		for range s.start {
			short, ok := strings.CutPrefix(piece, s.content)
			if !ok {
				break
			}
			piece = short
		}
		for range s.stop {
			short, ok := strings.CutSuffix(piece, s.content)
			if !ok {
				break
			}
			piece = short
		}
		pieces[i] = piece
	}
	return pieces
}

// decodePiece strips nothing: what is stripped is at the ends of the text.
func (strip) decodePiece(piece string) string { return piece }

func (m metaspace) decode(pieces []string) []string {
	for i, piece := range pieces {
		if i == 0 && m.scheme != "never" {
			pieces[i] = strings.ReplaceAll(piece, m.replacement, "")
		} else {
			pieces[i] = m.decodePiece(piece)
		}
	}
	return pieces
}

func (m metaspace) decodePiece(piece string) string {
	return strings.ReplaceAll(piece, m.replacement, " ")
}

// decode puts the bytes of all pieces together before it reads them as UTF-8,
// for a character may begin in one piece and end in the next.
func (b byteLevel) decode(pieces []string) []string {
	var text []byte
	for _, piece := range pieces {
		text = append(text, b.decodePiece(piece)...)
	}
	return []string{toValidUTF8(text)}
}

// decodePiece leaves a piece as it is where any of its characters stands for
// no byte: that is an added token.
func (byteLevel) decodePiece(piece string) string {
	text := make([]byte, 0, len(piece))
	for _, r := range piece {
		c, ok := runeByte(r)
		if !ok {
			return piece
		}
		text = append(text, c)
	}
	return string(text)
}

// toValidUTF8 puts one U+FFFD in place of each sequence of bytes that begins a
// character and does not end it, and of each byte that belongs nowhere
// (Unicode's "maximal subparts", which is what Rust and Python do; Go's own
// functions replace each byte or each run).
func toValidUTF8(text []byte) string {
	if utf8.Valid(text) {
		return string(text)
	}
	var out bytes.Buffer
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		out.WriteRune(r)
		if r == utf8.RuneError && size == 1 {
			for size < len(text) && !utf8.FullRune(text[:size+1]) {
				size++
			}
		}
		text = text[size:]
	}
	return out.String()
}

// parseDecoders reads the section "decoder".
func parseDecoders(f *strictjson.Fields) []decoder {
	var list []decoder
	components(f, "decoder", "decoders", func(kind string, f *strictjson.Fields) bool {
		switch kind {
		case "Replace":
			list = append(list, replaceOptions(f))
		case "ByteFallback":
			list = append(list, byteFallback{})
		case "Fuse":
			list = append(list, fuse{})
		case "Strip":
			list = append(list, strip{content: char(f, "content"), start: count(f, "start"), stop: count(f, "stop")})
		case "Metaspace":
			list = append(list, metaspaceOptions(f))
		case "ByteLevel":
			list = append(list, byteLevelOptions(f))
		default:
			return false
		}
		return true
	})
	return list
}
