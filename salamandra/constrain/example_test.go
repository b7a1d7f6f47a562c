package constrain_test

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// byteTokens is a tokenizer whose tokens are bytes, and one that ends answers.
type byteTokens struct{}

func (byteTokens) VocabSize() int { return 257 }

func (byteTokens) TokenBytes(id int32) ([]byte, bool) { return []byte{byte(id)}, id < 256 }

func (byteTokens) EncodeText(text string, _ bool) []int32 {
	var ids []int32
	for _, c := range []byte(text) {
		ids = append(ids, int32(c))
	}
	return ids
}

// A decode loop with a model that always prefers the token with the highest id
// allowed.
func Example() {
	schema := `{"type": "object", "additionalProperties": false, "required": ["lang", "year"], "properties": {
		"lang": {"enum": ["CA", "ES", "EN"]},
		"year": {"type": ["string", "null"], "pattern": "^[0-9]{4}$"}}}`
	grammar, err := constrain.Compile([]byte(schema), constrain.DefaultOptions())
	if err != nil {
		fmt.Println(err)
		return
	}
	const end = 256 // tokens 0 to 255 are bytes
	vocabulary := constrain.TokenizerVocabulary(byteTokens{}, []int32{end})
	m, err := grammar.Matcher(vocabulary)
	if err != nil {
		fmt.Println(err)
		return
	}
	var answer []byte
	chosen := 0
	for budget := 60; !m.Done(); {
		next := m.ForcedTokens(budget)
		if len(next) == 0 {
			allowed, err := m.Allowed(budget)
			if err != nil {
				fmt.Println(err)
				return
			}
			id := int32(end)
			for !allowed.Has(id) {
				id--
			}
			next = []int32{id}
			chosen++
		}
		for _, id := range next {
			if err := m.Accept(id); err != nil {
				fmt.Println(err)
				return
			}
			answer = append(answer, byte(id))
		}
		budget -= len(next)
	}
	fmt.Println(string(answer))
	fmt.Println(len(answer), "tokens,", chosen, "chosen")
	// Output:
	// {
	//   "lang": "ES",
	//   "year": null
	// }
	// 34 tokens, 3 chosen
}

// Unknown keywords are annotations, as the specification says, and formats are
// asserted; options change both. A refusal says what is taken instead.
func ExampleOptions() {
	schema := []byte(`{"type": "string", "format": "date", "maxLenght": 10}`)
	loose, err := constrain.Compile(schema, constrain.DefaultOptions())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("a date:", loose.Match([]byte(`"2026-11-28"`)), "another text:", loose.Match([]byte(`"tomorrow"`)))

	options := constrain.DefaultOptions()
	options.AnnotateFormats = true
	if loose, err = constrain.Compile(schema, options); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("format an annotation:", loose.Match([]byte(`"tomorrow"`)))

	options.Strict = true
	_, err = constrain.Compile(schema, options)
	fmt.Println(err)
	// Output:
	// a date: true another text: false
	// format an annotation: true
	// constrain: /maxLenght: cannot be enforced: maxLenght is no keyword; want a name that begins with x-, or leave out the option strict: it is then an annotation
}
