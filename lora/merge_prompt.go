package lora

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/templatecheck"
	"github.com/impulse-salamandra/finetune/internal/weights"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// Names of files that say how a model is asked.
const (
	tokenizerFile       = "tokenizer.json"
	tokenizerConfigFile = "tokenizer_config.json"
	templateFile        = "chat_template.jinja"
	generationFile      = "generation_config.json"
)

// readPrompt reads the contract of the first adapter that has one, and compares
// it with the base's tokenizer. The contracts and the tokenizer files of other
// adapters are compared with what the output will have.
func (m *merger) readPrompt(ctx context.Context) error {
	for _, a := range m.adapters {
		if err := m.compareTokenizer(a.Dir); err != nil {
			return err
		}
		c, err := chatml.ReadContract(filepath.Join(a.Dir, chatml.ContractFile))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case m.contract == nil:
			m.contract = &c
		case !sameText(filepath.Join(a.Dir, chatml.ContractFile), filepath.Join(m.contractDir, chatml.ContractFile)):
			m.warn("%s beside the adapter %s differs from the one of an earlier adapter, which the output has", chatml.ContractFile, a.Dir)
			continue
		}
		m.contractDir = cmp.Or(m.contractDir, a.Dir)
	}
	if m.contract == nil {
		return nil
	}
	var err error
	if m.tokenizer, err = tokenizer.Load(m.base.Dir); err != nil {
		return err
	}
	return m.drift(func(c *chatml.Contract) {
		if c.TokenizerSHA256 = m.tokenizer.Hash(); c.TokenizerSHA256 != m.contract.TokenizerSHA256 && c.BaseSHA256 != "" {
			// Another base, perhaps: then both are reported at once.
			if sum, err := weights.Hash(ctx, m.base.Dir); err == nil {
				c.BaseSHA256 = sum
			}
		}
	})
}

// drift compares the contract with what it is changed to.
func (m *merger) drift(change func(*chatml.Contract)) error {
	actual := *m.contract
	change(&actual)
	err := m.contract.Check(actual)
	if err != nil && m.opts.AllowDrift {
		m.warn("%v", err)
		return nil
	}
	return err
}

// checkBase refuses a base of other weights than the adapter was trained on,
// which is known once they are hashed.
func (m *merger) checkBase() error {
	if m.contract == nil || m.contract.BaseSHA256 == "" {
		return nil
	}
	sums := map[string]string{}
	for _, f := range m.report.BaseFiles {
		if strings.HasSuffix(f.File, ".safetensors") {
			sums[f.File] = f.SHA256
		}
	}
	return m.drift(func(c *chatml.Contract) { c.BaseSHA256 = weights.HashSums(sums) })
}

func sameText(a, b string) bool {
	x, errX := os.ReadFile(a)
	y, errY := os.ReadFile(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// compareTokenizer warns where the tokenizer or the template beside an adapter
// is not the base's. What counts is what they do, not the bytes of files.
func (m *merger) compareTokenizer(adapter string) error {
	difference, err := templatecheck.Compare(adapter, m.base.Dir)
	if err != nil {
		return err
	}
	if difference != "" {
		m.warn("the adapter %s was saved with another template than the base, which the output has: %s", adapter, difference)
	}
	if !sameTokenizer(adapter, m.base.Dir) {
		m.warn("%s beside the adapter %s is not the base's, which the output has", tokenizerFile, adapter)
	}
	return nil
}

// sameTokenizer reports whether the tokenizer beside an adapter, if there is one,
// gives the base's ids. One that cannot be read here is another.
func sameTokenizer(adapter, base string) bool {
	file := filepath.Join(adapter, tokenizerFile)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) || sameText(file, filepath.Join(base, tokenizerFile)) {
		return true
	}
	ours, errOurs := tokenizer.Load(adapter)
	theirs, errTheirs := tokenizer.Load(base)
	return errOurs == nil && errTheirs == nil && ours.Equal(theirs)
}

// readObject reads a JSON object, and nothing of a file that is not there.
func readObject(path string, into any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("lora: %s: not a JSON object: %w", path, err)
	}
	return nil
}

// tellOthers writes what the contract says into the files that other programs
// read, so that with their own defaults they begin, continue and end an answer
// as this one does. The report notes each change.
func (m *merger) tellOthers(dir string) error {
	if m.contract == nil {
		return nil
	}
	contract, err := os.ReadFile(filepath.Join(m.contractDir, chatml.ContractFile))
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, chatml.ContractFile), contract); err != nil {
		return err
	}
	for _, name := range []string{generationFile, tokenizerConfigFile} {
		if err := m.edit(filepath.Join(dir, name), name); err != nil {
			return err
		}
	}
	template, err := templatecheck.Read(m.base.Dir)
	if err != nil || template != "" {
		return err
	}
	m.changed(templateFile, "the template of training; the base has none")
	return atomicfile.Write(filepath.Join(dir, templateFile), []byte(m.contract.Template().Jinja()))
}

func (m *merger) changed(file, format string, args ...any) {
	m.report.ChangedFiles = append(m.report.ChangedFiles, file+": "+fmt.Sprintf(format, args...))
}

// edit changes the keys of a JSON file of the output, if it is there.
func (m *merger) edit(path, name string) error {
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	var keys map[string]json.RawMessage
	if err := readObject(path, &keys); err != nil {
		return err
	}
	before := len(m.report.ChangedFiles)
	if name == generationFile {
		m.setEnd(keys, name)
	} else {
		if want := fmt.Sprint(m.contract.BOS); string(keys["add_bos_token"]) != want {
			keys["add_bos_token"] = json.RawMessage(want)
			m.changed(name, "add_bos_token is %s, as in training", want)
		}
		if string(keys["add_eos_token"]) == "true" {
			keys["add_eos_token"] = json.RawMessage("false")
			m.changed(name, "add_eos_token is false: no prompt ended in training")
		}
	}
	if len(m.report.ChangedFiles) == before {
		return nil
	}
	text, err := formatJSON(keys)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, text)
}

// setEnd adds the ids that end an answer to eos_token_id.
func (m *merger) setEnd(keys map[string]json.RawMessage, file string) {
	if m.contract == nil {
		return
	}
	var ids []int
	var one int
	if json.Unmarshal(keys["eos_token_id"], &one) == nil && string(keys["eos_token_id"]) != "null" {
		ids = []int{one}
	} else {
		_ = json.Unmarshal(keys["eos_token_id"], &ids) // which modelfiles.Open has read
	}
	n := len(ids)
	ends := m.contract.EndTokens
	if len(ends) == 0 {
		ends = []string{chatml.EndToken}
	}
	for _, text := range ends {
		if id, ok := m.tokenizer.TokenID(text); ok && !slices.Contains(ids, int(id)) {
			ids = append(ids, int(id))
		}
	}
	if len(ids) > n {
		keys["eos_token_id"], _ = json.Marshal(ids) // numbers
		m.changed(file, "eos_token_id is %s, with what ended answers in training", keys["eos_token_id"])
	}
}

// modelConfig returns the config.json of the output: the base's, byte for
// byte, unless the dtype was converted, the end of answers is another, or the
// head is not the embedding though it says so.
func (m *merger) modelConfig() ([]byte, error) {
	before := len(m.report.ChangedFiles)
	m.setEnd(m.base.keys, llama.ConfigFile)
	if string(m.base.keys["tie_word_embeddings"]) == "true" && !m.base.Config.TieWordEmbeddings {
		m.base.keys["tie_word_embeddings"] = json.RawMessage("false")
		m.changed(llama.ConfigFile, "tie_word_embeddings is false: the head that is stored is not the embedding")
	}
	if m.to == "" && len(m.report.ChangedFiles) == before {
		return m.base.config, nil
	}
	if m.to != "" {
		dtype, err := json.Marshal(m.opts.Dtype)
		if err != nil {
			return nil, err
		}
		_, now := m.base.keys["dtype"]
		if _, old := m.base.keys["torch_dtype"]; old || !now {
			m.base.keys["torch_dtype"] = dtype // the spelling that every version reads
		}
		if now {
			m.base.keys["dtype"] = dtype
		}
	}
	return formatJSON(m.base.keys)
}
