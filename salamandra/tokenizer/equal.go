package tokenizer

import (
	"bytes"
	"slices"
)

// probes are texts that tokenizers of different settings cut differently.
var probes = []string{
	"a", " a", "a ", "  a  b", "\n", "\n\n a", "\t", "Projectes d'hidrogen verd a Catalunya", "¿Qué? ¡Sí! año", "l·l ç à", "\u00e9", "ﬁ",
	"2024-09-30 12345 3.14", "\U0001F600\u200D", "中文", "{\"a\": [1, null]}", "<s>", "<|im_end|>", "\x00", "don't stop", "ABC abc",
}

// Equal reports whether both give the same ids: their files are the same, or they
// have the same vocabulary and encode texts alike in which settings show. Programs
// that save a tokenizer often write another file of the same meaning; Transformers 5
// leaves out the normalisation to NFC, so that text in another form does not count.
func (t *Tokenizer) Equal(other *Tokenizer) bool {
	if t.hash == other.hash {
		return true
	}
	if t.VocabSize() != other.VocabSize() {
		return false
	}
	for id := range int32(t.VocabSize()) {
		ours, known := t.TokenBytes(id)
		theirs, also := other.TokenBytes(id)
		if known != also || !bytes.Equal(ours, theirs) {
			return false
		}
		name, _ := t.Token(id) // control tokens have no bytes
		if same, _ := other.Token(id); name != same {
			return false
		}
	}
	for _, text := range probes {
		for _, first := range []bool{false, true} {
			if !slices.Equal(t.EncodeText(text, first), other.EncodeText(text, first)) {
				return false
			}
		}
	}
	return true
}
