package chatml

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// ContractFile is the name of the contract in an adapter or model directory.
const ContractFile = "prompt.json"

// Contract records how a model was prompted in training, so that whoever
// serves it can do the same and is refused where they do not. It is the file
// [ContractFile] beside the adapter's weights; PEFT ignores it.
//
// The file also holds "version", "template" and the SHA-256 of the system
// prompt and of the schema, which are made on writing and checked on reading.
type Contract struct {
	// Date, DefaultSystem and BOS are the choices of the [Template]. Date is
	// required, as yyyy-mm-dd, whether or not the default system text is used.
	Date          string `json:"date"`
	DefaultSystem bool   `json:"default_system"`
	BOS           bool   `json:"bos"`
	// SystemPrompt is the text of the system message in every training
	// example; empty if there was none or if it differed.
	SystemPrompt string `json:"system_prompt"`
	// Schema is the JSON Schema of the answers, nil for free text. Its key
	// order is kept, because the layout of answers follows it; blanks are not.
	Schema json.RawMessage `json:"schema"`
	// Layout is how JSON answers are written.
	Layout Layout `json:"layout"`
	// RequestValues are the places of an answer whose values a request fixes,
	// by path: the names of properties joined by dots, "meta.original_query". In
	// what a file of version 1 gives it is nil, and not known.
	RequestValues map[string]RequestValue `json:"request_values"`
	// EndTokens end an answer, beside the model's own eos ids; [EndToken] if
	// there are none.
	EndTokens []string `json:"end_tokens"`
	// Title, Description and Examples, questions one can ask, are for people.
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Examples    []string `json:"examples"`
	// BaseQuantization is how the weights of the base were quantised in
	// training, empty if they were not.
	BaseQuantization string `json:"base_quantization"`
	// TokenizerSHA256 is the SHA-256 of tokenizer.json in hexadecimal.
	TokenizerSHA256 string `json:"tokenizer_sha256"`
	// BaseSHA256 stands for the base weights: it is what sha256sum *.safetensors |
	// sha256sum prints in their directory; empty if it was not taken.
	BaseSHA256 string `json:"base_sha256"`
}

// RequestValue is what a place of an answer repeats of the request.
type RequestValue string

const (
	// Question is the user's message, word by word.
	Question RequestValue = "question"
	// Language is the language that the request names, if it names one.
	Language RequestValue = "language"
)

// Layout is the canonical form of JSON answers, as json.dumps of Python writes
// it with these settings. The zero value is one line with ", " and ": ".
type Layout struct {
	// Indent is the number of spaces per level; 0 means one line, no breaks.
	Indent int `json:"indent"`
	// ItemSeparator stands between items and members; ", " if empty. Before a
	// line break its blanks are left out.
	ItemSeparator string `json:"item_separator"`
	// KeySeparator stands behind a key; ": " if empty.
	KeySeparator string `json:"key_separator"`
}

// explicit returns the layout with its separators spelt out.
func (l Layout) explicit() Layout {
	return Layout{l.Indent, cmp.Or(l.ItemSeparator, ", "), cmp.Or(l.KeySeparator, ": ")}
}

// String shows the layout as the arguments of json.dumps.
func (l Layout) String() string {
	e := l.explicit()
	return fmt.Sprintf("indent %d, separators %q and %q", e.Indent, e.ItemSeparator, e.KeySeparator)
}

// valid reports whether the separators are a comma and a colon among blanks.
func (l Layout) valid() bool {
	e := l.explicit()
	return strings.Trim(e.ItemSeparator, " ") == "," && strings.Trim(e.KeySeparator, " ") == ":"
}

// NewContract returns the contract of a model that is asked with a system prompt,
// "" for none, and answers by a JSON Schema, nil for free text. The rest has its
// defaults: the template as published, with [DefaultDate] and no BOS, answers
// indented by two spaces, [EndToken], and no values that a request fixes.
// tokenizerSHA256 is the SHA-256 of the model's tokenizer.json in hexadecimal. It
// fails as [Contract.Validate] does.
func NewContract(systemPrompt string, schema json.RawMessage, tokenizerSHA256 string) (Contract, error) {
	c := Contract{
		Date: DefaultDate, DefaultSystem: true, SystemPrompt: systemPrompt, Schema: schema,
		Layout: Layout{Indent: 2}, TokenizerSHA256: tokenizerSHA256,
	}
	return c.file().Contract, c.Validate()
}

// Template returns the template that the contract describes.
func (c Contract) Template() Template {
	return Template{Date: c.Date, BOS: c.BOS, NoDefaultSystem: !c.DefaultSystem}
}

// Validate fails if a field is out of range, and lists every one.
func (c Contract) Validate() error {
	list := faults.List{Subject: subject}
	c.check(&list)
	return list.Err()
}

// subject begins the errors of contracts.
const subject = "prompt contract"

// check adds every field that is out of range.
func (c Contract) check(list *faults.List) {
	fault := func(bad bool, field, format string, args ...any) {
		if bad {
			list.Addf(field, format, args...)
		}
	}
	_, err := time.Parse(time.DateOnly, c.Date)
	fault(err != nil, "date", "%q, want yyyy-mm-dd", c.Date)
	fault(!utf8.ValidString(c.SystemPrompt), "system_prompt", "not valid UTF-8")
	fault(c.Schema != nil && !isObject(c.Schema), "schema", "not a JSON object")
	fault(c.Layout.Indent < 0, "layout.indent", "%d, want 0 or more", c.Layout.Indent)
	fault(!c.Layout.valid(), "layout", "item_separator %q and key_separator %q, want a comma and a colon among blanks", c.Layout.ItemSeparator, c.Layout.KeySeparator)
	for _, path := range slices.Sorted(maps.Keys(c.RequestValues)) {
		v := c.RequestValues[path]
		fault(v != Question && v != Language, "request_values", "%s is %q, want %q or %q", path, v, Question, Language)
		fault(c.Schema == nil, "request_values", "%s, and there is no schema", path)
	}
	fault(!isSHA256(c.TokenizerSHA256), "tokenizer_sha256", "%q, want 64 hexadecimal digits", c.TokenizerSHA256)
	fault(c.BaseSHA256 != "" && !isSHA256(c.BaseSHA256), "base_sha256", "%q, want nothing or 64 hexadecimal digits", c.BaseSHA256)
}

func isObject(text []byte) bool {
	root, found, complete := strictjson.Parse(text, 0, maxDepth)
	return complete && len(found) == 0 && root.Kind == strictjson.Object
}

// maxDepth bounds the nesting of schemas.
const maxDepth = 200

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && s == strings.ToLower(s)
}
