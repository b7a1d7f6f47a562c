package chatml_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// reference is a file of the directory that SALAMANDRA_REFERENCE names, else
// the one kept here.
func reference(name, kept string) string {
	if dir := os.Getenv("SALAMANDRA_REFERENCE"); dir != "" {
		return filepath.Join(dir, name)
	}
	return kept
}

func loadTokenizer(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(reference("models/tiny-mha", "../salamandra/testdata/reference/models/tiny-mha"))
	require.NoError(t, err)
	return tok
}

// TestReference compares with conversations rendered and tokenized by
// Transformers; see testdata/README.md.
func TestReference(t *testing.T) {
	tok := loadTokenizer(t)
	data, err := os.ReadFile(reference("text/chat_cases.jsonl", "testdata/chat_cases.jsonl"))
	require.NoError(t, err)
	typed := 0
	for i, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var row struct {
			Messages []chatml.Message
			Prompt   bool   `json:"add_generation_prompt"`
			Date     string `json:"date_string"`
			Rendered string
			IDs      []int32
		}
		require.NoError(t, json.Unmarshal(line, &row))
		tmpl := chatml.Template{Date: row.Date}
		require.Equal(t, row.Rendered, tmpl.Render(row.Messages, row.Prompt), "row %d", i+1)

		got, err := tmpl.EncodePrompt(tok, row.Messages)
		require.NoError(t, err)
		if !row.Prompt {
			header := encodeHeader(t, tok)
			require.Equal(t, header, got[len(got)-len(header):])
			got = got[:len(got)-len(header)]
		}
		require.Equal(t, row.Rendered, tok.Decode(got, false), "row %d", i+1)
		if slices.ContainsFunc(row.Messages, func(m chatml.Message) bool { return strings.Contains(m.Content, "<|im_") }) {
			typed++
			turns := len(row.Messages) + 1 // and the default system message
			if row.Prompt {
				turns++
			}
			start, _ := tok.TokenID("<|im_start|>")
			require.Equal(t, turns, count(got, start), "typed control tokens stay text")
			require.Equal(t, turns+1, count(row.IDs, start), "the reference opens a turn")
			continue
		}
		require.Equal(t, row.IDs, got, "row %d", i+1)
		if !row.Prompt && slices.ContainsFunc(row.Messages, func(m chatml.Message) bool { return m.Role == chatml.Assistant }) {
			enc, err := tmpl.Encode(tok, row.Messages)
			require.NoError(t, err)
			require.Equal(t, row.IDs, enc.IDs, "row %d", i+1)
		}
	}
	require.Equal(t, 2, typed, "rows in which control tokens are typed")
}

func encodeHeader(t *testing.T, tok *tokenizer.Tokenizer) []int32 {
	t.Helper()
	ids, err := chatml.Template{NoDefaultSystem: true}.EncodePrompt(tok, nil)
	require.NoError(t, err)
	return ids
}

// TestReferenceBorder: Salamandra's vocabulary has "\n\n", which the reference
// writes across the border between header and answer.
func TestReferenceBorder(t *testing.T) {
	tok := loadTokenizer(t)
	tmpl := chatml.Template{NoDefaultSystem: true}
	for _, answer := range []string{"Hola", " Hola", "\nHola", "\n\nHola", "\n\n\n\n", "e\u0301", "\u0301"} {
		enc, err := tmpl.Encode(tok, []chatml.Message{{Role: chatml.Assistant, Content: answer + "x"}})
		require.NoError(t, err)
		header := encodeHeader(t, tok)
		require.Equal(t, header, enc.IDs[:len(header)], "%q: train = serve", answer)
		joint := tok.Encode(tmpl.Render([]chatml.Message{{Role: chatml.Assistant, Content: answer + "x"}}, false))
		require.Equal(t, tok.Decode(joint, false), tok.Decode(enc.IDs, false), "%q: same text", answer)
		require.Equal(t, strings.HasPrefix(answer, "\n"), !slices.Equal(joint, enc.IDs), "%q: other ids only where a token straddles", answer)
	}
}
