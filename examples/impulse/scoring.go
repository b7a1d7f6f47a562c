package main

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
)

// queryType names what a query restricts: its one kind of restriction, "mixed"
// for several, "topic" for none.
func queryType(want evalx.Value) string {
	var kinds []string
	for _, k := range []struct{ path, kind string }{
		{"filters.programme", "programme"}, {"filters.funding_level", "funding"}, {"filters.year", "year"}, {"filters.location", "place"},
	} {
		if v := evalx.Lookup(want, k.path); v != nil && v != (evalx.Missing{}) {
			kinds = append(kinds, k.kind)
		}
	}
	if list, ok := evalx.Lookup(want, "organisations").([]any); ok && len(list) > 0 {
		kinds = append(kinds, "organisation")
	}
	switch len(kinds) {
	case 0:
		return "topic"
	case 1:
		return kinds[0]
	}
	return "mixed"
}

// answerSchema resolves --schema of train: a file, none, or auto, which is the
// built-in schema that all answers comply with, if one does.
func answerSchema(flag string, answers []string) (schema []byte, said string, err error) {
	switch flag {
	case "none":
		return nil, "answers: no schema", nil
	case "auto":
	default:
		schema, err := readSchema(flag)
		if err != nil {
			return nil, "", err
		}
		if fault := firstViolation(schema, answers); fault != nil {
			return nil, "", fmt.Errorf("--schema %s: %w", flag, fault)
		}
		return schema, "answers: schema " + flag, nil
	}
	for _, v := range []impulse.Variant{impulse.Current, impulse.V1} {
		if firstViolation(impulse.Schema(v), answers) == nil {
			return impulse.Schema(v), fmt.Sprintf("answers: built-in schema, variant %s", v), nil
		}
	}
	return nil, "answers: they fit no built-in schema, none is recorded (--schema FILE to give one)", nil
}

// firstViolation returns what is wrong with the first answer that does not
// comply.
func firstViolation(schema []byte, answers []string) error {
	compiled, err := evalx.CompileSchema("schema", schema)
	if err != nil {
		return err
	}
	for i, a := range answers {
		value, err := evalx.Parse(a)
		if err != nil {
			return fmt.Errorf("answer of example %d: %w", i+1, err)
		}
		if v := compiled.Validate(value); len(v) > 0 {
			return fmt.Errorf("answer of example %d: %s", i+1, v[0])
		}
	}
	return nil
}
