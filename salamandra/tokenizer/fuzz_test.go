package tokenizer

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What Parse accepts can be used: nothing panics, ids are in range, text comes
// out, and EncodeText writes no special token but the unknown one.
func FuzzParse(f *testing.F) {
	f.Add(edit(f, "", ""), "hola <s>món")
	for _, change := range [][2]string{
		{`"normalizer": null`, `"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]}`},
		{`"pre_tokenizer": {`, `"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}]}, "padding": {`},
		{`"Strip", "content": " "`, `"Metaspace", "replacement": "▁"}, {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}, {"type": "Strip", "content": " "`},
		{`"byte_fallback": true`, `"byte_fallback": false`},
		{`"ignore_merges": false`, `"ignore_merges": true`},
		{`"\n", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false`, `"\n", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true`},
		{`"▁hola": 27`, `"\u2581hola": 27`},
	} {
		f.Add(edit(f, change[0], change[1]), " a1 \n\xff café")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := Parse(data)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		for _, ids := range [][]int32{tok.Encode(text), tok.EncodeText(text, true), tok.EncodeText(text, false), tok.encodeWithSpecial(text)} {
			checkIDs(t, tok, ids)
		}
		for _, id := range tok.EncodeText(text, true) {
			if tok.isSpecial(id) && id != tok.model.unknown {
				t.Fatalf("EncodeText wrote the special token %d", id)
			}
		}
	})
}

func checkIDs(t *testing.T, tok *Tokenizer, ids []int32) {
	t.Helper()
	for _, id := range ids {
		if _, ok := tok.Token(id); !ok {
			t.Fatalf("no token has the id %d", id)
		}
		tok.TokenBytes(id)
	}
	for _, skip := range []bool{false, true} {
		if text := tok.Decode(ids, skip); !utf8.ValidString(text) {
			t.Fatalf("%q is not UTF-8", text)
		}
	}
}

func FuzzEncode(f *testing.F) {
	toks := map[string]*Tokenizer{}
	for _, name := range layouts {
		toks[name] = parseLayout(f, name)
	}
	for _, text := range []string{"", " a  b ", "1.234,56 €\r\n", "ca\u0327 🎉<|im_end|>", "\xe2\x82", "'s \u00a0x", strings.Repeat("ab ", 99)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		repaired := string([]rune(text))
		for name, tok := range toks {
			ids := tok.Encode(text)
			checkIDs(t, tok, ids)
			if !slices.Equal(ids, tok.Encode(repaired)) {
				t.Fatalf("%s: not the ids of %q", name, repaired)
			}
			plain := tok.EncodeText(text, true)
			if slices.ContainsFunc(plain, tok.isSpecial) {
				t.Fatalf("%s: EncodeText wrote a special token", name)
			}
			lossless := name == "tokenizer_metaspace_never" && !strings.Contains(repaired, "\u2581") ||
				name == "tokenizer" && !strings.Contains(repaired, "\u2581") && norm.NFC.IsNormalString(repaired) ||
				name == "bytelevel"
			if back := tok.Decode(plain, false); lossless && back != repaired {
				t.Fatalf("%s: %q came back as %q", name, repaired, back)
			}
		}
	})
}
