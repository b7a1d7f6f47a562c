package chatml_test

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Training ids and prompt ids come from the same conversation; the mask shows
// what is learnt.
func Example() {
	tok := newToy() // in a program: a tokenizer read from tokenizer.json
	conversation := []chatml.Message{
		{Role: chatml.System, Content: "Answer in JSON."},
		{Role: chatml.User, Content: "projectes d'hidrogen verd"},
		{Role: chatml.Assistant, Content: `{"topic": "hidrogen verd"}`},
	}
	var tmpl chatml.Template // Salamandra's, as published

	enc, err := tmpl.Encode(tok, conversation, chatml.AllTurns)
	if err != nil {
		fmt.Println(err)
		return
	}
	prompt, err := tmpl.EncodePrompt(tok, conversation[:2])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(enc.Visualize(tok.decode))
	fmt.Println("prompt:", len(prompt), "of", len(enc.IDs), "ids")

	reply, finished := chatml.TrimReply(enc.IDs[len(prompt):], endID)
	fmt.Println(tok.decode(reply), finished)
	// Output:
	// <|im_start|>system
	// Answer in JSON.<|im_end|>
	// <|im_start|>user
	// projectes d'hidrogen verd<|im_end|>
	// <|im_start|>assistant
	// [[{"topic": "hidrogen verd"}<|im_end|>]]
	// prompt: 53 of 81 ids
	// {"topic": "hidrogen verd"} true
}
