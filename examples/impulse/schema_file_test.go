package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadSchema: JSON Schema takes any object for a schema and passes over what it
// does not know; a file that says nothing of an answer is refused with what it is.
func TestReadSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	for text, want := range map[string]string{
		`{"type": "object"}`:       "",
		"\ufeff" + `{"enum": [1]}`: "",
		`{}`:                       "",
		`{"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}`:                                                                             "",
		`{"type": "object", "title": "t", "x-require": 1, "nullable": false, "discriminator": {}, "properties": {"property": {"enum": [1]}}}`: "",
		`{"x": 1}`:             "no keyword of JSON Schema, so that every value complies: is it an answer rather than a schema?",
		`{"$defs": {"a": {}}}`: "no keyword of JSON Schema",
		`{"name": "t", "strict": true, "schema": {"type": "object"}}`:                                  "that is what OpenAI's response_format holds: give the schema inside by itself",
		`{"json_schema": {"name": "t", "schema": {"type": "object"}}}`:                                 "that is what OpenAI's response_format holds",
		`{"type": "object", "property": {"a": {}}, "require": ["a"]}`:                                  "property is no keyword of JSON Schema and says nothing; is properties meant?",
		`{"type": "object", "properties": {"a": {"type": "string", "min_length": 1, "maxlength": 2}}}`: "min_length is no keyword of JSON Schema and says nothing; is minLength meant?",
		`{"type": "object", "properties": {"a": {"type": "object", "additional_properties": false}}}`:  "is additionalProperties meant?",
		`{"type": "array", "Items": {"type": "string"}}`:                                               "is items meant?",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := readSchema(path)
		if want != "" {
			require.ErrorContains(t, err, want, text)
			require.ErrorContains(t, err, path)
			require.NotContains(t, err.Error(), "\n    ")
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, strings.TrimPrefix(text, "\ufeff"), string(got))
	}
	_, err := readSchema(path + ".absent")
	require.ErrorContains(t, err, "--schema: open")
}
