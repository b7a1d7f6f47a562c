package constrain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/impulse-salamandra/finetune/salamandra/salamandratest"
)

// wild writes random schemas in which keywords meet that have nothing to do with
// each other, over few names and values, so that they often overlap.
type wild struct{ *rand.Rand }

func (w wild) of(list ...string) string { return list[w.IntN(len(list))] }

func (w wild) name() string { return w.of("a", "b", "c", "ab") }

func (w wild) scalar() string {
	return w.of("null", "true", "false", "0", "1", "2", "1.5", "-1", "4", "10", `""`, `"a"`, `"ab"`, `"b"`, `"ba"`, "1.0", "1e1")
}

// instance is a random value; the members of objects come in the order of names.
func (w wild) instance(depth int) string {
	switch kind := w.IntN(6); {
	case depth == 0 || kind < 2:
		return w.scalar()
	case kind < 4:
		var list []string
		for range w.IntN(4) {
			list = append(list, w.instance(depth-1))
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	var list []string
	for _, name := range []string{"a", "ab", "b", "c", "zz"} {
		if w.IntN(2) == 0 && len(list) <= depth { // few, as they are tried in all orders
			list = append(list, fmt.Sprintf("%q: %s", name, w.instance(depth-1)))
		}
	}
	return "{" + strings.Join(list, ", ") + "}"
}

// schema is a random schema of up to three keywords.
func (w wild) schema(depth int) string {
	if w.IntN(12) == 0 || depth < 0 {
		return w.of("true", "false", "{}", `{"type":"object"}`, `{"type":"integer"}`, `{"type":"string"}`)
	}
	seen := map[string]bool{}
	var list []string
	for range 1 + w.IntN(3) {
		name, text := w.keyword(depth - 1)
		if !seen[name] {
			seen[name] = true
			list = append(list, fmt.Sprintf("%q:%s", name, text))
		}
	}
	return "{" + strings.Join(list, ",") + "}"
}

func (w wild) schemas(depth int) string {
	var list []string
	for range 1 + w.IntN(3) {
		list = append(list, w.schema(depth))
	}
	return "[" + strings.Join(list, ",") + "]"
}

func (w wild) members(depth int, names func() string) string {
	seen := map[string]bool{}
	var list []string
	for range 1 + w.IntN(3) {
		if name := names(); !seen[name] {
			seen[name] = true
			list = append(list, fmt.Sprintf("%q:%s", name, w.schema(depth)))
		}
	}
	return "{" + strings.Join(list, ",") + "}"
}

func (w wild) names() string {
	return w.of(`["a"]`, `["b"]`, `["a","b"]`, `["c"]`, `["ab","a"]`, `[]`)
}

func (w wild) keyword(depth int) (name, text string) {
	small := fmt.Sprint(w.IntN(3))
	switch w.IntN(34) {
	case 0, 1, 2:
		return "type", w.of(`"object"`, `"array"`, `"string"`, `"integer"`, `"number"`, `"null"`, `"boolean"`, `["object","null"]`, `["string","integer"]`, `["array","object"]`)
	case 3, 4, 5, 6:
		return "properties", w.members(depth, w.name)
	case 7, 8:
		return "required", w.names()
	case 9, 10:
		return "additionalProperties", w.schema(depth - 1)
	case 11:
		return "patternProperties", w.members(depth-1, func() string { return w.of("^a", "b$", "^ab?$", "z") })
	case 12:
		return w.of("minProperties", "maxProperties"), small
	case 13:
		return "propertyNames", w.of(`{"maxLength":1}`, `{"pattern":"^a"}`, `{"enum":["a","b"]}`, `{"not":{"const":"a"}}`)
	case 14:
		return "dependentRequired", w.of(`{"a":["b"]}`, `{"b":["a","c"]}`)
	case 15:
		return "dependentSchemas", w.members(depth-1, w.name)
	case 16:
		return "items", w.schema(depth - 1)
	case 17:
		return "prefixItems", w.schemas(depth - 1)
	case 18:
		return w.of("minItems", "maxItems"), small
	case 19:
		return "contains", w.schema(depth - 1)
	case 20:
		return w.of("minContains", "maxContains"), small
	case 21:
		return "enum", "[" + w.instance(1) + "," + w.scalar() + "," + w.instance(1) + "]"
	case 22:
		return "const", w.instance(1)
	case 23:
		return w.of("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), w.of("0", "1", "1.5", "2", "3")
	case 24:
		return "multipleOf", w.of("2", "0.5", "1", "1.5")
	case 25:
		return w.of("minLength", "maxLength"), small
	case 26:
		return "pattern", w.of(`"^a"`, `"b"`, `"a$"`, `"^(a|b)*$"`, `"^.?$"`, `"^(?!ab)"`, `"^(?=.b)"`)
	case 27:
		return "allOf", w.schemas(depth)
	case 28:
		return "anyOf", w.schemas(depth)
	case 29:
		return "oneOf", w.schemas(depth)
	case 30:
		return "not", w.schema(depth - 1)
	case 31:
		return "if", w.schema(depth-1) + `,"then":` + w.schema(depth-1) + `,"else":` + w.schema(depth-1)
	case 32:
		return w.of("unevaluatedProperties", "unevaluatedItems"), w.of("false", "false", w.schema(depth-1))
	}
	return "uniqueItems", "true"
}

// orders returns a value with the members of its objects in every order.
func orders(v *value) []*value {
	switch v.kind {
	case "array":
		lists := [][]*value{nil}
		for _, x := range v.items {
			var longer [][]*value
			for _, list := range lists {
				for _, y := range orders(x) {
					longer = append(longer, append(append([]*value{}, list...), y))
				}
			}
			lists = longer
		}
		var all []*value
		for _, list := range lists {
			all = append(all, &value{kind: "array", items: list})
		}
		return all
	case "object":
		var all []*value
		permute(v.members, nil, func(list []member) {
			objects := [][]member{nil}
			for _, m := range list {
				var longer [][]member
				for _, o := range objects {
					for _, y := range orders(m.value) {
						longer = append(longer, append(append([]member{}, o...), member{m.name, y}))
					}
				}
				objects = longer
			}
			for _, o := range objects {
				all = append(all, &value{kind: "object", members: o})
			}
		})
		return all
	}
	return []*value{v}
}

func permute(rest, done []member, visit func([]member)) {
	if len(rest) == 0 {
		visit(done)
	}
	for i := range rest {
		others := append(append([]member{}, rest[:i]...), rest[i+1:]...)
		permute(others, append(append([]member{}, done...), rest[i]), visit)
	}
}

// written reports whether a grammar writes a value, with its members in some order
// and its numbers in plain decimals.
func written(g *Grammar, text string) bool {
	v, err := parseValue([]byte(text))
	if err != nil {
		panic(err)
	}
	plain(v)
	for _, x := range orders(v) {
		if g.Match(layout{item: ", ", key: ": "}.append(nil, x, 0)) {
			return true
		}
	}
	return false
}

func plain(v *value) {
	if x, ok := v.number(); ok {
		v.text = numberValue(x).text
	}
	for _, x := range v.items {
		plain(x)
	}
	for _, m := range v.members {
		plain(m.value)
	}
}

// differ compares what a schema allows here and by the other validator, for values
// that have nothing to do with it and for answers.
func differ(t *testing.T, w wild, schema string, v *Vocabulary) (refused bool) {
	t.Helper()
	s := oracle(t, schema)
	g, err := Compile([]byte(schema), Options{MaxStates: 20_000})
	if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrTooLarge) {
		return true
	}
	for range 40 {
		text := w.instance(2)
		x, _ := jsonschema.UnmarshalJSON(strings.NewReader(text))
		valid := s.Validate(x) == nil
		if err != nil {
			if valid {
				t.Fatalf("%s\n%v, but %s is valid", schema, err, text)
			}
			continue
		}
		// Names that the schema does not list count once for minProperties: they could
		// be the same.
		twice := strings.Contains(schema, `nProperties":`) || strings.Contains(schema, `xProperties":`)
		if got := written(g, text); got != valid && (got || !twice) {
			t.Fatalf("%s\n%s: written %v, valid %v", schema, text, got, valid)
		}
	}
	if err != nil {
		return false
	}
	anyToken := func(_ *Matcher, allowed []int32) int32 { return allowed[w.IntN(len(allowed))] }
	for _, row := range []struct {
		budget int
		choose func(*Matcher, []int32) int32
	}{{0, anyToken}, {20, anyToken}, {60, anyToken}, {40, worst}} {
		answer := decode(t, g, v, row.budget, row.choose)
		x, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
		if err != nil || !json.Valid(answer) {
			t.Fatalf("%s\n%q is no JSON", schema, answer)
		}
		if err := s.Validate(x); err != nil {
			t.Fatalf("%s\n%s: %v", schema, answer, err)
		}
	}
	return false
}

// TestDifferential compares random schemas with a validator that shares no code
// with this package: no invalid value may be written, and every valid one must be.
func TestDifferential(t *testing.T) {
	n := 300
	if salamandratest.Trials() {
		n = 12_000
	}
	w, v, refused := wild{rand.New(rand.NewPCG(12, 34))}, wordyVocabulary(), 0
	for range n {
		if differ(t, w, w.schema(2), v) {
			refused++
		}
	}
	t.Logf("%d of %d refused", refused, n)
	if refused > n/5 {
		t.Errorf("%d of %d schemas are refused", refused, n)
	}
}

func FuzzDifferential(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	v := wordyVocabulary()
	f.Fuzz(func(t *testing.T, seed uint64) {
		w := wild{rand.New(rand.NewPCG(seed, 5))}
		differ(t, w, w.schema(3), v)
	})
}
