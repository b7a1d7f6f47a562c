package templatecheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// maxFile bounds the files read, in bytes. A tokenizer_config.json of a large
// vocabulary has a few MiB.
const maxFile = 64 << 20

// model is what a directory says about its chat template.
type model struct {
	source   string // file that holds it; empty if there is none
	template string
	problem  string // why there is no one template
	tokens   map[string]string
	notes    []string
}

// tokenKeys are the variables that Transformers gives a template.
var tokenKeys = []string{"bos_token", "eos_token", "pad_token", "unk_token"}

func readModel(dir string) (model, error) {
	m := model{tokens: map[string]string{}}
	jinja, err := readFile(filepath.Join(dir, "chat_template.jinja"))
	if err != nil {
		return m, err
	}
	if jinja != nil {
		m.source, m.template = "chat_template.jinja", string(jinja)
	}
	for _, name := range []string{"tokenizer_config.json", "chat_template.json"} {
		data, err := readFile(filepath.Join(dir, name))
		if err != nil {
			return m, err
		}
		if data == nil {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			list := faults.List{Subject: filepath.Join(dir, name)}
			strictjson.ReadFields(data, &list, err)
			return m, list.Err()
		}
		if name == "tokenizer_config.json" {
			for _, key := range tokenKeys {
				if text := tokenText(fields[key]); text != "" {
					m.tokens[key] = text
				}
			}
		}
		m.add(name, fields["chat_template"])
	}
	return m, nil
}

// add takes the value of chat_template in a file: a text, or a list of named ones.
func (m *model) add(source string, value json.RawMessage) {
	if value == nil || string(value) == "null" {
		return
	}
	text, problem := templateText(value)
	if m.source == "" {
		m.source, m.template, m.problem = source, text, problem
	} else if strings.TrimSpace(text) != strings.TrimSpace(m.template) {
		m.notes = append(m.notes, fmt.Sprintf("%s holds another template than %s, which Transformers prefers", source, m.source))
	}
}

func templateText(value json.RawMessage) (text, problem string) {
	if json.Unmarshal(value, &text) == nil {
		return text, ""
	}
	var named []struct{ Name, Template string }
	if json.Unmarshal(value, &named) != nil {
		return "", "chat_template is neither a text nor a list of named ones"
	}
	for _, n := range named {
		if n.Name == "default" {
			return n.Template, ""
		}
	}
	return "", "chat_template lists no template named default"
}

// tokenText reads a token as a text or as an object with its content; "" else.
func tokenText(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var object struct{ Content string }
	if json.Unmarshal(value, &object) == nil {
		return object.Content
	}
	return ""
}

// readFile returns nil if there is no such file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: longer than %d bytes", path, maxFile)
	}
	if data == nil {
		data = []byte{}
	}
	return data, err
}
