package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/serve"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// A service loads a model once and puts the endpoints under a path of its mux.
func Example() {
	const dir = "../testdata/reference/models/tiny-gqa"
	backend, err := compute.NewWithConfig("go:ops_sequential")
	if err != nil {
		log.Fatal(err)
	}
	model, err := salamandra.Load(context.Background(), backend, dir, salamandra.DefaultOptions())
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	tok, err := tokenizer.Load(dir)
	if err != nil {
		log.Fatal(err)
	}
	// A merged model brings its own: chatml.ReadContract(dir + "/prompt.json").
	contract := chatml.Contract{
		Date: chatml.DefaultDate, SystemPrompt: "Which language?",
		Schema: json.RawMessage(`{"type": "object", "properties": {"lang": {"enum": ["CA", "ES", "EN"]}}, "required": ["lang"], "additionalProperties": false}`),
	}
	generator := salamandra.NewGenerator(model, nil)
	defer generator.Close()

	opts := serve.DefaultOptions()
	opts.Models = []serve.Model{{Name: "tiny", Engine: generator, Contract: contract}}
	opts.Tokenizer = tok
	end, _ := tok.TokenID(chatml.EndToken)
	opts.StopTokens = []int32{end}
	opts.Context, opts.MaxNewTokens = model.Config.MaxPositionEmbeddings, 32
	server, err := serve.New(opts)
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
