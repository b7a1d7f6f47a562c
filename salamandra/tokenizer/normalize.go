package tokenizer

import (
	"bytes"

	"golang.org/x/text/unicode/norm"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
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
func parseNormalizers(f *strictjson.Fields) []normalizer {
	var list []normalizer
	forms := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}
	components(f, "normalizer", "normalizers", func(kind string, f *strictjson.Fields) bool {
		switch kind {
		case "NFC", "NFD", "NFKC", "NFKD":
			list = append(list, unicodeForm(forms[kind]))
		case "Prepend":
			f.Need("prepend")
			list = append(list, prepend(f.String("prepend", "")))
		case "Replace":
			list = append(list, replaceOptions(f))
		default:
			return false
		}
		return true
	})
	return list
}

// replaceOptions reads the options of Replace, which is a normalizer and a
// decoder.
func replaceOptions(f *strictjson.Fields) replace {
	f.Need("pattern", "content")
	r := replace{new: []byte(f.String("content", ""))}
	pattern := f.Object("pattern")
	switch {
	case pattern == nil:
	case pattern.Has("Regex"):
		pattern.Fault("Regex", nil, "%q is not supported, want a String", pattern.String("Regex", ""))
	case pattern.String("String", "") == "":
		f.Fault("pattern", nil, "want a String that is not empty")
	default:
		r.old = []byte(pattern.String("String", ""))
	}
	return r
}
