package evalx

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/impulse-salamandra/finetune/internal/jsonpointer"
)

// Violation is one fault of a value.
type Violation struct {
	// InstancePath is the place in the value as a JSON pointer (RFC 6901), ""
	// for the whole value. A key too many and a missing one are reported at that
	// key.
	InstancePath string `json:"path"`
	// Keyword is the keyword of the schema that the value violates, "" for the
	// schema false and for what is no JSON value.
	Keyword string `json:"keyword"`
	// Message says what is there and what is wanted. It can quote the value.
	Message string `json:"message"`
}

// String returns the three parts, the whole value being called "/".
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s: %s", cmp.Or(v.InstancePath, "/"), cmp.Or(v.Keyword, "value"), v.Message)
}

func joinViolations(violations []Violation) string {
	var parts []string
	for _, v := range violations {
		parts = append(parts, v.String())
	}
	return strings.Join(parts, "; ")
}

// sortViolations sorts by place (array items by index), keyword and message, and
// drops repetitions, which two references to one subschema cause.
func sortViolations(violations []Violation) []Violation {
	slices.SortFunc(violations, func(a, b Violation) int {
		return cmp.Or(
			jsonpointer.Compare(a.InstancePath, b.InstancePath),
			cmp.Compare(a.Keyword, b.Keyword),
			cmp.Compare(a.Message, b.Message),
			cmp.Compare(a.InstancePath, b.InstancePath), // "" and "/" have equal tokens
		)
	})
	return slices.Compact(violations)
}

// flatten lists the faults in the library's tree of errors, whose order follows
// the order of Go maps.
func flatten(tree *jsonschema.ValidationError) []Violation {
	var violations []Violation
	var visit func(e *jsonschema.ValidationError)
	visit = func(e *jsonschema.ValidationError) {
		add := func(path []string, keyword, message string) {
			violations = append(violations, Violation{jsonpointer.Of(path), keyword, message})
		}
		switch k := e.ErrorKind.(type) {
		case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
			for _, cause := range e.Causes {
				visit(cause)
			}
		case *kind.Required:
			for _, key := range k.Missing {
				add(append(slices.Clip(e.InstanceLocation), key), "required", "missing")
			}
		case *kind.AdditionalProperties:
			for _, key := range k.Properties {
				add(append(slices.Clip(e.InstanceLocation), key), "additionalProperties", "unknown key")
			}
		case *kind.PropertyNames:
			add(append(slices.Clip(e.InstanceLocation), k.Property), "propertyNames", "forbidden key: "+alternatives(e.Causes))
		default:
			add(e.InstanceLocation, keyword(k), message(e))
		}
	}
	visit(tree)
	return sortViolations(violations)
}

func keyword(k jsonschema.ErrorKind) string {
	if _, ok := k.(*kind.Not); ok {
		return "not"
	}
	if path := k.KeywordPath(); len(path) > 0 {
		return path[0]
	}
	return ""
}

// message words a fault. The library's own words are kept for rare kinds; for
// the others they put separators into numbers ("want 2,023") or leave out what
// is wanted.
func message(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return fmt.Sprintf("is %s, want %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Enum:
		if len(k.Want) == 1 {
			return fmt.Sprintf("is %s, want %s", show(k.Got), show(k.Want[0]))
		}
		return fmt.Sprintf("is %s, want one of %s", show(k.Got), showAll(k.Want))
	case *kind.Const:
		return fmt.Sprintf("is %s, want %s", show(k.Got), show(k.Want))
	case *kind.Pattern:
		return fmt.Sprintf("%s does not match %s", clip(k.Got), k.Want)
	case *kind.AnyOf:
		return "fits no alternative: " + alternatives(e.Causes)
	case *kind.OneOf:
		if k.Subschemas != nil {
			return fmt.Sprintf("fits alternatives %d and %d, want one only", k.Subschemas[0], k.Subschemas[1])
		}
		return "fits no alternative: " + alternatives(e.Causes)
	case *kind.Not:
		return "fits what is forbidden"
	case *kind.FalseSchema:
		return "no value is allowed here"
	case *kind.MinLength:
		return fmt.Sprintf("has %d characters, want at least %d", k.Got, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("has %d characters, want at most %d", k.Got, k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("has %d items, want at least %d", k.Got, k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("has %d items, want at most %d", k.Got, k.Want)
	case *kind.MinProperties:
		return fmt.Sprintf("has %d keys, want at least %d", k.Got, k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("has %d keys, want at most %d", k.Got, k.Want)
	case *kind.Minimum:
		return fmt.Sprintf("is %s, want at least %s", showRat(k.Got), showRat(k.Want))
	case *kind.Maximum:
		return fmt.Sprintf("is %s, want at most %s", showRat(k.Got), showRat(k.Want))
	case *kind.ExclusiveMinimum:
		return fmt.Sprintf("is %s, want more than %s", showRat(k.Got), showRat(k.Want))
	case *kind.ExclusiveMaximum:
		return fmt.Sprintf("is %s, want less than %s", showRat(k.Got), showRat(k.Want))
	case *kind.MultipleOf:
		return fmt.Sprintf("is %s, want a multiple of %s", showRat(k.Got), showRat(k.Want))
	}
	return strings.TrimPrefix((&jsonschema.ValidationError{ErrorKind: e.ErrorKind}).Error(), "at '': ")
}

// alternatives words the faults of each alternative, in their order. It is cut
// where it gets long: alternatives can nest as deep as values do.
func alternatives(causes []*jsonschema.ValidationError) string {
	const most = 1000 // bytes
	var parts []string
	for _, cause := range causes {
		parts = append(parts, joinViolations(flatten(cause)))
	}
	text := strings.Join(parts, " | ")
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// show returns the beginning of a value as JSON.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return clip(v)
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	case json.Number:
		return showRat(number(v))
	}
	return strings.ReplaceAll(fmt.Sprint(v), "<nil>", "null")
}

func showAll(values []any) string {
	var parts []string
	for _, v := range values {
		parts = append(parts, show(v))
	}
	return strings.Join(parts, ", ")
}

// showRat returns a number in at most ten digits.
func showRat(r *big.Rat) string {
	return new(big.Float).SetRat(r).Text('g', 10)
}

// propertyNames checks the keys of objects; see repairPropertyNames.
type propertyNames struct{ names *jsonschema.Schema }

// Validate implements [jsonschema.SchemaExt].
func (p propertyNames) Validate(ctx *jsonschema.ValidatorContext, v any) {
	object, _ := v.(map[string]any)
	for key := range object {
		if tree, ok := p.names.Validate(key).(*jsonschema.ValidationError); ok {
			ctx.AddErrors(tree.Causes, &kind.PropertyNames{Property: key})
		}
	}
}
