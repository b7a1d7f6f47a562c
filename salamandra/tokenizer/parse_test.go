package tokenizer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseFaults(t *testing.T) {
	const (
		space     = `{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}`
		start     = `{"id": 2, "content": "<|im_start|>", "single_word": false, "lstrip": false,`
		single    = `"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],`
		specials  = `{"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}`
		lastMerge = `"▁ m"`
	)
	for _, row := range []struct {
		name     string
		old, new string // an edit of the example
		want     []string
	}{
		{"not JSON", `"version": "1.0",`, `"version": 1.0.0,`, []string{"line 2, column 14: want a JSON value"}},
		{"version", `"version": "1.0"`, `"version": "2.0"`, []string{`version: "2.0" is not supported, want "1.0"`}},
		{"unknown section", `"padding": null`, `"pudding": 1`, []string{"pudding: unknown option"}},

		{"unknown normalizer", `"normalizer": null`, `"normalizer": {"type": "Lowercase"}`, []string{`normalizer.type: "Lowercase" is not supported`}},
		{"no object", `"normalizer": null`, `"normalizer": "NFC"`, []string{`normalizer: "NFC", want an object`}},
		{"no type", `"normalizer": null`, `"normalizer": {}`, []string{`normalizer.type: missing`}},
		{"in a sequence", `"normalizer": null`, `"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}, {"type": "Sequence", "normalizers": [{"type": "Nmt"}]}]}`,
			[]string{`normalizer.normalizers[1].type: "Strip" is not supported`, `normalizer.normalizers[2].normalizers[0].type: "Nmt" is not supported`}},
		{"regular expression", `"normalizer": null`, `"normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": ""}`, []string{`normalizer.pattern.Regex: " +" is not supported`}},
		{"empty pattern", `"normalizer": null`, `"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}`, []string{`normalizer.pattern: want a String that is not empty`}},

		{"unknown option", space, `{"type": "Metaspace", "replacement": "▁", "splot": true}`, []string{`pre_tokenizer.splot: unknown option`}},
		{"scheme", space, `{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "last"}`, []string{`pre_tokenizer.prepend_scheme: "last", want first, always or never`}},
		{"two prefixes", space, `{"type": "Metaspace", "replacement": "▁", "add_prefix_space": false}`, []string{`pre_tokenizer.add_prefix_space: false, but prepend_scheme is "always"`}},
		{"replacement", space, `{"type": "Metaspace", "replacement": "__"}`, []string{`pre_tokenizer.replacement: "__", want one character`}},
		{"wrong kind of value", space, `{"type": "Digits", "individual_digits": "yes"}`, []string{`pre_tokenizer.individual_digits: "yes", want true or false`}},
		{"split", space, `{"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated", "invert": false}`, []string{`pre_tokenizer.type: "Split" is not supported`}},
		{"byte level options", space, `{"type": "ByteLevel"}`, []string{`pre_tokenizer.trim_offsets: missing; also pre_tokenizer.add_prefix_space`}},

		{"decoder", `{"type": "ByteFallback"}`, `{"type": "CTC"}`, []string{`decoder.decoders[1].type: "CTC" is not supported`}},
		{"strip", `"start": 1, "stop": 0`, `"start": -1`, []string{`decoder.decoders[3].start: -1, want 0 to 2147483647`, `decoder.decoders[3].stop: missing`}},

		{"template without the text", single, `"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],`, []string{`post_processor.single: the Sequence "A" 0 times, want once`}},
		{"template of two texts", single, `"single": [{"Sequence": {"id": "A"}}, {"Sequence": {"id": "B"}}],`, []string{`post_processor.single[1]: want a SpecialToken or the Sequence "A"`}},
		{"template with an unknown token", specials, `{}`, []string{`post_processor.single[0].SpecialToken: want as many ids as tokens in special_tokens for "<s>"`}},
		{"template with a wrong id", specials, `{"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}}`, []string{`post_processor.single[0].SpecialToken: id 2 is "<|im_start|>", want "<s>"`}},
		{"template with an id out of range", specials, `{"<s>": {"id": "<s>", "ids": [99], "tokens": ["<s>"]}}`, []string{`post_processor.single[0].SpecialToken: id 99 is "", want "<s>"`}},

		{"added token without its flags", start, `{"id": 2, "content": "<|im_start|>",`, []string{`added_tokens[2].single_word: missing; also added_tokens[2].lstrip`}},
		{"added token with another id", start, strings.Replace(start, "2", "3", 1), []string{`added_tokens[2]: "<|im_start|>" has id 3, want 2`}},
		{"added token with a gap before", start, strings.NewReplacer("2", "50", "start", "stop").Replace(start), []string{`added_tokens[2]: "<|im_stop|>" has id 50, want 32`}},
		{"added token twice", start, strings.NewReplacer("2", "1", "|im_start|", "s").Replace(start), []string{`added_tokens[2]: "<s>" is there twice`}},
		{"empty added token", start, strings.NewReplacer("<|im_start|>", "").Replace(start), []string{`added_tokens[2].content: empty`, `added_tokens[2]: "" has id 2, want 32`}},

		{"another model", `"type": "BPE"`, `"type": "Unigram"`, []string{`model.type: "Unigram" is not supported, want "BPE"`}},
		{"model options", `"dropout": null`, `"dropout": 0.1, "end_of_word_suffix": "</w>", "cache": 1`,
			[]string{`model.dropout: 0.1 is not supported, want null`, `model.cache: unknown option`}},
		{"affix", `"continuing_subword_prefix": null`, `"continuing_subword_prefix": "##"`, []string{`model.continuing_subword_prefix: "##" is not supported, want null`}},
		{"unknown unknown", `"unk_token": "<unk>"`, `"unk_token": "[UNK]"`, []string{`model.unk_token: "[UNK]" is not in the vocabulary`}},
		{"same id", `"us": 28`, `"us": 27`, []string{`model.vocab: "▁hola" and "us" have the same id 27`, `model.merges[4]: "us" is not in the vocabulary`}},
		{"same piece", `"us": 28`, `"us": 28, "us": 40`, []string{`model.vocab: "us" has two ids, 28 and 40`}},
		{"negative id", `"us": 28`, `"us": 28, "x": -1`, []string{`model.vocab: "x" has id -1, want 0 to 65568`}},
		{"large id", `"us": 28`, `"us": 28, "x": 2000000000`, []string{`model.vocab: "x" has id 2000000000, want 0 to 65568`}},
		{"id beyond 32 bits", `"us": 28`, `"us": 2800000000`, []string{"want an integer below 2^31"}},
		{"id that is no integer", `"us": 28`, `"us": 28.5`, []string{"want an integer below 2^31"}},
		{"merge of unknown pieces", lastMerge, `"x y"`, []string{`model.merges[7]: "x" is not`, `model.merges[7]: "y" is not`, `model.merges[7]: "xy" is not`}},
		{"merge into an unknown piece", lastMerge, `"m a"`, []string{`model.merges[7]: "ma" is not in the vocabulary`}},
		{"merge of three", lastMerge, `"h o l"`, []string{"want a merge of two pieces before this"}},
		{"merge of one", lastMerge, `["h"]`, []string{"want a merge of two pieces before this"}},
		{"half a surrogate pair", `"us": 28`, `"\ud83d": 28`, []string{"want an escape sequence"}},
		{"no merges", `"merges": [`, `"mergers": [`, []string{"model: want an object with vocab and merges"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse(edit(t, row.old, row.new))
			for _, want := range row.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestParseIsNoTokenizer(t *testing.T) {
	for _, row := range []struct{ name, data, want string }{
		{"empty", "", "line 1, column 1: want an object"},
		{"an array", " []", "line 1, column 2: want an object"},
		{"cut short", `{"version": "1.0`, "want a closing quote"},
		{"no UTF-8", "{\"version\": \"\xff\"}", "the file is not UTF-8"},
		{"no model", `{"version": "1.0"}`, "model: want an object with vocab and merges"},
		{"more than one value", `{"model": {"vocab": {}, "merges": []}} {}`, "line 1, column 40: want the end of the file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse([]byte(row.data))
			require.ErrorContains(t, err, row.want)
		})
	}
}

// One run shows all that must be mended.
func TestParseReportsAllFaults(t *testing.T) {
	_, err := Parse([]byte(`{
		"version": "0.9", "added_tokens": {},
		"normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "Whitespace"},
		"post_processor": {"type": "BertProcessing"}, "decoder": {"type": "WordPiece"},
		"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 0}, "merges": ["a c"]}}`))
	for _, place := range []string{"model.vocab", "model.merges[0]", "model.type", "version",
		"added_tokens", "normalizer.type", "pre_tokenizer.type", "post_processor.type", "decoder.type"} {
		require.ErrorContains(t, err, "\n  "+place+": ")
	}
	require.ErrorContains(t, err, "tokenizer.json: 10 faults:")
}

func TestParseErrorIsBounded(t *testing.T) {
	merges := strings.Repeat(`"x y", `, 1000) + `"x y"`
	_, err := Parse([]byte(`{"model": {"type": "BPE", "vocab": {}, "merges": [` + merges + `]}}`))
	require.ErrorContains(t, err, "tokenizer.json: 3003 faults:")
	require.ErrorContains(t, err, `model.merges[0]: "xy" is not in the vocabulary; also model.merges[1], model.merges[2] and 998 more`)
	require.Less(t, len(err.Error()), 2000)
}

func TestParseAddedTokensThatMatchTheSame(t *testing.T) {
	const file = `{"normalizer": {"type": "Replace", "pattern": {"String": "b"}, "content": %q},
		"added_tokens": [
			{"id": 0, "content": "ab", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false},
			{"id": 1, "content": "b", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false},
			{"id": 2, "content": "aa", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false}],
		"model": {"type": "BPE", "vocab": {}, "merges": []}}`
	_, err := Parse(fmt.Appendf(nil, file, "c"))
	require.NoError(t, err)
	_, err = Parse(fmt.Appendf(nil, file, "a"))
	require.ErrorContains(t, err, `added_tokens: "aa" matches the same text as another token`)
	_, err = Parse(fmt.Appendf(nil, file, ""))
	require.ErrorContains(t, err, `added_tokens: "b" is empty when normalized`)
}

// What a file may say in more than one way.
func TestParseSpellings(t *testing.T) {
	want, err := Parse(edit(t, "", ""))
	require.NoError(t, err)
	for _, row := range []struct{ name, old, new, reason string }{
		{"merges as text", `[["h", "o"], ["l", "a"], ["ho", "la"],`, `["#version: 0.2", "h o", "l a", "ho la",`, "before tokenizers 0.20"},
		{"escapes", `"▁hola": 27`, `"\u2581h\u006fla": 27`, "json.dump writes ASCII by default"},
		{"escapes in merges", `["▁", "hola"]`, `["\u2581", "hola"]`, "json.dump writes ASCII by default"},
		{"no nulls", `"truncation": null,`, ``, "null is what is not said"},
		{"truncation", `"truncation": null`, `"truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}`, "a training script left it there"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Parse(edit(t, row.old, row.new))
			require.NoError(t, err)
			const text = "hola user<|im_end|>\nmón"
			require.Equal(t, want.encodeWithSpecial(text), got.encodeWithSpecial(text), row.reason)
			require.NotEqual(t, want.Hash(), got.Hash())
		})
	}
}
