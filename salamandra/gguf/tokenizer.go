package gguf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Kinds of tokens, as llama.cpp numbers them.
const (
	kindNormal      = 1
	kindUnknown     = 2
	kindControl     = 3
	kindUserDefined = 4
	kindUnused      = 5
	kindByte        = 6
)

// space is what SentencePiece writes for a space.
const space = "\u2581"

// tokenizerFile is what is needed of tokenizer.json.
type tokenizerFile struct {
	Normalizer   *component `json:"normalizer"`
	PreTokenizer *component `json:"pre_tokenizer"`
	AddedTokens  []struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
		Special bool   `json:"special"`
	} `json:"added_tokens"`
	Model struct {
		Type         string            `json:"type"`
		UnkToken     string            `json:"unk_token"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
		Vocab        map[string]int    `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
	} `json:"model"`
}

// component is a normalizer or pre-tokenizer.
type component struct {
	Type          string          `json:"type"`
	Normalizers   []component     `json:"normalizers"`
	Content       string          `json:"content"`
	Pattern       json.RawMessage `json:"pattern"`
	Prepend       string          `json:"prepend"`
	Replacement   string          `json:"replacement"`
	PrependScheme string          `json:"prepend_scheme"`
	AddPrefix     *bool           `json:"add_prefix_space"`
}

// tokenizerConfig is what is needed of tokenizer_config.json.
type tokenizerConfig struct {
	AddBOS       *bool           `json:"add_bos_token"`
	AddEOS       bool            `json:"add_eos_token"`
	BOS          token           `json:"bos_token"`
	EOS          token           `json:"eos_token"`
	UNK          token           `json:"unk_token"`
	PAD          token           `json:"pad_token"`
	ChatTemplate json.RawMessage `json:"chat_template"`
}

// A token is stored as its text or as an object with it.
type token string

// UnmarshalJSON reads both spellings.
func (t *token) UnmarshalJSON(text []byte) error {
	var object struct{ Content string }
	if len(text) > 0 && text[0] == '{' {
		err := json.Unmarshal(text, &object)
		*t = token(object.Content)
		return err
	}
	return json.Unmarshal(text, (*string)(t))
}

// A vocabulary is a tokenizer as llama.cpp's SentencePiece tokenizer has it.
type vocabulary struct {
	tokens      []string
	scores      []float32 // of two merges, the one to a higher score comes first
	kinds       []int32
	prefixSpace bool // a space is put before the text
	config      tokenizerConfig
	ids         []KV // of special tokens
	template    string
	warnings    []string
}

// readTokenizer reads the tokenizer of a model directory.
func readTokenizer(dir string, c *config) (*vocabulary, error) {
	var file tokenizerFile
	if err := readJSON(dir, "tokenizer.json", &file); err != nil {
		return nil, err
	}
	v := &vocabulary{}
	if err := readOptional(dir, "tokenizer_config.json", &v.config); err != nil {
		return nil, err
	}
	f := &faults{path: filepath.Join(dir, "tokenizer.json")}
	v.checkPipeline(f, &file)
	if err := f.err(); err != nil {
		return nil, err // a tokenizer of another kind: the rest means nothing
	}
	v.setTokens(f, &file, c.VocabSize)
	v.setScores(f, &file)
	v.setSpecial(c, file.Model.UnkToken)
	err := v.setTemplate(dir)
	return v, errors.Join(f.err(), err)
}

// checkPipeline refuses what llama.cpp's SentencePiece tokenizer does not do.
func (v *vocabulary) checkPipeline(f *faults, file *tokenizerFile) {
	if file.Model.Type != "BPE" || !file.Model.ByteFallback || file.Model.IgnoreMerges {
		f.add("model", ErrUnsupported, "type %q, byte_fallback %v, ignore_merges %v; want a BPE with byte fallback that was made from SentencePiece", file.Model.Type, file.Model.ByteFallback, file.Model.IgnoreMerges)
	}
	if p := file.PreTokenizer; p != nil {
		if p.Type != "Metaspace" || p.Replacement != space {
			f.add("pre_tokenizer", ErrUnsupported, "%s, want none or Metaspace", p.Type)
		}
		v.prefixSpace = p.PrependScheme == "always" || p.PrependScheme == "first" || p.PrependScheme == "" && (p.AddPrefix == nil || *p.AddPrefix)
	}
	if file.Normalizer != nil {
		v.checkNormalizer(f, *file.Normalizer)
	}
}

// checkNormalizer refuses what changes texts in another way than llama.cpp.
func (v *vocabulary) checkNormalizer(f *faults, n component) {
	switch {
	case n.Type == "Sequence":
		for _, part := range n.Normalizers {
			v.checkNormalizer(f, part)
		}
	case n.Type == "Prepend" && n.Prepend == space:
		v.prefixSpace = true
	case n.Type == "Replace" && n.Content == space && strings.Join(strings.Fields(string(n.Pattern)), "") == `{"String":""}`:
	case n.Type == "NFC":
		v.warnings = append(v.warnings, "llama.cpp does not compose characters (NFC); do so before sending it a text")
	default:
		f.add("normalizer", ErrUnsupported, "%s %s %q, want Prepend or Replace of a space by %q", n.Type, n.Pattern, n.Content+n.Prepend, space)
	}
}

// setTokens lists the tokens of all ids up to the rows of the embedding.
func (v *vocabulary) setTokens(f *faults, file *tokenizerFile, size int) {
	v.tokens, v.kinds = make([]string, size), make([]int32, size)
	place := func(content string, id int, kind int32) {
		if id < 0 || id >= size {
			f.add(content, ErrFile, "id %d, the model has %d", id, size)
			return
		}
		v.tokens[id], v.kinds[id] = content, kind
	}
	for content, id := range file.Model.Vocab {
		place(content, id, kindNormal)
	}
	for b := range 256 {
		content := fmt.Sprintf("<0x%02X>", b)
		if id, ok := file.Model.Vocab[content]; ok {
			place(content, id, kindByte)
		} else {
			f.add(content, ErrUnsupported, "the vocabulary lacks this byte")
		}
	}
	for _, t := range file.AddedTokens {
		kind := int32(kindUserDefined)
		if t.Special {
			kind = kindControl
		}
		place(t.Content, t.ID, kind)
	}
	if id, ok := file.Model.Vocab[file.Model.UnkToken]; ok {
		place(file.Model.UnkToken, id, kindUnknown)
	}
	for id, kind := range v.kinds {
		if kind == 0 {
			v.tokens[id], v.kinds[id] = fmt.Sprintf("[PAD%d]", id), kindUnused
		}
	}
}

// setScores gives each token that merges make the negative rank of the first
// of them, as SentencePiece does, and warns where that does not decide between
// merges as their order in the file does.
func (v *vocabulary) setScores(f *faults, file *tokenizerFile) {
	v.scores = make([]float32, len(v.tokens))
	merges := make(map[[2]string]bool, len(file.Model.Merges))
	first := map[string]int{}
	last, interrupted := "", 0
	for rank, text := range file.Model.Merges {
		pair, err := parseMerge(text)
		if err != nil {
			f.add("merges", ErrFile, "%d: %v", rank, err)
			continue
		}
		merged := pair[0] + pair[1]
		id, ok := file.Model.Vocab[merged]
		if !ok || id >= len(v.scores) {
			f.add("merges", ErrFile, "%d makes %q, which is not in the vocabulary", rank, merged)
			continue
		}
		merges[pair] = true
		if _, again := first[merged]; !again {
			first[merged] = rank
			v.scores[id] = -float32(rank)
		} else if merged != last {
			interrupted++
		}
		last = merged
	}
	// Characters come last; llama.cpp does not look at their scores.
	for id, kind := range v.kinds {
		if _, merged := first[v.tokens[id]]; kind == kindNormal && !merged {
			v.scores[id] = -float32(len(file.Model.Merges) + id)
		}
	}
	absent := 0
	for merged := range first {
		for i := range merged {
			left, right := merged[:i], merged[i:]
			_, ok := file.Model.Vocab[left]
			_, both := file.Model.Vocab[right]
			if i > 0 && ok && both && !merges[[2]string{left, right}] {
				absent++
			}
		}
	}
	if interrupted+absent > 0 {
		v.warnings = append(v.warnings, fmt.Sprintf("llama.cpp may split some texts otherwise: it makes %d merges that tokenizer.json does not have, and %d in another order", absent, interrupted))
	}
}

// parseMerge reads a merge as a list of two or as two words.
func parseMerge(text json.RawMessage) (pair [2]string, err error) {
	var list []string
	if text[0] == '"' {
		var s string
		err = json.Unmarshal(text, &s)
		list = strings.SplitN(s, " ", 2)
	} else {
		err = json.Unmarshal(text, &list)
	}
	if err == nil && (len(list) != 2 || list[0] == "" || list[1] == "" || !utf8.ValidString(list[0]+list[1])) {
		err = fmt.Errorf("%s, want two tokens", text)
	}
	if err != nil {
		return pair, err
	}
	return [2]string(list), nil
}

// setSpecial finds the ids of special tokens: by the name that
// tokenizer_config.json has for them, or else in config.json.
func (v *vocabulary) setSpecial(c *config, unknown string) {
	for _, s := range []struct {
		key  string
		name token
		id   any
	}{
		{"tokenizer.ggml.bos_token_id", v.config.BOS, c.BOS},
		{"tokenizer.ggml.eos_token_id", v.config.EOS, c.EOS},
		{"tokenizer.ggml.unknown_token_id", token(unknown), nil},
		{"tokenizer.ggml.padding_token_id", v.config.PAD, c.PAD},
	} {
		id := -1
		if s.name != "" {
			id = slices.Index(v.tokens, string(s.name))
		}
		if several, ok := s.id.([]any); ok && len(several) > 0 {
			s.id = several[0]
		}
		if number, ok := s.id.(float64); ok && id < 0 {
			id = int(number)
		}
		if id >= 0 && id < len(v.tokens) {
			v.ids = append(v.ids, KV{s.key, uint32(id)})
		}
	}
}

// setTemplate reads the chat template: a file of its own, or else a text or
// the default among several in tokenizer_config.json.
func (v *vocabulary) setTemplate(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "chat_template.jinja"))
	if err == nil {
		v.template = string(text)
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	raw := v.config.ChatTemplate
	var several []struct{ Name, Template string }
	switch {
	case len(raw) == 0:
		return nil
	case raw[0] != '[':
		err = json.Unmarshal(raw, &v.template)
	default:
		err = json.Unmarshal(raw, &several)
	}
	for _, t := range several {
		if t.Name == "default" {
			v.template = t.Template
		}
	}
	if err != nil {
		return &Error{Path: filepath.Join(dir, "tokenizer_config.json"), Key: "chat_template", Err: fmt.Errorf("%w: %w", ErrFile, err)}
	}
	return nil
}

// metadata describes the tokenizer to llama.cpp.
func (v *vocabulary) metadata() []KV {
	list := append([]KV{
		{"tokenizer.ggml.model", "llama"},
		{"tokenizer.ggml.pre", "default"},
		{"tokenizer.ggml.tokens", v.tokens},
		{"tokenizer.ggml.scores", v.scores},
		{"tokenizer.ggml.token_type", v.kinds},
	}, v.ids...)
	list = append(list,
		KV{"tokenizer.ggml.add_bos_token", v.config.AddBOS == nil || *v.config.AddBOS},
		KV{"tokenizer.ggml.add_eos_token", v.config.AddEOS},
		KV{"tokenizer.ggml.add_space_prefix", v.prefixSpace})
	if v.template != "" {
		list = append(list, KV{"tokenizer.chat_template", v.template})
	}
	return list
}
