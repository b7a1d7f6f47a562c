package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/salamandra/serve"
)

// A service loads a model once and puts the endpoints under a path of its mux.
func Example() {
	ctx := context.Background()
	prompt := "Which language?" // which a model that was trained brings along, with its schema
	m, err := finetune.Open(ctx, "../testdata/reference/models/tiny-gqa", finetune.Options{
		Backend: "go", SystemPrompt: &prompt,
		Schema: json.RawMessage(`{"type": "object", "properties": {"lang": {"enum": ["CA", "ES", "EN"]}}, "required": ["lang"], "additionalProperties": false}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	server, err := serve.New(m, serve.DefaultOptions())
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	mux := http.NewServeMux()
	mux.Handle("/ai/", http.StripPrefix("/ai", server))

	ask := httptest.NewRequest("POST", "http://localhost/ai/parse", strings.NewReader(`{"query": "energia solar"}`))
	ask.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, ask)
	var parsed struct{ Lang string }
	if err := json.Unmarshal(answer.Body.Bytes(), &parsed); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Code, len(parsed.Lang))
	// Output: 200 2
}
