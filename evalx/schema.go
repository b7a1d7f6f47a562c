package evalx

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Causes of a [SchemaError].
var (
	// ErrSchema: the schema is not JSON, not valid against its own meta-schema,
	// not of draft 2020-12, or has a pattern that Go's regexp cannot run.
	ErrSchema = errors.New("bad schema")
	// ErrExternalRef: $ref or $schema names a document outside the schema.
	ErrExternalRef = errors.New("reference to another document")
)

// A SchemaError says why a schema cannot be used.
type SchemaError struct {
	Name string // as given to CompileSchema
	Err  error  // wraps one of the causes above, and a *ParseError if it is not JSON
}

// Error returns the schema's name and the cause.
func (e *SchemaError) Error() string { return fmt.Sprintf("evalx: schema %s: %v", e.Name, e.Err) }

// Unwrap returns e.Err.
func (e *SchemaError) Unwrap() error { return e.Err }

// Schema is a compiled JSON Schema. It can be used by several goroutines; a nil
// *Schema accepts everything.
type Schema struct {
	compiled *jsonschema.Schema
}

// CompileSchema reads a JSON Schema of draft 2020-12 ("$schema" may be absent).
// name stands for the schema in errors.
//
// The schema has to be whole: a reference to another document is refused with
// [ErrExternalRef] and nothing is ever fetched or opened. "format" is a note and
// not checked, as the draft has it. Patterns are Go regular expressions, which
// know no look-around. Every error is a [*SchemaError].
func CompileSchema(name string, data []byte) (*Schema, error) {
	fail := func(err error) (*Schema, error) { return nil, &SchemaError{Name: name, Err: err} }
	doc, err := Parse(string(data))
	if err != nil {
		return fail(fmt.Errorf("%w: %w", ErrSchema, err))
	}
	var loader refusal
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(&loader)
	compiled, err := compile(compiler, doc)
	switch {
	case loader.refused != "":
		return fail(fmt.Errorf("%w: %s", ErrExternalRef, strings.TrimPrefix(loader.refused, schemaBase)))
	case err != nil:
		return fail(fmt.Errorf("%w: %s", ErrSchema, schemaFaults(err)))
	case compiled.DraftVersion != 2020:
		return fail(fmt.Errorf("%w: $schema is of draft %d, want draft 2020-12", ErrSchema, compiled.DraftVersion))
	}
	repairPropertyNames(compiled)
	return &Schema{compiled: compiled}, nil
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
	return nil, ErrExternalRef
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
// wrong type, or outside its enum, is reported for that alone. Where no
// alternative of anyOf or oneOf fits, that is one violation, and its message has
// the reasons.
func (s *Schema) Validate(v Value) []Violation {
	if s == nil {
		return nil
	}
	if bad := badNumbers(nil, v); bad != nil {
		return sortViolations(bad)
	}
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
			bad = append(bad, Violation{InstancePath: pointer(path), Message: fmt.Sprintf("number %s is out of range", clip(string(v)))})
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
			for _, member := range s.Properties {
				visit(member)
			}
			for _, member := range s.PatternProperties {
				visit(member)
			}
			for _, member := range s.DependentSchemas {
				visit(member)
			}
			if additional, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
				visit(additional)
			}
			if s.PropertyNames != nil {
				s.Extensions = append(s.Extensions, propertyNames{s.PropertyNames})
				s.PropertyNames = nil
			}
		}
	}
	visit(root)
}
