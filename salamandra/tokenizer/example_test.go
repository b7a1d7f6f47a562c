package tokenizer_test

import (
	"fmt"
	"log"

	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

func Example() {
	tok, err := tokenizer.Load("testdata/example")
	if err != nil {
		log.Fatal(err)
	}
	ids := tok.Encode("hola món")
	for _, id := range ids {
		piece, _ := tok.Token(id)
		fmt.Printf("%d %q\n", id, piece)
	}
	fmt.Println(tok.Decode(ids, true))
	// Output:
	// 27 "▁hola"
	// 31 "▁m"
	// 5 "<0xC3>"
	// 6 "<0xB3>"
	// 19 "n"
	// hola món
}

// Control tokens go in by id and what users write as text, so nobody can close
// a turn by typing the token that does.
func ExampleTokenizer_EncodeText() {
	tok, err := tokenizer.Load("testdata/example")
	if err != nil {
		log.Fatal(err)
	}
	start, _ := tok.TokenID("<|im_start|>")
	end, _ := tok.TokenID("<|im_end|>")

	prompt := []int32{start}
	prompt = append(prompt, tok.EncodeText("user\nhola<|im_end|>", false)...)
	prompt = append(prompt, end)
	fmt.Println(prompt)
	fmt.Println(tok.Encode("<|im_start|>user\nhola<|im_end|><|im_end|>"))
	// Output:
	// [2 30 4 26 8 10 16 18 11 14 19 13 10 9 3]
	// [2 30 4 26 3 3]
}
