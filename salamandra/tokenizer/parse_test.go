package tokenizer

import (
	"errors"
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
		{"not JSON", `"version": "1.0",`, `"version": 1.0.0,`, []string{"malformed: want a JSON value at byte 15"}},
		{"version", `"version": "1.0"`, `"version": "2.0"`, []string{`version: not supported: "2.0", want "1.0"`}},
		{"unknown section", `"padding": null`, `"pudding": null`, []string{"pudding: not supported: unknown option"}},

		{"unknown normalizer", `"normalizer": null`, `"normalizer": {"type": "Lowercase"}`, []string{`normalizer.type: not supported: "Lowercase"`}},
		{"no object", `"normalizer": null`, `"normalizer": "NFC"`, []string{`normalizer: malformed: want an object`}},
		{"no type", `"normalizer": null`, `"normalizer": {}`, []string{`normalizer.type: malformed: missing`, `normalizer.type: not supported: ""`}},
		{"in a sequence", `"normalizer": null`, `"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}, {"type": "Sequence", "normalizers": [{"type": "Nmt"}]}]}`,
			[]string{`normalizer.normalizers[1].type: not supported: "Strip"`, `normalizer.normalizers[2].normalizers[0].type: not supported: "Nmt"`}},
		{"regular expression", `"normalizer": null`, `"normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": ""}`, []string{`normalizer.pattern.Regex: not supported: " +"`}},
		{"empty pattern", `"normalizer": null`, `"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}`, []string{`normalizer.pattern: malformed: want a String that is not empty`}},

		{"unknown option", space, `{"type": "Metaspace", "replacement": "▁", "splot": true}`, []string{`pre_tokenizer.splot: not supported: unknown option`}},
		{"scheme", space, `{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "last"}`, []string{`pre_tokenizer.prepend_scheme: not supported: "last"`}},
		{"two prefixes", space, `{"type": "Metaspace", "replacement": "▁", "add_prefix_space": false}`, []string{`pre_tokenizer.add_prefix_space: malformed: false, but prepend_scheme is "always"`}},
		{"replacement", space, `{"type": "Metaspace", "replacement": "__"}`, []string{`pre_tokenizer.replacement: malformed: "__", want one character`}},
		{"wrong kind of value", space, `{"type": "Digits", "individual_digits": "yes"}`, []string{`pre_tokenizer.individual_digits: malformed: json: cannot unmarshal string`}},
		{"split", space, `{"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated", "invert": false}`, []string{`pre_tokenizer.type: not supported: "Split"`}},
		{"byte level options", space, `{"type": "ByteLevel"}`, []string{`pre_tokenizer.add_prefix_space: malformed: missing`, `pre_tokenizer.trim_offsets: malformed: missing`}},

		{"decoder", `{"type": "ByteFallback"}`, `{"type": "CTC"}`, []string{`decoder.decoders[1].type: not supported: "CTC"`}},
		{"strip", `"start": 1, "stop": 0`, `"start": -1`, []string{`decoder.decoders[3].start: malformed`, `decoder.decoders[3].stop: malformed: missing`}},

		{"template without the text", single, `"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],`, []string{`post_processor.single: not supported: the Sequence "A" 0 times, want once`}},
		{"template of two texts", single, `"single": [{"Sequence": {"id": "A"}}, {"Sequence": {"id": "B"}}],`, []string{`post_processor.single[1]: malformed: want a SpecialToken or the Sequence "A"`}},
		{"template with an unknown token", specials, `{}`, []string{`post_processor.single[0]: malformed: want as many ids as tokens in special_tokens for "<s>"`}},
		{"template with a wrong id", specials, `{"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}}`, []string{`post_processor.single[0]: malformed: id 2 is "<|im_start|>", want "<s>"`}},
		{"template with an id out of range", specials, `{"<s>": {"id": "<s>", "ids": [99], "tokens": ["<s>"]}}`, []string{`post_processor.single[0]: malformed: id 99 is "", want "<s>"`}},

		{"added token without its flags", start, `{"id": 2, "content": "<|im_start|>",`, []string{`added_tokens[2].single_word: malformed: missing`, `added_tokens[2].lstrip: malformed: missing`}},
		{"added token with another id", start, strings.Replace(start, "2", "3", 1), []string{`added_tokens[2]: malformed: "<|im_start|>" has id 3, want 2`}},
		{"added token with a gap before", start, strings.NewReplacer("2", "50", "start", "stop").Replace(start), []string{`added_tokens[2]: malformed: "<|im_stop|>" has id 50, want 32`}},
		{"added token twice", start, strings.NewReplacer("2", "1", "|im_start|", "s").Replace(start), []string{`added_tokens[2]: malformed: "<s>" is there twice`}},
		{"empty added token", start, strings.NewReplacer("<|im_start|>", "").Replace(start), []string{`added_tokens[2].content: malformed: empty`, `added_tokens[2]: malformed: "" has id 2, want 32`}},

		{"another model", `"type": "BPE"`, `"type": "Unigram"`, []string{`model.type: not supported: "Unigram", want "BPE"`}},
		{"model options", `"dropout": null`, `"dropout": 0.1, "end_of_word_suffix": "</w>", "cache": 1`,
			[]string{`model.dropout: not supported: 0.1, want null`, `model.cache: not supported: unknown option`}},
		{"affix", `"continuing_subword_prefix": null`, `"continuing_subword_prefix": "##"`, []string{`model.continuing_subword_prefix: not supported: "##", want null`}},
		{"unknown unknown", `"unk_token": "<unk>"`, `"unk_token": "[UNK]"`, []string{`model.unk_token: malformed: "[UNK]" is not in the vocabulary`}},
		{"same id", `"us": 28`, `"us": 27`, []string{`model.vocab: malformed: "▁hola" and "us" have the same id 27`, `model.merges[4]: malformed: "us" is not in the vocabulary`}},
		{"same piece", `"us": 28`, `"us": 28, "us": 40`, []string{`model.vocab: malformed: "us" has two ids, 28 and 40`}},
		{"negative id", `"us": 28`, `"us": 28, "x": -1`, []string{`model.vocab: malformed: "x" has id -1, want 0 to 65568`}},
		{"large id", `"us": 28`, `"us": 28, "x": 2000000000`, []string{`model.vocab: malformed: "x" has id 2000000000, want 0 to 65568`}},
		{"id beyond 32 bits", `"us": 28`, `"us": 2800000000`, []string{"malformed: want an integer below 2^31 at byte"}},
		{"id that is no integer", `"us": 28`, `"us": 28.5`, []string{"malformed: want an integer below 2^31 at byte"}},
		{"merge of unknown pieces", lastMerge, `"x y"`, []string{`model.merges[7]: malformed: "x" is not`, `model.merges[7]: malformed: "y" is not`, `model.merges[7]: malformed: "xy" is not`}},
		{"merge into an unknown piece", lastMerge, `"m a"`, []string{`model.merges[7]: malformed: "ma" is not in the vocabulary`}},
		{"merge of three", lastMerge, `"h o l"`, []string{"malformed: want a merge of two pieces before the text at byte"}},
		{"merge of one", lastMerge, `["h"]`, []string{"malformed: want a merge of two pieces before the text at byte"}},
		{"half a surrogate pair", `"us": 28`, `"\ud83d": 28`, []string{"malformed: want an escape sequence at byte"}},
		{"no merges", `"merges": [`, `"mergers": [`, []string{"model: malformed: want an object with vocab and merges"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse(edit(t, row.old, row.new))
			var list *ParseError
			require.ErrorAs(t, err, &list)
			var got []string
			for _, f := range list.Faults {
				got = append(got, f.Error())
				require.True(t, errors.Is(f, ErrMalformed) != errors.Is(f, ErrUnsupported))
			}
			for _, want := range row.want {
				require.Contains(t, strings.Join(got, "\n"), want)
			}
			require.ErrorContains(t, err, row.want[0])
		})
	}
}

func TestParseIsNoTokenizer(t *testing.T) {
	for _, row := range []struct{ name, data, want string }{
		{"empty", "", "malformed: want an object at byte 0"},
		{"an array", " []", "malformed: want an object at byte 1"},
		{"cut short", `{"version": "1.0`, "malformed: want a closing quote"},
		{"no UTF-8", "{\"version\": \"\xff\"}", "malformed: the file is not UTF-8"},
		{"no model", `{"version": "1.0"}`, "model: malformed: want an object with vocab and merges"},
		{"more than one value", `{"model": {"vocab": {}, "merges": []}} {}`, "malformed: want the end of the file at byte 39"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse([]byte(row.data))
			require.ErrorIs(t, err, ErrMalformed)
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
	var list *ParseError
	require.ErrorAs(t, err, &list)
	var paths []string
	for _, f := range list.Faults {
		paths = append(paths, f.Path)
	}
	require.Equal(t, []string{"model.vocab", "model.merges[0]", "model.merges[0]", "model.type", "version",
		"added_tokens", "normalizer.type", "pre_tokenizer.type", "post_processor.type", "decoder.type"}, paths)
	require.ErrorIs(t, err, ErrMalformed)
	require.ErrorIs(t, err, ErrUnsupported)
}

func TestParseErrorIsBounded(t *testing.T) {
	merges := strings.Repeat(`"x y", `, 1000) + `"x y"`
	_, err := Parse([]byte(`{"model": {"type": "BPE", "vocab": {}, "merges": [` + merges + `]}}`))
	require.ErrorContains(t, err, "tokenizer.json has 3003 fault(s)")
	require.ErrorContains(t, err, "and 2983 more")
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
	require.ErrorContains(t, err, `added_tokens: malformed: "aa" matches the same text as another token`)
	_, err = Parse(fmt.Appendf(nil, file, ""))
	require.ErrorContains(t, err, `added_tokens: malformed: "b" is empty when normalized`)
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
			require.Equal(t, want.EncodeWithSpecial(text), got.EncodeWithSpecial(text), row.reason)
			require.NotEqual(t, want.Hash(), got.Hash())
		})
	}
}

func TestScannerStrings(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t"},
		{`"\u00e9\u2581x"`, "é\u2581x"},
		{`"\ud83c\udf89"`, "🎉"},
		{`"\u0000"`, "\x00"},
	} {
		got, err := (&scanner{data: []byte(row.in)}).str(nil)
		require.NoError(t, err, row.in)
		require.Equal(t, row.want, string(got))
	}
	for _, in := range []string{``, `x`, `"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\ud83c"`, `"\ud83c\u0041"`, `"\udf89"`, "\"\n\""} {
		_, err := (&scanner{data: []byte(in)}).str(nil)
		require.Error(t, err, in)
	}
}
