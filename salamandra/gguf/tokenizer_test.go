package gguf

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// toy returns a directory with a tokenizer of the bytes and more.
func toy(t *testing.T, tokenizer, config map[string]any, merges []any, tokens ...string) string {
	t.Helper()
	vocab := map[string]int{"<unk>": 0}
	for b := range 256 {
		vocab["<0x"+string("0123456789ABCDEF"[b/16])+string("0123456789ABCDEF"[b%16])+">"] = len(vocab)
	}
	for _, token := range tokens {
		vocab[token] = len(vocab)
	}
	if merges == nil {
		merges = []any{}
	}
	if config == nil {
		config = map[string]any{}
	}
	file := map[string]any{"model": map[string]any{"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab, "merges": merges}}
	for key, value := range tokenizer {
		file[key] = value
	}
	dir := t.TempDir()
	for name, content := range map[string]map[string]any{"tokenizer.json": file, "tokenizer_config.json": config} {
		text, err := json.Marshal(content)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o666))
	}
	return dir
}

const toySize = 257 + 5 // unknown, bytes, and the tokens of the tests

func TestScores(t *testing.T) {
	for _, row := range []struct {
		name     string
		merges   []any
		scores   []float32 // of a, b, ab, aba, and one more
		warnings int
		reason   string
	}{
		{"as SentencePiece", []any{"a b", []string{"ab", "a"}, "a ba"}, []float32{-260, -261, 0, -1, -264}, 0, "both ways to make aba come together"},
		{"a merge is absent", []any{"a b", "ab a"}, []float32{-259, -260, 0, -1, -263}, 1, "llama.cpp would also make aba of a and ba"},
		{"another order", []any{"ab a", "a b", "a ba"}, []float32{-260, -261, -1, 0, -264}, 1, "one way to make aba before ab, one after"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := toy(t, nil, nil, row.merges, "a", "b", "ab", "aba", "ba")
			v, err := readTokenizer(dir, llama.Config{VocabSize: toySize + 1, PadTokenID: -1, BOSTokenID: -1})
			require.NoError(t, err)
			require.Equal(t, row.scores[:4], v.scores[257:261], row.reason)
			require.Len(t, v.warnings, row.warnings, row.reason)
			require.Equal(t, "[PAD262]", v.tokens[262], "the embedding has a row more")
			require.Equal(t, int32(kindUnused), v.kinds[262])
		})
	}
	for name, merges := range map[string][]any{"one token": {"ab"}, "three": {[]string{"a", "b", "c"}}, "no token": {5}, "not in the vocabulary": {"b b"}} {
		_, err := readTokenizer(toy(t, nil, nil, merges, "a", "b", "ab", "aba", "ba"), llama.Config{VocabSize: toySize, PadTokenID: -1, BOSTokenID: -1})
		require.ErrorContains(t, err, "tokenizer.json: ", name)
	}
}

func TestTokenizerSettings(t *testing.T) {
	metaspace := func(more map[string]any) map[string]any {
		m := map[string]any{"type": "Metaspace", "replacement": space}
		for key, value := range more {
			m[key] = value
		}
		return map[string]any{"pre_tokenizer": m}
	}
	prepend := map[string]any{"type": "Prepend", "prepend": space}
	replace := map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": space}
	for _, row := range []struct {
		name   string
		file   map[string]any
		prefix bool
	}{
		{"nothing", nil, false},
		{"normalizers", map[string]any{"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{prepend, replace}}}, true},
		{"replacement alone", map[string]any{"normalizer": replace}, false},
		{"metaspace first", metaspace(map[string]any{"prepend_scheme": "first"}), true},
		{"metaspace always", metaspace(map[string]any{"prepend_scheme": "always"}), true},
		{"metaspace never", metaspace(map[string]any{"prepend_scheme": "never"}), false},
		{"old metaspace", metaspace(nil), true},
		{"old metaspace without", metaspace(map[string]any{"add_prefix_space": false}), false},
	} {
		v, err := readTokenizer(toy(t, row.file, nil, nil), llama.Config{VocabSize: 257, PadTokenID: -1, BOSTokenID: -1})
		require.NoError(t, err, row.name)
		require.Equal(t, row.prefix, v.prefixSpace, row.name)
	}

	file := map[string]any{"added_tokens": []any{
		map[string]any{"id": 257, "content": "<s>", "special": true}, map[string]any{"id": 258, "content": "<tool>", "special": false},
	}}
	settings := map[string]any{
		"bos_token": map[string]any{"content": "<s>"}, "add_bos_token": false, "add_eos_token": true,
		"chat_template": []any{map[string]any{"name": "tools", "template": "T"}, map[string]any{"name": "default", "template": "D"}},
	}
	dir := toy(t, file, settings, nil)
	v, err := readTokenizer(dir, llama.Config{VocabSize: 259, BOSTokenID: -1, EOSTokenID: []int{258, 2}, PadTokenID: 999})
	require.NoError(t, err)
	require.Equal(t, []kv{{"tokenizer.ggml.bos_token_id", uint32(257)}, {"tokenizer.ggml.eos_token_id", uint32(258)}, {"tokenizer.ggml.unknown_token_id", uint32(0)}}, v.ids, "of several the first, and none that is no token")
	require.Equal(t, []int32{kindControl, kindUserDefined}, v.kinds[257:])
	require.Equal(t, "D", v.template)
	require.Contains(t, v.metadata(), kv{"tokenizer.ggml.add_bos_token", false})
	require.Contains(t, v.metadata(), kv{"tokenizer.ggml.add_eos_token", true})

	for _, row := range []struct {
		name, contract string
		file, settings map[string]any
		want           bool
	}{
		{"nothing says so", "", nil, nil, false},
		{"post-processor", "", postProcessor("<s>"), nil, true},
		{"post-processor of another token", "", postProcessor("<tool>"), nil, false},
		{"configuration", "", nil, map[string]any{"add_bos_token": true}, true},
		{"configuration over post-processor", "", postProcessor("<s>"), map[string]any{"add_bos_token": false}, false},
		{"trained without", `{"bos": false}`, postProcessor("<s>"), map[string]any{"add_bos_token": true}, false},
		{"trained with", `{"bos": true}`, nil, map[string]any{"add_bos_token": false}, true},
	} {
		settings := map[string]any{"bos_token": "<s>"}
		maps.Copy(settings, row.settings)
		content := maps.Clone(file)
		maps.Copy(content, row.file)
		dir := toy(t, content, settings, nil)
		if row.contract != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "prompt.json"), []byte(row.contract), 0o666))
		}
		v, err := readTokenizer(dir, llama.Config{VocabSize: 259, PadTokenID: -1, BOSTokenID: -1})
		require.NoError(t, err, row.name)
		require.Contains(t, v.metadata(), kv{"tokenizer.ggml.add_bos_token", row.want}, row.name)
	}

	require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte("F"), 0o666))
	v, err = readTokenizer(dir, llama.Config{VocabSize: 259, PadTokenID: -1, BOSTokenID: -1})
	require.NoError(t, err)
	require.Equal(t, "F", v.template, "a file of its own comes first")
}

// postProcessor puts a token before each text.
func postProcessor(token string) map[string]any {
	return map[string]any{"post_processor": map[string]any{"type": "Sequence", "processors": []any{map[string]any{
		"type":   "TemplateProcessing",
		"single": []any{map[string]any{"SpecialToken": map[string]any{"id": token, "type_id": 0}}, map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}},
	}}}}
}
