package chatml

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ContractFile is the name of the contract in an adapter or model directory.
const ContractFile = "prompt.json"

// contractVersion rises when a field changes its meaning.
const contractVersion = 1

// templateName is the only template this package writes.
const templateName = "chatml"

// ErrContract: a contract is incomplete, of another version, or was edited so
// that its hashes do not fit.
var ErrContract = errors.New("bad prompt contract")

// Contract records how a model was prompted in training, so that whoever
// serves it can do the same and is told where they do not. It is the file
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
	// TokenizerSHA256 is the SHA-256 of tokenizer.json in hexadecimal.
	TokenizerSHA256 string `json:"tokenizer_sha256"`
	// BaseSHA256 is [HashFiles] of the base weights; empty if it was not taken.
	BaseSHA256 string `json:"base_sha256"`
}

// Layout is the canonical form of JSON answers. Keys are followed by ": ".
type Layout struct {
	// Indent is the number of spaces per level; 0 means one line, no breaks.
	Indent int `json:"indent"`
}

// contractFile is the whole file.
type contractFile struct {
	Version  int    `json:"version"`
	Template string `json:"template"`
	Contract
	SystemPromptSHA256 string `json:"system_prompt_sha256"`
	SchemaSHA256       string `json:"schema_sha256"`
}

// Template returns the template that the contract describes.
func (c Contract) Template() Template {
	return Template{Date: c.Date, BOS: c.BOS, NoDefaultSystem: !c.DefaultSystem}
}

// Validate fails with [ErrContract] and lists every field out of range.
func (c Contract) Validate() error {
	var faults []string
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	_, err := time.Parse(time.DateOnly, c.Date)
	fault(err != nil, "date is %q, want yyyy-mm-dd", c.Date)
	fault(!utf8.ValidString(c.SystemPrompt), "system_prompt is not valid UTF-8")
	fault(c.Schema != nil && !isObject(c.Schema), "schema is not a JSON object")
	fault(c.Layout.Indent < 0, "layout.indent is %d, want 0 or more", c.Layout.Indent)
	fault(!isSHA256(c.TokenizerSHA256), "tokenizer_sha256 is %q, want 64 hexadecimal digits", c.TokenizerSHA256)
	fault(c.BaseSHA256 != "" && !isSHA256(c.BaseSHA256), "base_sha256 is %q, want nothing or 64 hexadecimal digits", c.BaseSHA256)
	if faults != nil {
		return fmt.Errorf("chatml: %w: %s", ErrContract, strings.Join(faults, "; "))
	}
	return nil
}

func isObject(data []byte) bool {
	return utf8.Valid(data) && json.Valid(data) && bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && s == strings.ToLower(s)
}

// compact returns JSON without blanks between its tokens, nil for nil.
func compact(schema json.RawMessage) json.RawMessage {
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
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return fmt.Errorf("chatml: write contract: %w", err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("chatml: write contract: %w", errors.Join(err, os.Remove(f.Name())))
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
		return nil, fmt.Errorf("chatml: %w: %w", ErrContract, err)
	}
	return b.Bytes(), nil
}

func (c Contract) file() contractFile {
	c.Schema = compact(c.Schema)
	return contractFile{
		Version:            contractVersion,
		Template:           templateName,
		Contract:           c,
		SystemPromptSHA256: hash([]byte(c.SystemPrompt)),
		SchemaSHA256:       hash(c.Schema),
	}
}

// ReadContract reads a contract. It fails with [io/fs.ErrNotExist] if there is
// none, and with [ErrContract] if the file is not one JSON object with exactly
// the known keys, each once, if its version or template is another, if a field
// is out of range, or if the system prompt or the schema do not fit the hashes
// written with them.
func ReadContract(path string) (Contract, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Contract{}, fmt.Errorf("chatml: read contract: %w", err)
	}
	c, err := parseContract(data)
	if err != nil {
		return Contract{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseContract(data []byte) (Contract, error) {
	fail := func(format string, args ...any) (Contract, error) {
		return Contract{}, fmt.Errorf("chatml: %w: "+format, append([]any{ErrContract}, args...)...)
	}
	if !isObject(data) {
		return fail("not one JSON object in UTF-8")
	}
	if err := checkKeys(data); err != nil {
		return fail("%w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields() // of nested objects
	var f contractFile
	if err := dec.Decode(&f); err != nil {
		return fail("%w", err)
	}
	if f.Version != contractVersion {
		return fail("version is %d, this program reads %d", f.Version, contractVersion)
	}
	if f.Template != templateName {
		return fail("template is %q, want %q", f.Template, templateName)
	}
	c := f.Contract
	if c.Schema = compact(c.Schema); string(c.Schema) == "null" {
		c.Schema = nil
	}
	if err := c.Validate(); err != nil {
		return Contract{}, err
	}
	want := c.file()
	if f.SystemPromptSHA256 != want.SystemPromptSHA256 {
		return fail("system_prompt was changed after it was written: its SHA-256 is %s, system_prompt_sha256 says %s", want.SystemPromptSHA256, f.SystemPromptSHA256)
	}
	if f.SchemaSHA256 != want.SchemaSHA256 {
		return fail("schema was changed after it was written: its SHA-256 is %s, schema_sha256 says %s", want.SchemaSHA256, f.SchemaSHA256)
	}
	return c, nil
}

// checkKeys compares the keys of the object with those that Write puts, since
// encoding/json lets missing, repeated and differently cased keys pass.
func checkKeys(data []byte) error {
	sample, err := json.Marshal(contractFile{})
	if err != nil {
		return err
	}
	known, err := objectKeys(sample)
	if err != nil {
		return err
	}
	got, err := objectKeys(data)
	if err != nil {
		return err
	}
	var faults []string
	for i, k := range got {
		if !slices.Contains(known, k) {
			faults = append(faults, fmt.Sprintf("unknown field %q", k))
		} else if slices.Contains(got[:i], k) {
			faults = append(faults, fmt.Sprintf("field %q twice", k))
		}
	}
	for _, k := range known {
		if !slices.Contains(got, k) {
			faults = append(faults, fmt.Sprintf("field %q missing", k))
		}
	}
	if faults != nil {
		return errors.New(strings.Join(faults, "; "))
	}
	return nil
}

// objectKeys returns the keys of a JSON object in their order.
func objectKeys(object []byte) ([]string, error) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	var keys []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		keys = append(keys, fmt.Sprint(key))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
