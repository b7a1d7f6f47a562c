package tokenizer

import "github.com/impulse-salamandra/finetune/internal/strictjson"

// template is what the post-processor puts around a sequence.
type template struct {
	before, after []int32
}

// parseTemplate reads the section "post_processor". Its template for pairs of
// sequences is not used; ByteLevel as a post-processor has no effect on ids.
func parseTemplate(f *strictjson.Fields, v *vocabulary) template {
	var t template
	seen := false
	components(f, "post_processor", "processors", func(kind string, f *strictjson.Fields) bool {
		switch kind {
		case "ByteLevel":
			byteLevelOptions(f)
		case "TemplateProcessing":
			if seen {
				f.Fault("type", nil, "a second TemplateProcessing")
			}
			seen = true
			t = templateOptions(f, v)
		default:
			return false
		}
		return true
	})
	return t
}

// templateOptions reads the options of TemplateProcessing.
func templateOptions(f *strictjson.Fields, v *vocabulary) template {
	f.Need("single")
	f.Value("pair")
	specials := f.Object("special_tokens")
	var t template
	sequences := 0
	ids := &t.before
	for _, piece := range f.Objects("single") {
		sequence, token := piece.Object("Sequence"), piece.Object("SpecialToken")
		switch {
		case sequence != nil && sequence.String("id", "") == "A":
			sequences++
			ids = &t.after
		case token != nil:
			*ids = append(*ids, specialIDs(token, specials, v)...)
		default:
			piece.Fault("", nil, "want a SpecialToken or the Sequence \"A\"")
		}
	}
	if sequences != 1 {
		f.Fault("single", nil, "the Sequence \"A\" %d times, want once", sequences)
	}
	return t
}

// specialIDs returns the ids that special_tokens has for a token of the template.
func specialIDs(token, specials *strictjson.Fields, v *vocabulary) []int32 {
	name := token.String("id", "")
	var ids []int
	var texts []string
	if specials != nil && specials.Has(name) {
		if s := specials.Object(name); s != nil {
			ids, texts = s.Ints("ids"), s.Strings("tokens")
		}
	}
	if len(ids) == 0 || len(ids) != len(texts) {
		token.Fault("", nil, "want as many ids as tokens in special_tokens for %q", name)
		return nil
	}
	var all []int32
	for i, id := range ids {
		if text, ok := v.token(int32(id)); !ok || text != texts[i] || int(int32(id)) != id {
			token.Fault("", nil, "id %d is %q, want %q", id, text, texts[i])
		}
		all = append(all, int32(id))
	}
	return all
}
