package chatml

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
	"github.com/impulse-salamandra/finetune/internal/wrongfile"
)

// contractVersion rises when a field changes its meaning or is added. Files of
// version 1 are read as well: they have neither separators, end tokens, request
// values nor texts for people.
const contractVersion = 2

// templateName is the only template this package writes.
const templateName = "chatml"

// contractFile is the whole file.
type contractFile struct {
	Version  int    `json:"version"`
	Template string `json:"template"`
	Contract
	SystemPromptSHA256 string `json:"system_prompt_sha256"`
	SchemaSHA256       string `json:"schema_sha256"`
}

// compactSchema returns JSON without blanks between its tokens, nil for nil, as
// contracts hold it.
func compactSchema(schema json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, schema) != nil {
		return schema // not JSON: Validate says so
	}
	return b.Bytes()
}

// Write validates the contract and puts it at path. The file is complete or
// absent: it is written under a temporary name beside path, synced and renamed.
func (c Contract) Write(path string) error {
	data, err := c.encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, data); err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	return nil
}

func (c Contract) encode() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c.file()); err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	return b.Bytes(), nil
}

func (c Contract) file() contractFile {
	c.Schema, c.Layout = compactSchema(c.Schema), c.Layout.explicit()
	if len(c.EndTokens) == 0 {
		c.EndTokens = []string{EndToken}
	}
	if c.RequestValues == nil {
		c.RequestValues = map[string]RequestValue{}
	}
	if c.Examples == nil {
		c.Examples = []string{}
	}
	return contractFile{
		Version:            contractVersion,
		Template:           templateName,
		Contract:           c,
		SystemPromptSHA256: hash([]byte(c.SystemPrompt)),
		SchemaSHA256:       hash(c.Schema),
	}
}

// ReadContract reads a contract. It fails with [io/fs.ErrNotExist] if there is
// none, and if the file is not one JSON object with exactly the known keys, each
// once, if its version or template is another, if a field is out of range, or if
// the system prompt or the schema do not fit the hashes written with them.
func ReadContract(path string) (Contract, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Contract{}, fmt.Errorf("%s: %w", subject, err)
	}
	c, err := parseContract(data)
	if err != nil {
		return Contract{}, wrongfile.Explain(path, fmt.Errorf("%s: %w", path, err))
	}
	return c, nil
}

// since2 are the keys that version 1 did not have.
var since2 = []string{"request_values", "end_tokens", "title", "description", "examples", "base_quantization"}

func parseContract(text []byte) (Contract, error) {
	list := faults.List{Subject: subject}
	f := strictjson.ReadFields(text, &list, nil)
	if f == nil {
		return Contract{}, list.Err()
	}
	version := f.Int("version", 0)
	if version < 1 || version > contractVersion {
		return Contract{}, fmt.Errorf("%s: version is %d, this program reads 1 to %d", subject, version, contractVersion)
	}
	if t := f.String("template", ""); t != templateName {
		f.Fault("template", nil, "%q, want %q", t, templateName)
	}
	c := readContract(f)
	prompt, schema := f.String("system_prompt_sha256", ""), f.String("schema_sha256", "")
	checkKeys(f, version)
	if list.Len() == 0 {
		c.check(&list)
	}
	want := c.file()
	if version < 2 {
		c.RequestValues = nil // not none, but not known
	}
	if list.Len() == 0 && prompt != want.SystemPromptSHA256 {
		f.Fault("system_prompt", nil, "was changed after it was written: its SHA-256 is %s, system_prompt_sha256 says %s; put the old one back, or make the file anew", want.SystemPromptSHA256, prompt)
	}
	if list.Len() == 0 && schema != want.SchemaSHA256 {
		f.Fault("schema", nil, "was changed after it was written: its SHA-256 is %s, schema_sha256 says %s; put the old one back, or make the file anew", want.SchemaSHA256, schema)
	}
	if err := list.Err(); err != nil {
		return Contract{}, err
	}
	return c, nil
}

// readContract reads the fields of a contract, with what is not given as Write
// would put it.
func readContract(f *strictjson.Fields) Contract {
	c := Contract{
		Date: f.String("date", ""), DefaultSystem: f.Bool("default_system", false), BOS: f.Bool("bos", false),
		SystemPrompt: f.String("system_prompt", ""),
		EndTokens:    f.Strings("end_tokens"),
		Title:        f.String("title", ""), Description: f.String("description", ""), Examples: f.Strings("examples"),
		BaseQuantization: f.String("base_quantization", ""), TokenizerSHA256: f.String("tokenizer_sha256", ""), BaseSHA256: f.String("base_sha256", ""),
	}
	if v := f.Value("schema"); v != nil {
		c.Schema = f.Raw(v)
	}
	if l := f.Object("layout"); l != nil {
		c.Layout = Layout{l.Int("indent", 0), l.String("item_separator", ""), l.String("key_separator", "")}
		for _, key := range l.Unread() {
			l.Fault(key, nil, "unknown field")
		}
	}
	if values := f.Object("request_values"); values != nil {
		c.RequestValues = map[string]RequestValue{}
		for _, path := range values.Keys() {
			c.RequestValues[path] = RequestValue(values.String(path, ""))
		}
	}
	return c.file().Contract
}

// checkKeys compares the keys of the file with those that Write puts.
func checkKeys(f *strictjson.Fields, version int) {
	keys := f.Keys()
	for _, key := range keys {
		if !slices.Contains(contractKeys, key) {
			f.Fault(key, nil, "unknown field")
		}
	}
	for _, key := range contractKeys {
		if !slices.Contains(keys, key) && (version >= 2 || !slices.Contains(since2, key)) {
			f.Fault(key, nil, "missing")
		}
	}
}

// contractKeys are the keys that Write puts.
var contractKeys = []string{
	"version", "template", "date", "default_system", "bos", "system_prompt", "schema", "layout", "request_values", "end_tokens",
	"title", "description", "examples", "base_quantization", "tokenizer_sha256", "base_sha256", "system_prompt_sha256", "schema_sha256",
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
