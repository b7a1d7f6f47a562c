package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// readSchema reads a JSON Schema file and checks that it can be used, and that it is
// one: JSON Schema passes over what it does not know, so that any object is a schema.
func readSchema(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--schema: %w", err)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if _, err = evalx.CompileSchema(path, data); err != nil {
		return nil, err
	}
	return data, noSchema(path, data)
}

// noSchema says what a JSON object is that is no schema, and which of a schema's
// keys are keywords misspelt.
func noSchema(path string, data []byte) error {
	doc, err := evalx.Parse(string(data))
	object, ok := doc.(map[string]any)
	if err != nil || !ok || len(object) == 0 {
		return err
	}
	inner, wrapped := object["schema"].(map[string]any)
	if format, ok := object["json_schema"].(map[string]any); ok {
		inner, wrapped = format["schema"].(map[string]any)
	}
	keywords := constrain.Keywords()
	if !slices.ContainsFunc(keywords, func(k string) bool { return object[k] != nil }) {
		if wrapped && inner != nil {
			return fmt.Errorf("--schema %s: that is what OpenAI's response_format holds: give the schema inside by itself", path)
		}
		return fmt.Errorf("--schema %s: no keyword of JSON Schema, so that every value complies: is it an answer rather than a schema?", path)
	}
	opts := constrain.DefaultOptions()
	opts.Strict = true
	_, err = constrain.Compile(data, opts)
	var found *constrain.CompileError
	if !errors.As(err, &found) {
		return nil
	}
	list := faults.List{Subject: "--schema " + path}
	for _, f := range found.Faults {
		name, unknown := strings.CutSuffix(f.Detail, " is no keyword")
		if i := slices.IndexFunc(keywords, func(k string) bool { return unknown && stem(k) == stem(name) }); i >= 0 {
			list.Addf(f.Pointer, "%s is no keyword of JSON Schema and says nothing; is %s meant?", name, keywords[i])
		}
	}
	return list.Err()
}

// stem is a keyword without what people get wrong in one: its case, what joins its
// words, its number.
func stem(keyword string) string {
	s := strings.NewReplacer("_", "", "-", "", "ies", "y").Replace(strings.ToLower(keyword))
	return strings.TrimRight(s, "sd")
}
