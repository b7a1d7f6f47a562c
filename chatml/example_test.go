package chatml_test

import (
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Training ids and prompt ids come from the same conversation; the mask shows
// what is trained.
func Example() {
	tok := newToy() // in a program: a tokenizer read from tokenizer.json
	conversation := []chatml.Message{
		{Role: chatml.System, Content: "Answer in JSON."},
		{Role: chatml.User, Content: "projectes d'hidrogen verd"},
		{Role: chatml.Assistant, Content: `{"topic": "hidrogen verd"}`},
	}
	var tmpl chatml.Template // Salamandra's, as published

	enc, err := tmpl.Encode(tok, conversation)
	if err != nil {
		fmt.Println(err)
		return
	}
	prompt, err := tmpl.EncodePrompt(tok, conversation[:2])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(tok.decode(enc.IDs))
	fmt.Println("prompt:", len(prompt), "of", len(enc.IDs), "ids")

	var trained []int32
	for i, id := range enc.IDs {
		if enc.Train[i] {
			trained = append(trained, id)
		}
	}
	fmt.Println("trained:", tok.decode(trained))
	// Output:
	// <|im_start|>system
	// Answer in JSON.<|im_end|>
	// <|im_start|>user
	// projectes d'hidrogen verd<|im_end|>
	// <|im_start|>assistant
	// {"topic": "hidrogen verd"}<|im_end|>
	// prompt: 53 of 81 ids
	// trained: {"topic": "hidrogen verd"}<|im_end|>
}

// A model that another program trained gets its contract by hand; written beside the
// weights, it says all that is needed to ask the model.
func ExampleNewContract() {
	tokenizerSHA256 := strings.Repeat("0", 64) // in a program: of the model's tokenizer.json
	schema := []byte(`{"type": "object", "properties": {"topic": {"type": "string"}}}`)
	c, err := chatml.NewContract("Answer in JSON.", schema, tokenizerSHA256)
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Title, c.Examples = "Topics", []string{"projectes d'hidrogen verd"}
	fmt.Println(c.Layout)
	fmt.Printf("%s ends with %q\n", c.Title, c.EndTokens)

	_, err = chatml.NewContract("Answer in JSON.", []byte("[]"), "?")
	fmt.Println(err)
	// Output:
	// indent 2, separators ", " and ": "
	// Topics ends with ["<|im_end|>"]
	// prompt contract: 2 faults:
	//   schema: not a JSON object
	//   tokenizer_sha256: "?", want 64 hexadecimal digits
}
