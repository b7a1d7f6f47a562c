package chatml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrDrift: a model is about to be prompted otherwise than in training.
var ErrDrift = errors.New("prompt differs from training")

// Check compares the contract of training with the one in force. It fails with
// [ErrDrift] and names every difference with both values. Schemas are compared without
// their blanks but with their key order. Base weights are compared if both
// hashes are known: a merged model keeps its base's hash but no longer has
// those weights, and hashing many gigabytes at every start is not always wanted.
func (c Contract) Check(actual Contract) error {
	var differences []string
	compare := func(field, trained, now string) {
		if trained != now {
			trained, now = shorten(trained, now)
			differences = append(differences, fmt.Sprintf("%s: trained with %s, now %s", field, trained, now))
		}
	}
	compare("date", quote(c.Date), quote(actual.Date))
	compare("default_system", fmt.Sprint(c.DefaultSystem), fmt.Sprint(actual.DefaultSystem))
	compare("bos", fmt.Sprint(c.BOS), fmt.Sprint(actual.BOS))
	compare("system_prompt", quote(c.SystemPrompt), quote(actual.SystemPrompt))
	compare("schema", schemaText(c), schemaText(actual))
	compare("layout", c.Layout.String(), actual.Layout.String())
	compare("end_tokens", fmt.Sprintf("%q", c.file().EndTokens), fmt.Sprintf("%q", actual.file().EndTokens))
	compare("request_values", fmt.Sprint(c.file().RequestValues), fmt.Sprint(actual.file().RequestValues))
	compare("tokenizer_sha256", quote(c.TokenizerSHA256), quote(actual.TokenizerSHA256))
	if c.BaseSHA256 != "" && actual.BaseSHA256 != "" {
		compare("base_sha256", quote(c.BaseSHA256), quote(actual.BaseSHA256))
	}
	if differences == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDrift, strings.Join(differences, "; "))
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

func schemaText(c Contract) string {
	if c.Schema == nil {
		return "null"
	}
	return string(compactSchema(c.Schema))
}

// shorten cuts two different texts to the same window around the first byte in
// which they differ.
func shorten(a, b string) (string, string) {
	const before, after = 12, 36 // bytes
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	cut := func(s string) string {
		from, to := max(at-before, 0), min(at+after, len(s))
		for from > 0 && !utf8.RuneStart(s[from]) {
			from--
		}
		for to < len(s) && !utf8.RuneStart(s[to]) {
			to++
		}
		text := s[from:to]
		if from > 0 {
			text = "…" + text
		}
		if to < len(s) {
			text += "…"
		}
		return text
	}
	return cut(a), cut(b)
}
