package impulse

import (
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Variant names one of the two forms of records and answers.
type Variant string

const (
	// Current is the form without metric.
	Current Variant = "current"
	// V1 is the older form: answers also have metric and metric_params, a single
	// year is a whole number, and places have NUTS levels.
	V1 Variant = "v1"
)

var (
	//go:embed assets/schema.json
	schemaCurrent []byte
	//go:embed assets/schema_v1.json
	schemaV1 []byte
	//go:embed assets/system_prompt.txt
	promptCurrent string
	//go:embed assets/system_prompt_v1.txt
	promptV1 string
)

// Schema returns the JSON Schema (2020-12) of the variant's answers, with the
// properties in the order in which answers have them. It is nil for a name that
// is no variant.
func Schema(v Variant) []byte {
	switch v {
	case Current:
		return []byte(string(schemaCurrent))
	case V1:
		return []byte(string(schemaV1))
	}
	return nil
}

// SystemPrompt returns the built-in system prompt of the variant, for data that
// comes without one. It is empty for a name that is no variant.
//
// An adapter must be served with the prompt it was trained with, so a later
// version of this text does not fit adapters trained with an earlier one.
func SystemPrompt(v Variant) string {
	switch v {
	case Current:
		return strings.TrimSpace(promptCurrent)
	case V1:
		return strings.TrimSpace(promptV1)
	}
	return ""
}

// ReadPrompt reads a system prompt. White space is cut at both ends, a
// byte-order mark is skipped and line ends become "\n", so that the same text
// saved by another editor is the same prompt. It fails if that is
// empty, not UTF-8, or holds a control token.
func ReadPrompt(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("system prompt: %w", err)
	}
	text := strings.TrimPrefix(string(data), bom)
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	text = strings.TrimSpace(text)
	switch {
	case !utf8.ValidString(text):
		return "", fmt.Errorf("system prompt %s is not valid UTF-8", path)
	case text == "":
		return "", fmt.Errorf("system prompt %s is empty", path)
	case controlToken.MatchString(text):
		return "", fmt.Errorf("system prompt %s holds the control token %s, want only the text", path, controlToken.FindString(text))
	}
	return text, nil
}

const bom = "\ufeff"

// controlToken matches what chat templates put between turns. Texts must not
// hold it: trainers that tokenize rendered text would take it for a turn's end.
var controlToken = regexp.MustCompile(`<\|[0-9A-Za-z_]+\|>`)
