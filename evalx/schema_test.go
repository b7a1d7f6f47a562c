package evalx

import (
	gocmp "cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/impulse-salamandra/finetune/internal/jsonpointer"
)

func mustSchema(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := CompileSchema("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustParse(t testing.TB, text string) Value {
	t.Helper()
	v, err := Parse(text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name, schema, value string
		want                []Violation
		reason              string
	}{
		{"complies", `{"type":"object"}`, `{}`, nil, "nothing to report"},
		{"true", `true`, `1`, nil, "the schema that accepts everything"},
		{"false", `false`, `1`, []Violation{{"", "", "no value is allowed here"}}, "the schema that accepts nothing"},
		{"type", `{"properties":{"a":{"type":["string","null"]}}}`, `{"a":1}`,
			[]Violation{{"/a", "type", "is number, want null or string"}}, "one fault, one violation"},
		{"type alone", `{"type":"string","enum":["a"]}`, `1`,
			[]Violation{{"", "type", "is number, want string"}}, "a value of the wrong type has no further faults"},
		{"integer", `{"items":{"type":"integer"}}`, `[1, 1.0, 1e2, 1.5]`,
			[]Violation{{"/3", "type", "is number, want integer"}}, "1.0 is an integer in JSON Schema"},
		{"enum", `{"enum":["a","b",null,1]}`, `"c"`,
			[]Violation{{"", "enum", `is "c", want one of "a", "b", null, 1`}}, "what is wanted is said"},
		{"enum of object", `{"enum":[{"a":1},[]]}`, `{}`,
			[]Violation{{"", "enum", "is an object, want one of an object, an array"}}, "objects are not written out"},
		{"const", `{"const":"projects"}`, `true`, []Violation{{"", "const", `is true, want "projects"`}}, "what is wanted is said"},
		{"pattern", `{"pattern":"^[0-9]{4}$"}`, `"2023\n"`,
			[]Violation{{"", "pattern", `"2023\n" does not match ^[0-9]{4}$`}}, "the dollar is the end of the text, not of a line"},
		{"required", `{"required":["b","a","c"]}`, `{"c":1}`,
			[]Violation{{"/a", "required", "missing"}, {"/b", "required", "missing"}}, "one violation per key, sorted"},
		{"unknown keys", `{"properties":{"o":{"additionalProperties":false}}}`, `{"o":{"z":1,"a/b~c":2}}`,
			[]Violation{{"/o/a~1b~0c", "additionalProperties", "unknown key"}, {"/o/z", "additionalProperties", "unknown key"}},
			"at the key itself, escaped as a JSON pointer, sorted"},
		{"lengths", `{"items":{"minLength":2,"maxLength":3}}`, `["é","éééé","éé"]`,
			[]Violation{{"/0", "minLength", "has 1 characters, want at least 2"}, {"/1", "maxLength", "has 4 characters, want at most 3"}},
			"code points are counted, not bytes"},
		{"items", `{"minItems":2,"items":{"maxItems":0}}`, `[[1]]`,
			[]Violation{{"", "minItems", "has 1 items, want at least 2"}, {"/0", "maxItems", "has 1 items, want at most 0"}}, "outer and inner"},
		{"properties", `{"minProperties":2}`, `{"a":1}`, []Violation{{"", "minProperties", "has 1 keys, want at least 2"}}, ""},
		{"range", `{"minimum":2000,"exclusiveMaximum":2020}`, `2020`,
			[]Violation{{"", "exclusiveMaximum", "is 2020, want less than 2020"}}, "no separators in years"},
		{"huge", `{"maximum":1}`, `1e9999`, []Violation{{"", "maximum", "is 1e+9999, want at most 1"}}, "numbers are exact and shown short"},
		{"multiple", `{"multipleOf":0.01}`, `0.005`, []Violation{{"", "multipleOf", "is 0.005, want a multiple of 0.01"}}, "decimal, not binary"},
		{"unique", `{"uniqueItems":true}`, `[1,2,1.0]`, []Violation{{"", "uniqueItems", "items at 0 and 2 are equal"}}, "1 and 1.0 are equal"},
		{"order", `{"items":{"type":"null"}}`, `[null,1,null,1,null,null,null,null,null,null,1]`,
			[]Violation{{"/1", "type", "is number, want null"}, {"/3", "type", "is number, want null"}, {"/10", "type", "is number, want null"}},
			"items by index: 10 comes after 3"},
		{"anyOf", `{"anyOf":[{"type":"null"},{"type":"object","required":["a","b"]}]}`, `{}`,
			[]Violation{{"", "anyOf", `fits no alternative: /: type: is object, want null | /a: required: missing; /b: required: missing`}},
			"the reasons of the alternatives are one violation, in the order of the alternatives"},
		{"oneOf twice", `{"oneOf":[{"type":"number"},{"minimum":0}]}`, `1`,
			[]Violation{{"", "oneOf", "fits alternatives 0 and 1, want one only"}}, "one, not two"},
		{"allOf", `{"allOf":[{"minLength":3},{"pattern":"b"}]}`, `"a"`,
			[]Violation{{"", "minLength", "has 1 characters, want at least 3"}, {"", "pattern", `"a" does not match b`}}, "each fault of its own"},
		{"same fault twice", `{"allOf":[{"minLength":3},{"minLength":3}]}`, `"a"`,
			[]Violation{{"", "minLength", "has 1 characters, want at least 3"}}, "said once"},
		{"not", `{"not":{"type":"string"}}`, `"a"`, []Violation{{"", "not", "fits what is forbidden"}}, ""},
		{"if", `{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"a":1}`, []Violation{{"/b", "required", "missing"}}, ""},
		{"unevaluated", `{"properties":{"a":true},"unevaluatedProperties":false}`, `{"a":1,"c":1,"b":1}`,
			[]Violation{{"/b", "", "no value is allowed here"}, {"/c", "", "no value is allowed here"}}, "sorted"},
		{"ref", `{"$defs":{"s":{"type":"string"}},"items":{"$ref":"#/$defs/s"}}`, `[1,"a"]`, []Violation{{"/0", "type", "is number, want string"}}, "references are followed"},
		{"recursion", `{"properties":{"a":{"$ref":"#"}},"required":["b"]}`, `{"b":1,"a":{"b":1,"a":{}}}`,
			[]Violation{{"/a/a/b", "required", "missing"}}, "a schema can contain itself"},
		{"property names", `{"properties":{"a":{"propertyNames":{"maxLength":1}},"b":{"type":"null"},"c":{"type":"null"}}}`, `{"a":{"x":1,"xx":1,"xy":1},"b":1,"c":1}`,
			[]Violation{
				{"/a/xx", "propertyNames", "forbidden key: /: maxLength: has 2 characters, want at most 1"},
				{"/a/xy", "propertyNames", "forbidden key: /: maxLength: has 2 characters, want at most 1"},
				{"/b", "type", "is number, want null"}, {"/c", "type", "is number, want null"}},
			"the place is that of the key, whatever is beside it"},
		{"property names everywhere", `{
			"patternProperties":{"^p":{"$ref":"#/$defs/short"}},
			"dependentSchemas":{"d":{"properties":{"d":{"anyOf":[{"$ref":"#/$defs/short"}]}}}},
			"additionalProperties":{"items":{"$ref":"#/$defs/short"}},
			"$defs":{"short":{"propertyNames":{"maxLength":1}}}}`, `{"p1":{"xx":1},"d":[{"yy":1}],"z":[{"a":1},{"zz":1}]}`,
			[]Violation{
				{"/d/0/yy", "propertyNames", "forbidden key: /: maxLength: has 2 characters, want at most 1"},
				{"/p1/xx", "propertyNames", "forbidden key: /: maxLength: has 2 characters, want at most 1"},
				{"/z/1/zz", "propertyNames", "forbidden key: /: maxLength: has 2 characters, want at most 1"}},
			"the repair reaches every kind of subschema"},
		{"contains", `{"contains":{"type":"string"}}`, `[1]`, []Violation{{"", "contains", "no items match contains schema"}}, ""},
		{"dependent", `{"dependentRequired":{"k":["field"]}}`, `{"k":1}`, []Violation{{"", "dependentRequired", "properties 'field' required, if 'k' exists"}}, ""},
		{"format", `{"format":"date"}`, `"yesterday"`, nil, "a note in draft 2020-12"},
		{"draft-07", `{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}],"additionalItems":{"$ref":"#/definitions/n"},"definitions":{"n":{"type":"number"}}}`, `[1,"a"]`,
			[]Violation{{"/0", "type", "is number, want string"}, {"/1", "type", "is string, want number"}}, "items as that draft has them"},
		{"quoted value", `{"pattern":"^a"}`, "\"\\u001b[2J" + strings.Repeat("b", 100) + `"`,
			[]Violation{{"", "pattern", `"\x1b[2J` + strings.Repeat("b", 20) + `"... does not match ^a`}}, "escaped and cut"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			schema, value := mustSchema(t, tt.schema), mustParse(t, tt.value)
			for range 10 { // Go's maps have another order each time
				if diff := cmp.Diff(tt.want, schema.Validate(value)); diff != "" {
					t.Fatalf("(-want +got)\n%s%s", diff, tt.reason)
				}
			}
		})
	}
}

// Every kind of fault at once, in places next to each other.
func TestValidateEveryFault(t *testing.T) {
	schema, err := CompileSchema("answer_schema.json", readFile(t, "answer_schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	value := mustParse(t, `{
		"doc_type": "papers",
		"filters": {"programme": "", "funding_level": "local", "year": 2023, "location": null, "extra": 1},
		"organisations": [{"type": "bank", "name": null, "location": null, "location_level": null}, null],
		"query_rewrite": "x",
		"meta": {"lang": "ca", "original_query": "x", "notes": null}
	}`)
	var got []string
	for _, v := range schema.Validate(value) {
		got = append(got, v.String())
	}
	want := []string{
		`/doc_type: enum: is "papers", want "projects"`,
		`/filters/extra: additionalProperties: unknown key`,
		`/filters/funding_level: enum: is "local", want one of "european", "national", "regional", null`,
		`/filters/location_level: required: missing`,
		`/filters/programme: minLength: has 0 characters, want at least 1`,
		`/filters/year: type: is number, want null or string`,
		`/meta/lang: enum: is "ca", want one of "CA", "ES", "EN"`,
		`/organisations/0/type: enum: is "bank", want one of "university", "company", "research_center", "hospital", "ngo", "public_entity", null`,
		`/organisations/1: type: is null, want object`,
		`/semantic_query: required: missing`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestValidateForeignValues(t *testing.T) {
	schema := mustSchema(t, `{"items":{"maximum":10},"additionalProperties":{"minimum":1}}`)
	tests := []struct {
		name   string
		value  Value
		want   []Violation
		reason string
	}{
		{"Go numbers", []any{1, 2.5, int64(3)}, nil, "numbers that were not parsed are numbers"},
		{"huge exponent", []any{json.Number("1"), json.Number("1e999999999")},
			[]Violation{{"/1", "", `number "1e999999999" is out of range`}}, "a lenient reader may let it through"},
		{"no number", map[string]any{"a": json.Number("NaN"), "b": json.Number("")},
			[]Violation{{"/a", "", `number "NaN" is out of range`}, {"/b", "", `number "" is out of range`}}, "json.Number can hold any text"},
		{"NaN", []any{math.NaN()}, []Violation{{"/0", "", "invalid jsonType float64"}}, "not in JSON"},
		{"struct", []any{struct{}{}}, []Violation{{"/0", "", "invalid jsonType struct {}"}}, "not in JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, schema.Validate(tt.value)); diff != "" {
				t.Errorf("(-want +got)\n%s%s", diff, tt.reason)
			}
		})
	}
	var none *Schema
	if got := none.Validate(struct{}{}); got != nil {
		t.Errorf("a nil schema found %v", got)
	}
}

func TestCompileSchemaErrors(t *testing.T) {
	tests := []struct {
		name, schema string
		says         string
		reason       string
	}{
		{"empty", ``, emptyAnswer, "not JSON"},
		{"key twice", `{"type":"string","type":"null"}`, `line 1, column 18: duplicate key "type"`, "which one counts is open"},
		{"no schema", `1`, "want boolean or object", "neither object nor boolean"},
		{"all faults", `{"type":"text","required":["a","a"],"minLength":-1}`, "/minLength: minimum: is -1, want at least 0; /required: uniqueItems: items at 0 and 1 are equal; /type: anyOf", "all are said at once"},
		{"pattern", `{"pattern":"a(b"}`, "missing closing", "no language has it"},
		{"no such definition", `{"$ref":"#/$defs/a"}`, "$defs/a", "a reference to nothing"},
		{"web", `{"items":{"$ref":"https://example.com/other.json"}}`, "another document, https://example.com/other.json", "no network"},
		{"file", `{"$ref":"file:///etc/passwd"}`, "another document, file:///etc/passwd", "no files"},
		{"relative file", `{"$ref":"../other.json#/$defs/a"}`, "another document, other.json", "no files"},
		{"relative to an id", `{"$id":"https://example.com/a/b.json","$ref":"c.json"}`, "another document, https://example.com/a/c.json", "no network"},
		{"own meta-schema", `{"$schema":"https://example.com/meta.json"}`, "another document, https://example.com/meta.json", "no network"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := CompileSchema("data/x.json", []byte(tt.schema))
			if s != nil || err == nil {
				t.Fatalf("%v, error %v; want an error: %s", s, err, tt.reason)
			}
			if !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), "schema data/x.json: ") {
				t.Errorf("error %q, want one of data/x.json with %q: %s", err, tt.says, tt.reason)
			}
			if strings.Contains(err.Error(), "another document") && strings.Contains(err.Error(), "schema:///") {
				t.Errorf("the inner address shows: %v", err)
			}
		})
	}
}

// References that stay inside the schema work, by pointer, anchor and id.
func TestCompileSchemaInnerReferences(t *testing.T) {
	schema := mustSchema(t, `{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id": "impulse-output",
		"prefixItems": [{"$ref": "#/$defs/a"}, {"$ref": "#b"}, {"$ref": "impulse-output#/$defs/a"}, {"$ref": "inner"}],
		"$defs": {"a": {"type": "string"}, "b": {"$anchor": "b", "type": "string"}, "c": {"$id": "inner", "type": "string"}}
	}`)
	got := schema.Validate(mustParse(t, `[1,2,3,4]`))
	if len(got) != 4 {
		t.Errorf("%d violations, want one for each reference: %v", len(got), got)
	}
}

// Deep values against a schema that contains itself.
func TestValidateDeep(t *testing.T) {
	schema := mustSchema(t, `{"type":"array","items":{"$ref":"#"}}`)
	deep := strings.Repeat("[", maxDepth-1) + "0" + strings.Repeat("]", maxDepth-1)
	got := schema.Validate(mustParse(t, deep))
	want := []Violation{{strings.Repeat("/0", maxDepth-1), "type", "is number, want array"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Many faults, and alternatives nested as deep as values go, cost linear time
// and give messages of bounded length.
func TestValidateHostile(t *testing.T) {
	start := time.Now()
	short := mustSchema(t, `{"items":{"type":"string","minLength":3}}`)
	if got := short.Validate(mustParse(t, "["+strings.Repeat(`1,"a",`, 50_000)+"1]")); len(got) != 100_001 {
		t.Errorf("%d violations, want one for each item", len(got))
	}
	nested := mustSchema(t, `{"anyOf":[{"type":"array","items":{"$ref":"#"}},{"type":"string"}]}`)
	got := nested.Validate(mustParse(t, strings.Repeat("[", maxDepth-1)+"1"+strings.Repeat("]", maxDepth-1)))
	if len(got) != 1 || len(got[0].Message) > 1100 {
		t.Errorf("%d violations, the first of %d bytes, want one short one", len(got), len(got[0].Message))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestComparePointers(t *testing.T) {
	sorted := []string{"", "/0", "/2", "/2/a", "/2/b", "/10", "/10/0", "/a", "/a/1", "/a/1b", "/a/b", "/aa"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := jsonpointer.Compare(a, b); got != gocmp.Compare(i, j) {
				t.Errorf("%q and %q: %d, want %d", a, b, got, gocmp.Compare(i, j))
			}
		}
	}
}

func FuzzSchema(f *testing.F) {
	for i, schema := range []string{
		string(readFile(f, "answer_schema.json")),
		`{"anyOf":[{"$ref":"#"},{"not":true}],"oneOf":[{},{"type":"null"}]}`,
		`{"propertyNames":{"pattern":"^a"},"dependentRequired":{"a":["b"]},"unevaluatedProperties":false}`,
		`{"$id":"a","$defs":{"b":{"$id":"a"}},"$dynamicRef":"#x","minimum":1e9999,"contains":{"multipleOf":0.3}}`,
		`{"maxLength":1e30,"uniqueItems":true,"prefixItems":[false],"items":{"const":{"a":[1]}}}`,
	} {
		f.Add(schema, fmt.Sprintf(`{"a":[%d,"x",null,{}],"b":{"bc":1e9999}}`, i))
	}
	f.Fuzz(func(t *testing.T, schema, value string) {
		v, err := Parse(value)
		if err != nil {
			return
		}
		s, err := CompileSchema("fuzz", []byte(schema))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "schema fuzz: ") {
				t.Fatalf("%v does not name the schema", err)
			}
			return
		}
		if diff := cmp.Diff(s.Validate(v), s.Validate(v)); diff != "" {
			t.Fatalf("two runs differ: %s", diff)
		}
	})
}
