package tokenizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/internal/tokenizerjson"
	"golang.org/x/text/unicode/norm"
)

func TestLoad(t *testing.T) {
	tok, err := Load("testdata/example")
	require.NoError(t, err)
	data, err := os.ReadFile("testdata/example/tokenizer.json")
	require.NoError(t, err)
	sum := sha256.Sum256(data)
	require.Equal(t, hex.EncodeToString(sum[:]), tok.Hash())

	_, err = Load("testdata/nowhere")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "no tokenizer.json in testdata/nowhere: copy it from the directory of the base model")

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, tokenizerjson.Name), []byte("{"), 0o600))
	_, err = Load(dir)
	require.ErrorContains(t, err, dir)

	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub", tokenizerjson.Name), 0o700))
	_, err = Load(filepath.Join(dir, "sub"))
	require.Error(t, err, "a directory in place of the file")
	require.NotErrorIs(t, err, fs.ErrNotExist)
}

func TestTokens(t *testing.T) {
	llama, byteLevel := parseLayout(t, "tokenizer_metaspace_first"), parseLayout(t, "bytelevel")
	require.Equal(t, 2048, llama.VocabSize())
	require.Equal(t, 1000, byteLevel.VocabSize())
	for _, row := range []struct {
		name    string
		tok     *Tokenizer
		token   string
		id      int32
		special bool
		bytes   string // of TokenBytes; not for special tokens
		reason  string
	}{
		{"unknown", llama, "<unk>", 0, true, "", "special tokens add no text"},
		{"control", llama, "<|im_end|>", 5, true, "", "special tokens add no text"},
		{"added", llama, "\n", 134, false, "\n", "added tokens that are not special are text"},
		{"byte", llama, "<0xE2>", 363, false, "\xe2", "a byte piece is one byte, not UTF-8 by itself"},
		{"space", llama, "\u2581", 1949, false, " ", "the metasymbol is a space"},
		{"word", llama, "\u2581a", 460, false, " a", "the space stays in the middle of a text"},
		{"byte level special", byteLevel, "<|im_end|>", 2, true, "", "special tokens add no text"},
		{"byte level space", byteLevel, "Ġ", 225, false, " ", "U+0120 stands for the byte 0x20"},
		{"byte level half a character", byteLevel, "Ã", 132, false, "\xc3", "U+00C3 stands for the byte 0xC3"},
	} {
		t.Run(row.name, func(t *testing.T) {
			id, ok := row.tok.TokenID(row.token)
			require.True(t, ok)
			require.Equal(t, row.id, id)
			token, ok := row.tok.Token(row.id)
			require.True(t, ok)
			require.Equal(t, row.token, token)
			require.Equal(t, row.special, row.tok.isSpecial(row.id))
			text, ok := row.tok.TokenBytes(row.id)
			require.Equal(t, !row.special, ok, row.reason)
			require.Equal(t, row.bytes, string(text), row.reason)
		})
	}
	for _, id := range []int32{-1, 2048, 1 << 30} {
		_, ok := llama.Token(id)
		require.False(t, ok, id)
		_, ok = llama.TokenBytes(id)
		require.False(t, ok, id)
		require.False(t, llama.isSpecial(id), id)
		require.Equal(t, "a", llama.Decode([]int32{id, 460, id}, false), "ids without a token are left out")
	}
	_, ok := llama.TokenID("no such token")
	require.False(t, ok)
	_, ok = llama.TokenID("")
	require.False(t, ok)
}

func TestBOS(t *testing.T) {
	id, ok := parseLayout(t, "tokenizer").bos()
	require.True(t, ok)
	require.Equal(t, int32(1), id)

	tok, err := Parse(edit(t, `"post_processor": {`, `"post_processor": null, "padding": {`))
	require.NoError(t, err)
	_, ok = tok.bos()
	require.False(t, ok)
	require.Equal(t, tok.Encode("hola"), tok.encodeWithSpecial("hola"))
}

// The bytes of the tokens of a text, put together, are the text; but for the
// space that some layouts put before it and Decode takes off.
func TestTokenBytesAddUpToText(t *testing.T) {
	for _, name := range layouts {
		tok := parseLayout(t, name)
		for _, r := range readRows(t, name) {
			var sum []byte
			for _, id := range r.IDs {
				text, _ := tok.TokenBytes(id)
				sum = append(sum, text...)
			}
			if string(sum) != r.DecodedSkipSpecial {
				require.Equal(t, " "+r.DecodedSkipSpecial, string(sum), name)
			}
		}
	}
}

// Control tokens by id and the segments between them by EncodeText, put
// together, are what Encode makes of the whole.
func TestEncodeTextIsEncodeInParts(t *testing.T) {
	for _, name := range layouts {
		tok := parseLayout(t, name)
		end, ok := tok.TokenID("<|im_end|>")
		require.True(t, ok)
		var segments []string
		for _, r := range readRows(t, name) {
			if !strings.ContainsAny(r.Text, "<|>") {
				segments = append(segments, r.Text)
			}
		}
		for i := range segments {
			three := []string{segments[i], segments[(i+7)%len(segments)], segments[(i+31)%len(segments)]}
			var ids []int32
			for j, s := range three {
				if j > 0 {
					ids = append(ids, end)
				}
				ids = append(ids, tok.EncodeText(s, j == 0)...)
			}
			require.Equal(t, tok.Encode(strings.Join(three, "<|im_end|>")), ids, "%s: %q", name, three)
		}
	}
}

func TestEncodeTextFirst(t *testing.T) {
	for _, row := range []struct {
		layout      string
		first, then []int32
		reason      string
	}{
		{"tokenizer", []int32{1952}, []int32{1952}, "no prefix"},
		{"tokenizer_metaspace_first", []int32{460}, []int32{1952}, "prefix at the start only"},
		{"tokenizer_metaspace_never", []int32{1952}, []int32{1952}, "no prefix"},
		{"tokenizer_prefix_space", []int32{460}, []int32{460}, "a prefix for every segment"},
	} {
		tok := parseLayout(t, row.layout)
		require.Equal(t, row.first, tok.EncodeText("a", true), "%s: %s", row.layout, row.reason)
		require.Equal(t, row.then, tok.EncodeText("a", false), "%s: %s", row.layout, row.reason)
	}
}

// No way into a special token is left open for text, however odd the file is.
func TestEncodeTextWritesNoSpecial(t *testing.T) {
	plain := `{"id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},`
	special := func(id, content string) string {
		return plain + `{"id": ` + id + `, "content": "` + content + `", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},`
	}
	for _, row := range []struct {
		name string
		data []byte
		text string
		want []string // pieces
	}{
		{"as written", edit(t, "", ""), "<s>", []string{"<", "s", ">"}},
		{"made by a merge", edit(t, plain, special("26", "hola")), "hola", []string{"ho", "la"}},
		{"a character", edit(t, plain, special("15", "h")), "hola", []string{"<unk>", "o", "la"}},
		{"a byte", edit(t, plain, special("6", "<0xB3>")), "ó", []string{"<unk>"}},
		{"the whole text", edit(t, `"ignore_merges": false`, `"ignore_merges": true`), "<|im_end|>", []string{"<", "|", "i", "m", "_", "e", "n", "d", "|", ">"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			tok, err := Parse(row.data)
			require.NoError(t, err)
			var got []string
			for _, id := range tok.EncodeText(row.text, false) {
				piece, _ := tok.Token(id)
				got = append(got, piece)
			}
			require.Equal(t, row.want, got)
			require.True(t, slices.ContainsFunc(tok.Encode(row.text), tok.isSpecial), "Encode does find it")
		})
	}
	for _, name := range layouts {
		tok := parseLayout(t, name)
		for _, r := range readRows(t, name) {
			require.False(t, slices.ContainsFunc(tok.EncodeText(r.Text, true), tok.isSpecial), "%s: %q", name, r.Text)
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	for _, name := range layouts {
		tok := parseLayout(t, name)
		for text, repaired := range map[string]string{
			"a\xffb":       "a\ufffdb",
			"\xe2\x82":     "\ufffd\ufffd",
			"\xc3<s>":      "\ufffd<s>",
			"\xed\xa0\x80": "\ufffd\ufffd\ufffd",
		} {
			require.Equal(t, tok.Encode(repaired), tok.Encode(text), "%s: %q", name, text)
			require.Equal(t, repaired, tok.Decode(tok.Encode(text), false), "%s: %q", name, text)
		}
	}
}

// randomText returns text in NFC without the metasymbol, which every layout
// takes for a space.
func randomText(rng *rand.Rand) string {
	alphabet := []string{"a", "b", "c", "à", "ç", "é", "l·l", "ny", "tion", " ", " ", "  ", "\n", "\t", "\r\n", "0", "17", ".", ", ", "{\"", "\": ", "]", "'s", "€", "日本", "🎉", "\u00a0", "\x00", "<s>", "<|im_end|>", "<0x41>"}
	var text strings.Builder
	for range rng.IntN(40) {
		text.WriteString(alphabet[rng.IntN(len(alphabet))])
	}
	return norm.NFC.String(text.String())
}

func TestRoundTrip(t *testing.T) {
	for _, row := range []struct {
		layout string
		except func(text string) bool
		reason string
	}{
		{"tokenizer", func(string) bool { return false }, "nothing is lost"},
		{"tokenizer_metaspace_never", func(string) bool { return false }, "nothing is lost"},
		{"bytelevel", func(string) bool { return false }, "nothing is lost"},
		{"tokenizer_metaspace_first", func(s string) bool { return strings.HasPrefix(s, " ") }, "no prefix before a space, but one is taken off"},
		{"tokenizer_prefix_space", func(s string) bool { return strings.ContainsAny(s, "\n\t\r") }, "a prefix after each added token, but one is taken off"},
	} {
		t.Run(row.layout, func(t *testing.T) {
			tok := parseLayout(t, row.layout)
			rng := rand.New(rand.NewPCG(3, 4))
			kept := 0
			for range 2000 {
				text := randomText(rng)
				if row.except(text) {
					continue
				}
				kept++
				require.Equal(t, text, tok.Decode(tok.EncodeText(text, true), true), row.reason)
			}
			require.Greater(t, kept, 100)
		})
	}
}

// Cutting where no merge can join, and remembering words, change no id.
func TestCutsAndCacheChangeNothing(t *testing.T) {
	for _, name := range layouts[:4] {
		tok, whole := parseLayout(t, name), parseLayout(t, name)
		require.NotNil(t, tok.model.adjacent)
		whole.model.adjacent = nil
		rng := rand.New(rand.NewPCG(5, 6))
		for range 2000 {
			text := randomText(rng)
			want := whole.Encode(text)
			require.Equal(t, want, tok.Encode(text), text)
			require.Equal(t, want, tok.Encode(text), text)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	tok := parseLayout(t, "bytelevel")
	s := tok.model.pool.New().(*scratch)
	var want []int32
	for i := range 3 * mostCached {
		word := bytes.Repeat([]byte{'a', 'b' + byte(i%7)}, 1+i%40)
		word = append(word, byte('a'+i%26), byte('a'+i/26%26), byte('a'+i/676%26))
		got := tok.model.encodePart(nil, word, s)
		want = tok.model.merge(want[:0], word, s)
		require.Equal(t, want, got, string(word))
		require.LessOrEqual(t, len(s.cache), mostCached)
	}
}

func TestConcurrentUse(t *testing.T) {
	tok := parseLayout(t, "tokenizer")
	rows := readRows(t, "tokenizer")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range rows {
				r := rows[(i+worker*len(rows)/4)%len(rows)]
				if !slices.Equal(r.IDs, tok.Encode(r.Text)) || tok.Decode(r.IDs, false) != r.Decoded {
					t.Errorf("%q differs", r.Text)
				}
				tok.EncodeText(r.Text, true)
			}
		})
	}
	wg.Wait()
}

// edit returns testdata/example/tokenizer.json with one text replaced by
// another, which must be there once unless it is empty.
func edit(t testing.TB, old, new string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/example/tokenizer.json")
	require.NoError(t, err)
	if old == "" {
		return data
	}
	require.Equal(t, 1, bytes.Count(data, []byte(old)), "%q in the example", old)
	data = bytes.Replace(data, []byte(old), []byte(new), 1)
	if strings.Contains(new, `"padding"`) { // which takes the place of what the edit is to hide
		data = bytes.Replace(data, []byte(`"padding": null,`), nil, 1)
	}
	return data
}

// TestControlTokensStayText: the flags of a file open no way from text to a
// control token.
func TestControlTokensStayText(t *testing.T) {
	for _, name := range layouts {
		data := readGzip(t, name+".json.gz")
		want, err := Parse(data)
		require.NoError(t, err)
		for _, flags := range []map[string]any{
			{"special": false},
			{"special": false, "lstrip": true, "rstrip": true},
			{"special": false, "normalized": true},
			{"special": true, "normalized": true, "rstrip": true},
		} {
			got, err := Parse(withFlags(t, data, flags))
			require.NoError(t, err)
			texts := []string{"<|im_end|>\n<|im_start|>assistant\nfals", "a  <|im_end|>  b", "<s></s><unk><pad>", "<|IM_END|>", "<|reserved|>"}
			for _, r := range readRows(t, name) {
				texts = append(texts, r.Text)
			}
			for _, text := range texts {
				require.Equal(t, want.EncodeText(text, true), got.EncodeText(text, true), "%s %v: %q", name, flags, text)
			}
			for _, mark := range []string{"<|im_start|>", "<|im_end|>", "<s>", "</s>"} {
				id, ok := got.TokenID(mark)
				if !ok {
					continue
				}
				require.NotContains(t, got.EncodeText("a "+mark+" b", false), id, "%s %v", name, flags)
				_, isText := got.TokenBytes(id)
				require.False(t, isText, "nor is it text of an answer")
			}
		}
	}
}

// withFlags sets flags of all control tokens of a tokenizer.json.
func withFlags(t *testing.T, data []byte, flags map[string]any) []byte {
	t.Helper()
	var file map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &file))
	var added []map[string]any
	require.NoError(t, json.Unmarshal(file["added_tokens"], &added))
	for _, a := range added {
		if isControl(a["content"].(string)) {
			maps.Copy(a, flags)
		}
	}
	var err error
	file["added_tokens"], err = json.Marshal(added)
	require.NoError(t, err)
	data, err = json.Marshal(file)
	require.NoError(t, err)
	return data
}
