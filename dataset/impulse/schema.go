package impulse

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// schema is a compiled JSON Schema of answers or of whole records.
type schema struct {
	compiled *evalx.Schema
	variant  Variant
	ofRecord bool // it knows meta.id
}

// compileSchema fails if data is no JSON Schema, or not a whole one.
func compileSchema(data []byte) (*schema, error) {
	compiled, err := evalx.CompileSchema("of the records", data)
	if err != nil {
		return nil, err
	}
	// Only what distinguishes the variants, and records from answers.
	var outline struct {
		Properties struct {
			Metric json.RawMessage `json:"metric"`
			Meta   struct {
				Properties struct {
					ID json.RawMessage `json:"id"`
				} `json:"properties"`
			} `json:"meta"`
		} `json:"properties"`
	}
	s := &schema{compiled: compiled, variant: Current}
	if err := json.Unmarshal(data, &outline); err != nil {
		return s, nil // true and false are schemas too
	}
	s.ofRecord = outline.Properties.Meta.Properties.ID != nil
	if outline.Properties.Metric != nil {
		s.variant = V1
	}
	return s, nil
}

type faultFunc func(offset int, path strictjson.Path, err error, format string, args ...any)

// keywordCauses are the causes of what keywords exclude; errValue is for others.
var keywordCauses = map[string]error{"required": errMissing, "type": errType, "additionalProperties": errUnknownKey}

// check calls fault for all that the schema has against v. The path begins at
// v; the offset is that of the value or, for a missing key, of its object.
func (s *schema) check(v *strictjson.Value, fault faultFunc) {
	for _, violation := range s.compiled.Validate(instance(v)) {
		at, path := locate(v, violation.InstancePath)
		err := keywordCauses[violation.Keyword]
		if err == nil {
			err = errValue
		}
		fault(at.Offset, path, err, "%s", violation.Message)
	}
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// locate follows a JSON pointer. A key that is missing is at its object.
func locate(v *strictjson.Value, pointer string) (*strictjson.Value, strictjson.Path) {
	var path strictjson.Path
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = unescape.Replace(token)
		if i, err := strconv.Atoi(token); v.Kind == strictjson.Array && err == nil {
			v, path = &v.Items[i], path.Item(i)
			continue
		}
		path = path.Key(token)
		if member := v.Get(token); member != nil {
			v = member
		}
	}
	return v, path
}

// instance returns v as schemas take it.
func instance(v *strictjson.Value) evalx.Value {
	switch v.Kind {
	case strictjson.Object:
		object := make(map[string]any, len(v.Members))
		for i := range v.Members {
			object[v.Members[i].Key] = instance(&v.Members[i].Value)
		}
		return object
	case strictjson.Array:
		items := make([]any, len(v.Items))
		for i := range v.Items {
			items[i] = instance(&v.Items[i])
		}
		return items
	case strictjson.String:
		return v.Text
	case strictjson.Number:
		return json.Number(v.Text)
	case strictjson.Boolean:
		return v.Text == "true"
	}
	return nil
}
