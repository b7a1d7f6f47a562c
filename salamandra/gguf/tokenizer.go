package gguf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
	"github.com/impulse-salamandra/finetune/internal/templatecheck"
	"github.com/impulse-salamandra/finetune/internal/tokenizerjson"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
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

// configFile says how the tokenizer is used; it may be absent.
const configFile = "tokenizer_config.json"

// A vocabulary is a tokenizer as llama.cpp's SentencePiece tokenizer has it.
type vocabulary struct {
	tokens         []string
	scores         []float32 // of two merges, the one to a higher score comes first
	kinds          []int32
	prefixSpace    bool // a space is put before the text
	addBOS, addEOS bool
	ids            []kv // of special tokens
	template       string
	warnings       []string
}

// readTokenizer reads the tokenizer of a model directory.
func readTokenizer(dir string, c llama.Config) (*vocabulary, error) {
	data, err := tokenizerjson.ReadFile(dir)
	if err != nil {
		return nil, err
	}
	list := &faults.List{Subject: filepath.Join(dir, tokenizerjson.Name)}
	file := tokenizerjson.Parse(data, list)
	if file == nil || file.Fields == nil {
		return nil, list.Err()
	}
	v := &vocabulary{}
	model := file.Object("model")
	v.checkPipeline(file, model)
	if err := list.Err(); err != nil {
		return nil, err // a tokenizer of another kind: the rest means nothing
	}
	v.setTokens(list, file, model, c.VocabSize)
	v.setScores(list, file)
	return v, faults.Join(list.Err(), v.configure(dir, file, c, model.String("unk_token", "")))
}

// checkPipeline refuses what llama.cpp's SentencePiece tokenizer does not do.
func (v *vocabulary) checkPipeline(file *tokenizerjson.File, model *strictjson.Fields) {
	kind, bytes, ignore := model.String("type", ""), model.Bool("byte_fallback", false), model.Bool("ignore_merges", false)
	if kind != "BPE" || !bytes || ignore {
		file.Fault("model", errUnsupported,
			"type %q, byte_fallback %v, ignore_merges %v; want a BPE with byte fallback that was made from SentencePiece", kind, bytes, ignore)
	}
	if p := file.Object("pre_tokenizer"); p != nil {
		if kind := p.String("type", ""); kind != "Metaspace" || p.String("replacement", "") != space {
			file.Fault("pre_tokenizer", errUnsupported, "%s, want none or Metaspace", kind)
		}
		scheme := p.String("prepend_scheme", "")
		v.prefixSpace = scheme == "always" || scheme == "first" || scheme == "" && p.Bool("add_prefix_space", true)
	}
	if n := file.Object("normalizer"); n != nil {
		v.checkNormalizer(n)
	}
}

// checkNormalizer refuses what changes texts in another way than llama.cpp.
func (v *vocabulary) checkNormalizer(n *strictjson.Fields) {
	kind, content, prepend := n.String("type", ""), n.String("content", ""), n.String("prepend", "")
	pattern := n.Value("pattern")
	switch {
	case kind == "Sequence":
		for _, part := range n.Objects("normalizers") {
			v.checkNormalizer(part)
		}
	case kind == "Prepend" && prepend == space:
		v.prefixSpace = true
	case kind == "Replace" && content == space && pattern.Get("String").Characters() == " ":
	case kind == "NFC":
		v.warnings = append(v.warnings, "llama.cpp does not compose characters (NFC); do so before sending it a text")
	default:
		n.Fault("", errUnsupported, "%s of %q, want Prepend or Replace of a space by %q", kind, content+prepend, space)
	}
}

// setTokens lists the tokens of all ids up to the rows of the embedding.
func (v *vocabulary) setTokens(list *faults.List, file *tokenizerjson.File, model *strictjson.Fields, size int) {
	v.tokens, v.kinds = make([]string, size), make([]int32, size)
	place := func(content string, id int, kind int32) {
		if id < 0 || id >= size {
			list.Add(fmt.Sprintf("%q", content), faults.Caused(errFile, "id %d, the model has %d", id, size))
			return
		}
		v.tokens[id], v.kinds[id] = content, kind
	}
	ids := map[string]int{}
	for _, e := range file.Vocab {
		ids[file.Piece(e)] = int(e.ID)
		place(file.Piece(e), int(e.ID), kindNormal)
	}
	for b := range 256 {
		content := fmt.Sprintf("<0x%02X>", b)
		if id, ok := ids[content]; ok {
			place(content, id, kindByte)
		} else {
			list.Add(content, faults.Caused(errUnsupported, "the vocabulary lacks this byte"))
		}
	}
	for _, t := range file.Objects("added_tokens") {
		kind := int32(kindUserDefined)
		if t.Bool("special", false) {
			kind = kindControl
		}
		place(t.String("content", ""), t.Int("id", -1), kind)
	}
	unknown := model.String("unk_token", "")
	if id, ok := ids[unknown]; ok {
		place(unknown, id, kindUnknown)
	}
	for id, kind := range v.kinds {
		if kind == 0 {
			v.tokens[id], v.kinds[id] = fmt.Sprintf("[PAD%d]", id), kindUnused
		}
	}
}

// setScores gives each token that merges make the negative rank of the first of
// them, as SentencePiece does, and warns where that does not decide between merges
// as their order in the file does.
func (v *vocabulary) setScores(list *faults.List, file *tokenizerjson.File) {
	v.scores = make([]float32, len(v.tokens))
	ids := map[string]int{}
	for _, e := range file.Vocab {
		ids[file.Piece(e)] = int(e.ID)
	}
	merges := make(map[[2]string]bool, len(file.Merges))
	first := map[string]int{}
	last, interrupted := "", 0
	for rank, m := range file.Merges {
		left, right, merged := file.Left(m), file.Right(m), file.Merged(m)
		id, ok := ids[merged]
		switch {
		case left == "" || right == "":
			list.Add(fmt.Sprintf("merge %d", rank), faults.Caused(errFile, "%q and %q, want two tokens", left, right))
			continue
		case !ok || id < 0 || id >= len(v.scores):
			list.Add(fmt.Sprintf("merge %d", rank), faults.Caused(errFile, "makes a token that is not in the vocabulary"))
			continue
		}
		merges[[2]string{left, right}] = true
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
			v.scores[id] = -float32(len(file.Merges) + id)
		}
	}
	if absent := absentMerges(first, merges, ids); interrupted+absent > 0 {
		v.warnings = append(v.warnings, fmt.Sprintf(
			"llama.cpp may split some texts otherwise: it makes %d merges that tokenizer.json does not have, and %d in another order", absent, interrupted))
	}
}

// absentMerges counts the pairs of tokens that make one of the merged tokens and
// are no merge.
func absentMerges(merged map[string]int, merges map[[2]string]bool, ids map[string]int) int {
	absent := 0
	for token := range merged {
		for i := range token {
			left, right := token[:i], token[i:]
			_, ok := ids[left]
			_, both := ids[right]
			if i > 0 && ok && both && !merges[[2]string{left, right}] {
				absent++
			}
		}
	}
	return absent
}

// configure reads tokenizer_config.json, prompt.json and the chat template.
func (v *vocabulary) configure(dir string, file *tokenizerjson.File, c llama.Config, unknown string) error {
	list := &faults.List{Subject: filepath.Join(dir, configFile)}
	config, err := readOptional(dir, configFile, list)
	if err != nil {
		return err
	}
	v.addEOS = config.Bool("add_eos_token", false)
	bos, eos, pad := token(config, "bos_token"), token(config, "eos_token"), token(config, "pad_token")
	v.setSpecial(c, bos, eos, pad, unknown)
	v.addBOS = bos != "" && beginsWith(file.Object("post_processor"), bos)
	v.addBOS = config.Bool("add_bos_token", v.addBOS)
	contract := &faults.List{Subject: filepath.Join(dir, chatml.ContractFile)}
	trained, err := readOptional(dir, chatml.ContractFile, contract)
	if err != nil {
		return err
	}
	v.addBOS = trained.Bool("bos", v.addBOS)
	v.template, err = templatecheck.Read(dir)
	if err == nil && v.template == "" && config.Has("chat_template") {
		config.Fault("chat_template", errFile, "neither a text nor a list with one named default")
	}
	return faults.Join(err, list.Err(), contract.Err())
}

// readOptional begins to read a file, which is empty if it is absent. What is
// wrong with it goes to list.
func readOptional(dir, name string, list *faults.List) (*strictjson.Fields, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte("{}"), nil
	}
	if err != nil {
		return nil, err
	}
	if f := strictjson.ReadFields(text, list, errFile); f != nil {
		return f, nil
	}
	return nil, list.Err()
}

// token returns the text of a token, which is stored as such or in an object.
func token(f *strictjson.Fields, key string) string {
	if v := f.Value(key); v != nil && v.Kind == strictjson.Object {
		return f.Object(key).String("content", "")
	}
	return f.String(key, "")
}

// beginsWith reports whether a post-processor puts a token before each text.
func beginsWith(p *strictjson.Fields, token string) bool {
	if p == nil {
		return false
	}
	for _, part := range p.Objects("processors") { // of a Sequence
		if beginsWith(part, token) {
			return true
		}
	}
	single := p.Objects("single") // of a TemplateProcessing
	if len(single) == 0 {
		return false
	}
	special := single[0].Object("SpecialToken")
	return special != nil && special.String("id", "") == token
}

// setSpecial finds the ids of special tokens: by the name that
// tokenizer_config.json has for them, or else in config.json.
func (v *vocabulary) setSpecial(c llama.Config, bos, eos, pad, unknown string) {
	end := -1
	if len(c.EOSTokenID) > 0 {
		end = c.EOSTokenID[0]
	}
	for _, s := range []struct {
		key  string
		name string
		id   int // where there is no name
	}{
		{"tokenizer.ggml.bos_token_id", bos, c.BOSTokenID},
		{"tokenizer.ggml.eos_token_id", eos, end},
		{"tokenizer.ggml.unknown_token_id", unknown, -1},
		{"tokenizer.ggml.padding_token_id", pad, c.PadTokenID},
	} {
		if i := slices.Index(v.tokens, s.name); s.name != "" && i >= 0 {
			s.id = i
		}
		if s.id >= 0 && s.id < len(v.tokens) {
			v.ids = append(v.ids, kv{s.key, uint32(s.id)})
		}
	}
}

// metadata describes the tokenizer to llama.cpp.
func (v *vocabulary) metadata() []kv {
	list := append([]kv{
		{"tokenizer.ggml.model", "llama"},
		{"tokenizer.ggml.pre", "default"},
		{"tokenizer.ggml.tokens", v.tokens},
		{"tokenizer.ggml.scores", v.scores},
		{"tokenizer.ggml.token_type", v.kinds},
	}, v.ids...)
	list = append(list,
		kv{"tokenizer.ggml.add_bos_token", v.addBOS},
		kv{"tokenizer.ggml.add_eos_token", v.addEOS},
		kv{"tokenizer.ggml.add_space_prefix", v.prefixSpace})
	if v.template != "" {
		list = append(list, kv{"tokenizer.chat_template", v.template})
	}
	return list
}
