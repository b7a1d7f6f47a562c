package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
)

// addTextFlags adds the flags of what a model says of itself to people.
func addTextFlags(f *pflag.FlagSet, title, description *string, examples *[]string) {
	f.StringVar(title, "title", "", "what the model is called, for the page of serve and for ask")
	f.StringVar(description, "description", "", "what the model does, in a sentence")
	f.StringArrayVar(examples, "examples", nil, "a question one can ask; may be given several times")
}

// impulseTexts are what a model of IMPULSE's says of itself.
var impulseTexts = chatml.Contract{
	Title:       "IMPULSE",
	Description: "Questions on research and innovation, in Catalan, Spanish or English, to filters for a search.",
	Examples: []string{
		"projectes sobre hidrogen verd a Catalunya des de 2020",
		"¿Qué proyectos europeos tiene la UPC sobre robótica?",
		"artificial intelligence in health, Horizon 2020",
	},
}

// withTexts is a contract with the texts of IMPULSE where its schema is IMPULSE's
// and it has none.
func withTexts(c chatml.Contract) chatml.Contract {
	isIMPULSE := slices.ContainsFunc([]impulse.Variant{impulse.Current, impulse.V1}, func(v impulse.Variant) bool {
		return c.Schema != nil && bytes.Equal(compactJSON(c.Schema), compactJSON(impulse.Schema(v)))
	})
	if !isIMPULSE {
		return c
	}
	c.Title, c.Description = cmp.Or(c.Title, impulseTexts.Title), cmp.Or(c.Description, impulseTexts.Description)
	if len(c.Examples) == 0 {
		c.Examples = impulseTexts.Examples
	}
	return c
}

// compactJSON is JSON without blanks, nothing of what is no JSON.
func compactJSON(text []byte) []byte {
	var b bytes.Buffer
	_ = json.Compact(&b, text) // it is checked where it is read
	return b.Bytes()
}
