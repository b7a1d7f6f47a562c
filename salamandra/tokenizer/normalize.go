package tokenizer

import (
	"bytes"
	"encoding/json"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites a segment of text before it is split.
type normalizer interface {
	// normalize appends the rewritten src to dst.
	normalize(dst, src []byte) []byte
}

// unicodeForm is NFC, NFD, NFKC or NFKD.
type unicodeForm norm.Form

func (u unicodeForm) normalize(dst, src []byte) []byte {
	return norm.Form(u).Append(dst, src...)
}

// prepend puts a text before every segment that is not empty.
type prepend string

func (p prepend) normalize(dst, src []byte) []byte {
	if len(src) > 0 {
		dst = append(dst, p...)
	}
	return append(dst, src...)
}

// replace puts one text in place of another, which is not empty.
type replace struct {
	old, new []byte
}

func (r replace) normalize(dst, src []byte) []byte {
	for {
		i := bytes.Index(src, r.old)
		if i < 0 {
			return append(dst, src...)
		}
		dst = append(dst, src[:i]...)
		dst = append(dst, r.new...)
		src = src[i+len(r.old):]
	}
}

// parseNormalizers reads the section "normalizer".
func parseNormalizers(raw json.RawMessage, fs *faults) []normalizer {
	var list []normalizer
	forms := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}
	fs.components("normalizer", raw, "normalizers", func(kind string, f fields) bool {
		switch kind {
		case "NFC", "NFD", "NFKC", "NFKD":
			list = append(list, unicodeForm(forms[kind]))
		case "Prepend":
			var text string
			f.required("prepend", &text)
			list = append(list, prepend(text))
		case "Replace":
			list = append(list, f.replaceOptions())
		default:
			return false
		}
		return true
	})
	return list
}

// replaceOptions reads the options of Replace, which is a normalizer and a
// decoder.
func (f fields) replaceOptions() replace {
	var pattern struct{ String, Regex *string }
	var content string
	f.required("pattern", &pattern)
	f.required("content", &content)
	switch {
	case pattern.Regex != nil:
		f.unsupported(f.at("pattern.Regex"), "%q, want a String", *pattern.Regex)
	case pattern.String == nil || *pattern.String == "":
		f.malformed(f.at("pattern"), "want a String that is not empty")
	default:
		return replace{old: []byte(*pattern.String), new: []byte(content)}
	}
	return replace{}
}
