package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/tokenizerjson"
)

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
	plain         *bpe // the model without its control tokens
	template      template
	decoders      []decoder
}

// Load reads the tokenizer.json in the directory dir. It fails with
// [io/fs.ErrNotExist] if there is none, and lists all that is malformed or not
// supported in a file that cannot be used.
func Load(dir string) (*Tokenizer, error) {
	data, err := tokenizerjson.ReadFile(dir)
	if err != nil {
		return nil, err
	}
	return parse(data, filepath.Join(dir, tokenizerjson.Name))
}

// Parse reads the content of a tokenizer.json. Its error lists all that is
// malformed or not supported. Parse does not keep data.
func Parse(data []byte) (*Tokenizer, error) { return parse(data, tokenizerjson.Name) }

func parse(data []byte, path string) (*Tokenizer, error) {
	list := &faults.List{Subject: path}
	f := tokenizerjson.Parse(data, list)
	if f == nil {
		return nil, list.Err()
	}
	sum := sha256.Sum256(data)
	t := &Tokenizer{hash: hex.EncodeToString(sum[:]), shown: map[int32]string{}}
	t.vocabulary = newVocabulary(f, list)
	merges := t.vocabulary.resolveMerges(f, list)
	options := parseModel(f.Object("model"), t.vocabulary)
	if version := f.String("version", "1.0"); version != "1.0" {
		f.Fault("version", nil, "%q is not supported, want \"1.0\"", version)
	}
	added := parseAddedTokens(f.Fields)
	t.vocabulary.add(added, int32(len(f.Vocab)), list)
	t.normalizers = parseNormalizers(f.Fields)
	t.preTokenizers = parsePreTokenizers(f.Fields)
	t.template = parseTemplate(f.Fields, t.vocabulary)
	t.decoders = parseDecoders(f.Fields)
	// Both say how the tokenizer was last used; Transformers sets them anew
	// for each call.
	f.Value("truncation")
	f.Value("padding")
	end(f.Fields)
	if list.Len() == 0 {
		t.findAdded(added, list)
	}
	if err := list.Err(); err != nil {
		return nil, err
	}
	t.buildModels(options, merges)
	return t, nil
}

// findAdded fills the two matchers.
func (t *Tokenizer) findAdded(tokens []*addedToken, list *faults.List) {
	for _, a := range tokens {
		m, pattern := &t.exact, a.content
		if a.normalized {
			m, pattern = &t.normalized, string(t.normalize(&scratch{}, a.content))
			t.shown[a.id] = pattern
		}
		switch {
		case pattern == "":
			list.Addf("added_tokens", "%q is empty when normalized", a.content)
		case !m.add(pattern, a):
			list.Addf("added_tokens", "%q matches the same text as another token", a.content)
		}
	}
}

// buildModels builds the model, and for EncodeText a second one if the first
// could write a control token.
func (t *Tokenizer) buildModels(o modelOptions, merges []merge) {
	v := t.vocabulary
	t.model = newBPE(o, v, merges, func(id int32) bool { return v.is(id, modelPiece) })
	t.plain = t.model
	if t.model.reaches(v, control) {
		t.plain = newBPE(o, v, merges, func(id int32) bool { return v.is(id, modelPiece) && !v.is(id, control) })
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

// token returns the token of an id as the file writes it. It reports false if
// no token has the id.
func (t *Tokenizer) Token(id int32) (string, bool) { return t.vocabulary.token(id) }

// isSpecial reports whether id is an added token with special: true, such as
// "<s>" or "<|im_end|>".
func (t *Tokenizer) isSpecial(id int32) bool { return t.vocabulary.is(id, special) }

// bos returns the id that encodeWithSpecial puts first. It reports false if
// the file asks for none.
func (t *Tokenizer) bos() (int32, bool) {
	if len(t.template.before) == 0 {
		return 0, false
	}
	return t.template.before[0], true
}
