package inspect_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/dataset/inspect"
)

// Two records, of which one cannot be trained on. The tokenizer of this example
// has a token for each character.
func Example() {
	data := `{"id": "one", "messages": [{"role": "user", "content": "Hola"}, {"role": "assistant", "content": "Bon dia"}], "lang": "ca"}
{"id": "two", "messages": [{"role": "user", "content": "Hola?"}]}
`
	opts := inspect.Options{Builder: dataset.Builder{Tokenizer: letters{}, MaxLength: 100}, Plan: dataset.DefaultPlanOptions(), Decoder: letters{}}
	report, err := inspect.Read(dataset.NewReader(strings.NewReader(data), "data").Records(), opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("usable:", report.Usable())
	if err := report.WriteText(os.Stdout, inspect.WriteOptions{Conversations: 1}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// usable: false
	// 2 records, 1 of them can be trained on
	// 1 fault:
	//   data:2: record "two": nothing to train: no message has role "assistant"
	//              tokens  least  5 %  median  mean  95 %  99 %  most  all
	//            examples     80   80      80    80    80    80    80   80
	//   before the answer     71   71      71    71    71    71    71   71
	//             trained      8    8       8     8     8     8     8    8
	//     80 to     80 tokens       1 ########################################
	// language ca: 1 examples (100.0 %), 0 of them held out, 80 tokens
	// training on 1 examples in 1 batches per epoch, shared prefix of 70 tokens
	//     1 batches of 1 x 16 tokens, up to 16 targets
	// 86 tokens computed, 7.0 % of them padding; one by one the examples have 80
	//
	// == one: 80 tokens, 8 trained
	// <|im_start|>system
	// system message. Today Date: 2024-09-30<|im_end|>
	// <|im_start|>user
	// Hola<|im_end|>
	// <|im_start|>assistant
	// ⟦Bon dia<|im_end|>⟧
}

// letters is a tokenizer with a token for each character.
type letters struct{}

func (letters) EncodeText(text string, first bool) []int32 { return []int32(text) }

func (letters) TokenID(token string) (int32, bool) {
	id, ok := map[string]int32{"<|im_start|>": -1, "<|im_end|>": -2}[token]
	return id, ok
}

func (letters) Decode(ids []int32, skipSpecial bool) string {
	var b strings.Builder
	for _, id := range ids {
		switch id {
		case -1:
			b.WriteString("<|im_start|>")
		case -2:
			b.WriteString("<|im_end|>")
		default:
			b.WriteRune(id)
		}
	}
	return b.String()
}
