package impulse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// schema is a compiled JSON Schema of answers or of whole records.
type schema struct {
	compiled *jsonschema.Schema
	variant  Variant
	ofRecord bool // it knows meta.id
}

// compileSchema fails with ErrSchema.
func compileSchema(data []byte) (*schema, error) {
	// Only what tells the variants, and records from answers, apart.
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
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("impulse: %w: %w", ErrSchema, err)
	}
	if err := json.Unmarshal(data, &outline); err != nil {
		return nil, fmt.Errorf("impulse: %w: %w", ErrSchema, err)
	}
	const url = "schema.json"
	c := jsonschema.NewCompiler()
	if err := c.AddResource(url, doc); err != nil {
		return nil, fmt.Errorf("impulse: %w: %w", ErrSchema, err)
	}
	compiled, err := c.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("impulse: %w: %w", ErrSchema, err)
	}
	s := &schema{compiled: compiled, variant: Current, ofRecord: outline.Properties.Meta.Properties.ID != nil}
	if outline.Properties.Metric != nil {
		s.variant = V1
	}
	return s, nil
}

// check calls fault for all that the schema has against v. The path begins at
// v; the offset is that of the value or, for a missing key, of its object.
func (s *schema) check(v *value, fault faultFunc) {
	var invalid *jsonschema.ValidationError
	if errors.As(s.compiled.Validate(instance(v)), &invalid) {
		eachLeaf(invalid, func(leaf *jsonschema.ValidationError) {
			at, path := locate(v, leaf.InstanceLocation)
			explain(leaf.ErrorKind, at, path, fault)
		})
	}
}

type faultFunc func(offset int, path []step, err error, format string, args ...any)

func eachLeaf(e *jsonschema.ValidationError, visit func(*jsonschema.ValidationError)) {
	if len(e.Causes) == 0 {
		visit(e)
	}
	for _, cause := range e.Causes {
		eachLeaf(cause, visit)
	}
}

func explain(why jsonschema.ErrorKind, at *value, path []step, fault faultFunc) {
	switch k := why.(type) {
	case *kind.Required:
		for _, key := range k.Missing {
			fault(at.offset, child(path, key), ErrMissing, "missing")
		}
	case *kind.AdditionalProperties:
		for _, key := range k.Properties {
			fault(at.get(key).offset, child(path, key), ErrUnknownKey, "unknown key")
		}
	case *kind.Type:
		fault(at.offset, path, ErrType, "want %s, got %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Enum:
		want := make([]string, len(k.Want))
		for i, w := range k.Want {
			want[i] = strings.Trim(compactJSON(w), `"`)
		}
		fault(at.offset, path, ErrValue, "%s is not one of %s", compactJSON(k.Got), strings.Join(want, ", "))
	case *kind.Minimum:
		fault(at.offset, path, ErrValue, "%s is less than %s", at.text, k.Want.RatString())
	case *kind.Maximum:
		fault(at.offset, path, ErrValue, "%s is more than %s", at.text, k.Want.RatString())
	default:
		fault(at.offset, path, ErrValue, "%s", why.LocalizedString(message.NewPrinter(language.English)))
	}
}

func child(path []step, key string) []step {
	return append(path[:len(path):len(path)], step{key: key})
}

// locate follows an instance location of the schema library.
func locate(v *value, location []string) (*value, []step) {
	var path []step
	for _, token := range location {
		if v.kind == kindArray {
			i, _ := strconv.Atoi(token)
			v = &v.items[i]
			path = append(path, step{index: i, isIndex: true})
			continue
		}
		v = v.get(token)
		path = append(path, step{key: token})
	}
	return v, path
}

// instance returns v in the form the schema library takes.
func instance(v *value) any {
	switch v.kind {
	case kindObject:
		m := make(map[string]any, len(v.members))
		for i := range v.members {
			m[v.members[i].key] = instance(&v.members[i].value)
		}
		return m
	case kindArray:
		items := make([]any, len(v.items))
		for i := range v.items {
			items[i] = instance(&v.items[i])
		}
		return items
	case kindString:
		return v.text
	case kindNumber:
		if strings.ContainsAny(v.text, "eE") {
			// The library computes exactly, which 1e999999999 would make endless.
			f, _ := strconv.ParseFloat(v.text, 64)
			return max(-math.MaxFloat64, min(f, math.MaxFloat64))
		}
		return json.Number(v.text)
	case kindBoolean:
		return v.text == "true"
	}
	return nil
}

func compactJSON(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}
