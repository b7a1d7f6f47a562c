// Service answers questions about a model's subject under /ai/, beside a page of
// its own: service MODEL_DIR ADDRESS
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/salamandra/serve"
)

func main() {
	m, err := finetune.Open(context.Background(), os.Args[1], finetune.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	ai, err := serve.New(m, serve.DefaultOptions())
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/ai/", http.StripPrefix("/ai", ai))
	http.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "bon dia") })
	log.Fatal(http.ListenAndServe(os.Args[2], nil))
}
