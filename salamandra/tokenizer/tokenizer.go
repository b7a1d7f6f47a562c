package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FileName is the name of the file that Load reads.
const FileName = "tokenizer.json"

// Tokenizer turns text into token ids and back. Its methods may be called from
// several goroutines at the same time.
type Tokenizer struct {
	hash          string
	vocabulary    *vocabulary
	exact         matcher          // added tokens found in the text as it is
	normalized    matcher          // added tokens found in the normalized text
	shown         map[int32]string // what Decode starts from where that is not the token's text
	normalizers   []normalizer
	preTokenizers []preTokenizer
	model         *bpe
	plain         *bpe // the model without its special pieces
	template      template
	decoders      []decoder
}

// Load reads the tokenizer.json in the directory dir. Without one the error
// wraps [fs.ErrNotExist]; a file that cannot be used gives a [*ParseError].
func Load(dir string) (*Tokenizer, error) {
	data, err := os.ReadFile(filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tokenizer: no %s in %s: copy it from the directory of the base model: %w", FileName, dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return t, nil
}

// Parse reads the content of a tokenizer.json. Its error is a [*ParseError]
// with all that is malformed or not supported. Parse does not keep data.
func Parse(data []byte) (*Tokenizer, error) {
	var fs faults
	f := splitFile(data, &fs)
	if f == nil {
		return nil, fs.err()
	}
	sum := sha256.Sum256(data)
	t := &Tokenizer{hash: hex.EncodeToString(sum[:]), shown: map[int32]string{}}
	t.vocabulary = newVocabulary(f, &fs)
	merges := t.vocabulary.resolveMerges(f, &fs)
	options := parseModel(f.model, &fs)
	if _, ok := t.vocabulary.ids[options.unknown]; options.unknown != "" && !ok {
		fs.malformed("model.unk_token", "%q is not in the vocabulary", options.unknown)
	}

	top := fields{faults: &fs, members: f.sections}
	version := "1.0"
	if top.optional("version", &version); version != "1.0" {
		fs.unsupported("version", "%q, want \"1.0\"", version)
	}
	added := parseAddedTokens(top.take("added_tokens"), &fs)
	t.vocabulary.add(added, int32(len(f.vocab)), &fs)
	t.normalizers = parseNormalizers(top.take("normalizer"), &fs)
	t.preTokenizers = parsePreTokenizers(top.take("pre_tokenizer"), &fs)
	t.template = parseTemplate(top.take("post_processor"), t.vocabulary, &fs)
	t.decoders = parseDecoders(top.take("decoder"), &fs)
	// Both say how the tokenizer was last used; Transformers sets them anew
	// for each call.
	top.take("truncation")
	top.take("padding")
	top.end()
	if fs.err() == nil {
		t.findAdded(added, &fs)
	}
	if err := fs.err(); err != nil {
		return nil, err
	}
	t.buildModels(options, merges)
	return t, nil
}

// findAdded fills the two matchers.
func (t *Tokenizer) findAdded(tokens []*addedToken, fs *faults) {
	for _, a := range tokens {
		m, pattern := &t.exact, a.content
		if a.normalized {
			m, pattern = &t.normalized, string(t.normalize(&scratch{}, a.content))
			t.shown[a.id] = pattern
		}
		switch {
		case pattern == "":
			fs.malformed("added_tokens", "%q is empty when normalized", a.content)
		case !m.add(pattern, a):
			fs.malformed("added_tokens", "%q matches the same text as another token", a.content)
		}
	}
}

// buildModels builds the model, and for EncodeText a second one if the first
// could write a special token.
func (t *Tokenizer) buildModels(o modelOptions, merges []merge) {
	v := t.vocabulary
	t.model = newBPE(o, v, merges, func(id int32) bool { return v.is(id, modelPiece) })
	t.plain = t.model
	if t.model.reaches(v, special) {
		t.plain = newBPE(o, v, merges, func(id int32) bool { return v.is(id, modelPiece) && !v.is(id, special) })
	}
}

// Hash returns the SHA-256 of the tokenizer.json, in lower-case hexadecimal
// digits. Two tokenizers with the same hash are the same.
func (t *Tokenizer) Hash() string { return t.hash }

// VocabSize returns the largest token id plus one. The model's embedding may
// have more rows than that.
func (t *Tokenizer) VocabSize() int { return len(t.vocabulary.pieces) }

// TokenID returns the id of a token given as the file writes it: U+2581 for a
// space in Llama layouts, "<0x0A>" for a byte. It reports false if there is no
// such token.
func (t *Tokenizer) TokenID(token string) (int32, bool) {
	id, ok := t.vocabulary.ids[token]
	return id, ok
}

// Token returns the token of an id as the file writes it. It reports false if
// no token has the id.
func (t *Tokenizer) Token(id int32) (string, bool) { return t.vocabulary.token(id) }

// IsSpecial reports whether id is an added token with special: true, such as
// "<s>" or "<|im_end|>".
func (t *Tokenizer) IsSpecial(id int32) bool { return t.vocabulary.is(id, special) }

// BOS returns the id that EncodeWithSpecial puts first. It reports false if
// the file asks for none.
func (t *Tokenizer) BOS() (int32, bool) {
	if len(t.template.before) == 0 {
		return 0, false
	}
	return t.template.before[0], true
}
