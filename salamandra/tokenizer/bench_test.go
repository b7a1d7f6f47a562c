package tokenizer

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documents are the texts of the cases in pieces of about 6 kB, the size of a
// chat prompt.
func documents(b *testing.B) (docs []string, size int64) {
	b.Helper()
	var doc strings.Builder
	for _, r := range readRows(b, "tokenizer") {
		doc.WriteString(r.Text + "\n")
		size += int64(len(r.Text) + 1)
		if doc.Len() > 6000 {
			docs = append(docs, doc.String())
			doc.Reset()
		}
	}
	return append(docs, doc.String()), size
}

func benchmarkEncode(b *testing.B, tok *Tokenizer) {
	docs, size := documents(b)
	run := func(b *testing.B, before func()) {
		b.SetBytes(size)
		b.ReportAllocs()
		tokens := 0
		for b.Loop() {
			before()
			for _, doc := range docs {
				tokens += len(tok.Encode(doc))
			}
		}
		b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
	}
	b.Run("words seen before", func(b *testing.B) { run(b, func() {}) })
	b.Run("words not seen before", func(b *testing.B) {
		run(b, func() {
			s := tok.model.pool.Get().(*scratch)
			s.forget()
			tok.model.pool.Put(s)
		})
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range layouts {
		b.Run(name, func(b *testing.B) { benchmarkEncode(b, parseLayout(b, name)) })
	}
	b.Run("256k pieces", func(b *testing.B) {
		tok, err := Parse(largeFile(b))
		require.NoError(b, err)
		benchmarkEncode(b, tok)
	})
}

func BenchmarkParse(b *testing.B) {
	data := largeFile(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := Parse(data)
		require.NoError(b, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range layouts {
		b.Run(name, func(b *testing.B) {
			tok := parseLayout(b, name)
			docs, size := documents(b)
			var ids [][]int32
			for _, doc := range docs {
				ids = append(ids, tok.Encode(doc))
			}
			b.SetBytes(size)
			for b.Loop() {
				for _, doc := range ids {
					tok.Decode(doc, true)
				}
			}
		})
	}
}

// largeFile returns a tokenizer.json of Salamandra's size: the layout
// tokenizer_metaspace_first with its vocabulary grown to 256,000 pieces by
// merges of pieces that are there, as Hugging Face tokenizers would write it.
func largeFile(b *testing.B) []byte {
	b.Helper()
	const size = 256_000
	var file map[string]any
	var parts struct {
		Model struct {
			Vocab  map[string]int32 `json:"vocab"`
			Merges [][2]string      `json:"merges"`
		} `json:"model"`
	}
	data := readGzip(b, "tokenizer_metaspace_first.json.gz")
	require.NoError(b, json.Unmarshal(data, &file))
	require.NoError(b, json.Unmarshal(data, &parts))
	vocab, merges := parts.Model.Vocab, parts.Model.Merges
	var whole, inner []string // pieces of letters, with and without a space before them
	for i := range len(merges) {
		piece := merges[i][0] + merges[i][1]
		rest := strings.TrimPrefix(piece, "\u2581")
		if rest == "" || strings.ContainsAny(rest, "\u2581 \n\t<{}[]\":,") {
			continue
		}
		whole = append(whole, piece)
		if rest == piece {
			inner = append(inner, piece)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for len(vocab) < size {
		left, right := whole[rng.IntN(len(whole))], inner[rng.IntN(len(inner))]
		if _, ok := vocab[left+right]; !ok && len(left+right) < 16 {
			vocab[left+right] = int32(len(vocab))
			merges = append(merges, [2]string{left, right})
			whole = append(whole, left+right)
		}
	}
	model := file["model"].(map[string]any)
	model["vocab"], model["merges"] = vocab, merges
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(b, enc.Encode(file))
	return out.Bytes()
}
