package llama_test

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

func Example() {
	c, err := llama.ParseConfig([]byte(`{"model_type": "llama", "vocab_size": 256000, "hidden_size": 2048, "intermediate_size": 5440,
		"num_hidden_layers": 24, "num_attention_heads": 16, "max_position_embeddings": 8192}`))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%.2f billion parameters, %d linear layers to adapt\n", float64(c.NumParameters())/1e9, len(c.Linears()))
	// Output: 2.25 billion parameters, 168 linear layers to adapt
}
