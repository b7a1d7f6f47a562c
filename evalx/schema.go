package evalx

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/impulse-salamandra/finetune/internal/jsonpointer"
)

// Schema is a compiled JSON Schema. It can be used by several goroutines; a nil
// *Schema accepts everything.
type Schema struct {
	compiled *jsonschema.Schema
	text     []byte
}

// CompileSchema reads a JSON Schema of the draft that "$schema" names (4, 6, 7,
// 2019-09 or 2020-12), of draft 2020-12 without one. name stands for the schema
// in errors.
//
// The schema has to be whole: a reference to another document, by $ref or
// $schema, is refused by its name, and nothing is ever fetched or opened.
// "format" is a note and not checked, but in drafts before 2019-09. Patterns have the
// meaning of ECMA-262. An error lists every fault.
func CompileSchema(name string, data []byte) (*Schema, error) {
	compiled, err := compileSchema(data)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	return &Schema{compiled: compiled, text: data}, nil
}

func compileSchema(data []byte) (*jsonschema.Schema, error) {
	doc, err := Parse(string(data))
	if place := new(ParseError); errors.As(err, &place) {
		return nil, fmt.Errorf("line %d, column %d: %s", place.Line, place.Column, place.Reason)
	}
	var loader refusal
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(&loader)
	compiler.UseRegexpEngine(compilePattern)
	compiled, err := compile(compiler, doc)
	switch {
	case loader.refused != "":
		return nil, fmt.Errorf("reference to another document, %s: a schema has to be whole (move it under $defs)",
			strings.TrimPrefix(loader.refused, schemaBase))
	case err != nil:
		return nil, errors.New(schemaFaults(err))
	}
	repairPropertyNames(compiled)
	return compiled, nil
}

// schemaBase begins the address that a schema is compiled under, which is a
// place in no file system and on no network.
const schemaBase = "schema:///"

// compile turns a panic of the library into an error.
func compile(c *jsonschema.Compiler, doc any) (s *jsonschema.Schema, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("cannot be compiled: %v", fault)
		}
	}()
	const address = schemaBase + "root"
	if err := c.AddResource(address, doc); err != nil {
		return nil, err
	}
	return c.Compile(address)
}

// refusal is a loader that loads nothing and remembers what was asked for.
type refusal struct{ refused string }

func (r *refusal) Load(address string) (any, error) {
	r.refused = address
	return nil, errors.New("not loaded")
}

// schemaFaults words an error of the compiler: all faults of an invalid schema.
func schemaFaults(err error) string {
	var invalid *jsonschema.SchemaValidationError
	var tree *jsonschema.ValidationError
	if errors.As(err, &invalid) && errors.As(invalid.Err, &tree) {
		return joinViolations(flatten(tree))
	}
	return err.Error()
}

// Validate returns every violation of the schema by a value, in the order of
// places, keywords and messages; none if the value complies. A value of the
// wrong type, or outside its enum, is reported only for that. Where no
// alternative of anyOf or oneOf fits, that is one violation, and its message has
// the reasons. A pattern that takes more than a second for a text is a violation.
func (s *Schema) Validate(v Value) (bad []Violation) {
	if s == nil {
		return nil
	}
	if bad = badNumbers(nil, v); bad != nil {
		return sortViolations(bad)
	}
	defer tooSlow(&bad)
	var tree *jsonschema.ValidationError
	if errors.As(s.compiled.Validate(v), &tree) {
		return flatten(tree)
	}
	return nil
}

// badNumbers finds the numbers that Parse would not have made. The library
// cannot compare some of them and panics.
func badNumbers(path []string, v Value) (bad []Violation) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			bad = append(bad, badNumbers(append(path, key), member)...)
		}
	case []any:
		for i, item := range v {
			bad = append(bad, badNumbers(append(path, strconv.Itoa(i)), item)...)
		}
	case json.Number:
		if !isNumber(v) {
			bad = append(bad, Violation{InstancePath: jsonpointer.Of(path), Message: fmt.Sprintf("number %s is out of range", clip(string(v)))})
		}
	}
	return bad
}

// repairPropertyNames replaces the library's check of propertyNames by one that
// reports the right place: v6.0.3 keeps a slice of the path that it goes on to
// overwrite, so that a fault in one object is reported for its neighbour.
//
// Subschemas that only $dynamicRef reaches are not visited.
func repairPropertyNames(root *jsonschema.Schema) {
	seen := map[*jsonschema.Schema]bool{nil: true}
	var visit func(schemas ...*jsonschema.Schema)
	visit = func(schemas ...*jsonschema.Schema) {
		for _, s := range schemas {
			if seen[s] {
				continue
			}
			seen[s] = true
			visit(s.Ref, s.Not, s.If, s.Then, s.Else, s.Contains, s.Items2020, s.PropertyNames, s.UnevaluatedProperties, s.UnevaluatedItems)
			visit(s.AllOf...)
			visit(s.AnyOf...)
			visit(s.OneOf...)
			visit(s.PrefixItems...)
			visit(asSchemas(s.Items)...)
			visit(asSchemas(s.AdditionalItems)...)
			for _, member := range s.Properties {
				visit(member)
			}
			for _, member := range s.PatternProperties {
				visit(member)
			}
			for _, member := range s.DependentSchemas {
				visit(member)
			}
			visit(asSchemas(s.AdditionalProperties)...)
			if s.PropertyNames != nil {
				s.Extensions = append(s.Extensions, propertyNames{s.PropertyNames})
				s.PropertyNames = nil
			}
		}
	}
	visit(root)
}

// asSchemas returns the subschemas of a keyword that can have one, several or,
// as true and false, none.
func asSchemas(v any) []*jsonschema.Schema {
	switch v := v.(type) {
	case *jsonschema.Schema:
		return []*jsonschema.Schema{v}
	case []*jsonschema.Schema:
		return v
	}
	return nil
}
