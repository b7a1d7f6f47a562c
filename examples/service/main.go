// Service answers queries inside a program of one's own: it opens a model once and
// puts its endpoints under /ai/, beside a handler that has nothing to do with them.
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

	_ "github.com/gomlx/compute/gobackend" // or github.com/gomlx/go-xla/compute/xla

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/salamandra/serve"
)

func main() {
	m, err := finetune.Open(context.Background(), os.Args[1], finetune.Options{})
	if err != nil {
		log.Fatal(err)
	}
	mux, err := newMux(m)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", mux))
}

// newMux puts the model's endpoints beside the program's own.
func newMux(m *finetune.Model) (http.Handler, error) {
	ai, err := serve.New(m, serve.DefaultOptions())
	mux := http.NewServeMux()
	mux.Handle("/ai/", http.StripPrefix("/ai", ai))
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "bon dia") })
	return mux, err
}
