package tokenizer

import (
	"encoding/json"
	"fmt"
)

// template is what the post-processor puts around a sequence.
type template struct {
	before, after []int32
}

// parseTemplate reads the section "post_processor". Its template for pairs of
// sequences is not used; ByteLevel as a post-processor has no effect on ids.
func parseTemplate(raw json.RawMessage, v *vocabulary, fs *faults) template {
	var t template
	seen := false
	fs.components("post_processor", raw, "processors", func(kind string, f fields) bool {
		switch kind {
		case "ByteLevel":
			f.byteLevelOptions()
		case "TemplateProcessing":
			if seen {
				f.unsupported(f.at("type"), "a second TemplateProcessing")
			}
			seen = true
			t = f.templateOptions(v)
		default:
			return false
		}
		return true
	})
	return t
}

// templateOptions reads the options of TemplateProcessing.
func (f fields) templateOptions(v *vocabulary) template {
	type named struct {
		ID string `json:"id"`
	}
	var single []struct{ SpecialToken, Sequence *named }
	var specials map[string]struct {
		IDs    []int32  `json:"ids"`
		Tokens []string `json:"tokens"`
	}
	f.required("single", &single)
	f.optional("special_tokens", &specials)
	f.take("pair")
	var t template
	sequences := 0
	ids := &t.before
	for i, piece := range single {
		path := f.at(fmt.Sprintf("single[%d]", i))
		switch {
		case piece.Sequence != nil && piece.Sequence.ID == "A":
			sequences++
			ids = &t.after
		case piece.SpecialToken != nil:
			token, ok := specials[piece.SpecialToken.ID]
			if !ok || len(token.IDs) != len(token.Tokens) {
				f.malformed(path, "want as many ids as tokens in special_tokens for %q", piece.SpecialToken.ID)
				continue
			}
			for j, id := range token.IDs {
				if text, ok := v.token(id); !ok || text != token.Tokens[j] {
					f.malformed(path, "id %d is %q, want %q", id, text, token.Tokens[j])
				}
			}
			*ids = append(*ids, token.IDs...)
		default:
			f.malformed(path, "want a SpecialToken or the Sequence \"A\"")
		}
	}
	if sequences != 1 {
		f.unsupported(f.at("single"), "the Sequence \"A\" %d times, want once", sequences)
	}
	return t
}
