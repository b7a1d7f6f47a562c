// Package llama reads what a Llama-architecture model directory says of itself:
// config.json, and which tensors such a model has. Loading, training, merging
// and exporting a model all take it from here, so that none of them accepts what
// another refuses.
//
//	c, err := llama.ReadConfig("models/salamandra-2b")
//	fmt.Println(c.NumParameters(), c.Linears())
package llama
