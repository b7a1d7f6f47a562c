// Service answers queries inside a program of one's own: it loads a merged model
// once and puts its endpoints under /ai/, beside a handler that has nothing to do
// with them.
//
//	service models/impulse-salamandra-merged
//	curl localhost:8080/ai/parse -H 'Content-Type: application/json' -d '{"query": "hidrogen verd"}'
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend" // or github.com/gomlx/go-xla/compute/xla

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/serve"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: service MODEL_DIR")
	}
	model, err := open(context.Background(), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ai/", http.StripPrefix("/ai", model))
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "bon dia") })
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", mux))
}

// open loads the merged model in dir, warm for the first request.
func open(ctx context.Context, dir string) (*serve.Server, error) {
	backend, err := compute.NewWithConfig("go:ops_sequential")
	if err != nil {
		return nil, err
	}
	model, err := salamandra.Load(ctx, backend, dir, salamandra.DefaultOptions())
	if err != nil {
		return nil, err
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return nil, err
	}
	contract, err := chatml.ReadContract(filepath.Join(dir, chatml.ContractFile))
	if err != nil {
		return nil, err
	}
	opts := serve.DefaultOptions()
	opts.Models = []serve.Model{{Name: "impulse", Engine: salamandra.NewGenerator(model, nil), Contract: contract}}
	opts.Tokenizer, opts.Context = tok, model.Config.MaxPositionEmbeddings
	end, _ := tok.TokenID(chatml.EndToken)
	opts.StopTokens = []int32{end}
	server, err := serve.New(opts)
	if err != nil {
		return nil, err
	}
	return server, server.Warm(ctx)
}
