package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TestService asks the service for a query, with a small model in the place of a
// merged one.
func TestService(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("..", "impulse", "demo", "tiny-salamandra"))))
	tok, err := tokenizer.Load(dir)
	require.NoError(t, err)
	contract := chatml.Contract{
		Date: chatml.DefaultDate, SystemPrompt: "Which language?", TokenizerSHA256: tok.Hash(), Layout: chatml.Layout{Indent: 2},
		Schema: json.RawMessage(`{"type": "object", "properties": {"lang": {"enum": ["CA", "ES", "EN"]}}, "required": ["lang"], "additionalProperties": false}`),
	}
	require.NoError(t, contract.Write(filepath.Join(dir, chatml.ContractFile)))
	m, err := finetune.Open(t.Context(), dir, finetune.Options{Backend: "go"})
	require.NoError(t, err)
	defer m.Close()
	server, err := newMux(m)
	require.NoError(t, err)

	ask := httptest.NewRequest("POST", "http://localhost/ai/parse", strings.NewReader(`{"query": "energia solar"}`))
	ask.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	server.ServeHTTP(answer, ask)
	require.Equal(t, 200, answer.Code, answer.Body)
	require.Regexp(t, `^\{\n  "lang": "(CA|ES|EN)"\n\}$`, answer.Body.String())
}
