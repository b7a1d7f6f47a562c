package evalx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// schemaCase is a schema with values that comply.
type schemaCase struct {
	Name   string            `json:"name"`
	Schema json.RawMessage   `json:"schema"`
	Valid  []json.RawMessage `json:"valid"`
}

// schemaCases reads the schemas that Pydantic and zod made.
func schemaCases(t testing.TB) []schemaCase {
	t.Helper()
	var cases []schemaCase
	for _, file := range []string{"schemas_pydantic.jsonl", "schemas_zod.jsonl"} {
		for line := range bytes.Lines(readFile(t, file)) {
			var c schemaCase
			if err := json.Unmarshal(line, &c); err != nil {
				t.Fatal(err)
			}
			c.Name = file + " " + c.Name
			cases = append(cases, c)
		}
	}
	return cases
}

func mustTask(t testing.TB, opts TaskOptions) Task {
	t.Helper()
	task, err := NewTask(opts)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// mutations returns values that differ from v in one place: a leaf is another
// one, or an object has a key more.
func mutations(v Value) []Value {
	switch v := v.(type) {
	case map[string]any:
		more := maps.Clone(v)
		more["a key too many"] = "x"
		list := []Value{more}
		for key, member := range v {
			for _, m := range mutations(member) {
				other := maps.Clone(v)
				other[key] = m
				list = append(list, other)
			}
		}
		return list
	case []any:
		var list []Value
		for i, item := range v {
			for _, m := range mutations(item) {
				other := slices.Clone(v)
				other[i] = m
				list = append(list, other)
			}
		}
		return append(list, append(slices.Clone(v), "an item too many"))
	case string:
		return []Value{v + " and more", nil, []any{v}}
	case bool:
		return []Value{!v, nil}
	case nil:
		return []Value{"x", json.Number("0"), map[string]any{}}
	}
	n := v.(json.Number)
	return []Value{json.Number("1" + strings.TrimPrefix(string(n), "-")), string(n), nil}
}

// Whatever the schema is, with or without it: a value passes against itself, and
// one that differs in one place does not.
func TestTasksOfSchemas(t *testing.T) {
	for _, c := range schemaCases(t) {
		schema := mustSchema(t, string(c.Schema))
		var values []Value
		for _, text := range c.Valid {
			values = append(values, mustParse(t, string(text)))
		}
		for name, task := range map[string]Task{
			"by schema":             mustTask(t, TaskOptions{Schema: schema}),
			"by answers":            mustTask(t, TaskOptions{Answers: values}),
			"by schema and answers": mustTask(t, TaskOptions{Schema: schema, Answers: values}),
		} {
			for _, v := range values {
				text := marshal(t, v)
				if r := task.Score(v, text); !r.Passed || len(r.Errors) != 0 {
					t.Errorf("%s, %s: %s does not pass against itself: %v %v", c.Name, name, text, r.Violations, r.Errors)
				}
				for _, other := range mutations(v) {
					if text := marshal(t, other); task.Score(v, text).Passed {
						t.Errorf("%s, %s: %s passes for %s", c.Name, name, text, marshal(t, v))
					}
				}
			}
		}
	}
}

const ticketSchema = `{
	"type": "object",
	"required": ["title", "priority", "amount", "due", "tags", "lines", "steps", "customer", "urgent"],
	"additionalProperties": false,
	"properties": {
		"title": {"type": "string"},
		"priority": {"enum": ["low", "high"]},
		"amount": {"type": ["number", "null"]},
		"due": {"type": "string", "format": "date"},
		"tags": {"type": "array", "items": {"type": "string"}},
		"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
		"steps": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
		"customer": {"anyOf": [{"$ref": "#/$defs/person"}, {"type": "null"}]},
		"scores": {"type": "object", "additionalProperties": {"type": "number"}},
		"parent": {"$ref": "#"},
		"a.b": {"type": "string"},
		"place": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
		"days": {"type": "array", "items": {"type": "boolean"}},
		"urgent": {"type": "boolean"}
	},
	"$defs": {
		"line": {"type": "object", "required": ["text", "price"], "properties": {"text": {"type": "string"}, "price": {"type": "number"}}},
		"person": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "id": {"type": "string", "pattern": "^[A-Z]+$"}}}
	}
}`

const ticket = `{"title": "Printer on fire", "priority": "high", "amount": 12.5, "due": "2026-01-31", "tags": ["printer", "fire"],
	"lines": [{"text": "Ink", "price": 1}, {"text": "Ink", "price": 2}], "steps": ["call", 2], "customer": {"name": "Núria Puig", "id": "NP"},
	"scores": {"a": 1, "b": 2}, "a.b": "x", "place": [1, 2], "days": [true, false], "urgent": true}`

func TestTaskFields(t *testing.T) {
	task := mustTask(t, TaskOptions{Name: "tickets", Schema: mustSchema(t, ticketSchema)})
	var got []string
	for _, f := range task.Fields {
		got = append(got, f.Path+": "+task.Comparators[f.Path])
	}
	want := []string{
		"title: folded", "priority: exact", "amount: numeric", "due: exact", "tags: set of folded", "lines: unordered of members", "steps: ordered",
		"customer: presence", "customer.name: folded", "customer.id: exact", "scores: members", "parent: exact", `["a.b"]: folded`, "place: ordered of numeric",
		"days: ordered of exact", "urgent: exact",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTaskComparators(t *testing.T) {
	schema := mustSchema(t, ticketSchema)
	tests := []struct {
		name, old, new string
		comparators    string
		wrong          []string // classes with details
		reason         string
	}{
		{"case of text", `"Printer on fire"`, `"printer  ON fire"`, ``, nil, "free text is folded"},
		{"case of a list", `"high"`, `"HIGH"`, ``, []string{"wrong_value:priority"}, "letters count in a list"},
		{"case of a pattern", `"NP"`, `"Np"`, ``, []string{"wrong_value:customer.id"}, "letters count in an id"},
		{"number as written", `12.5`, `1.25e1`, ``, nil, "numbers by value"},
		{"number nearby", `12.5`, `12.501`, ``, []string{"wrong_value:amount"}, "no tolerance unless asked for"},
		{"tolerance", `12.5`, `12.501`, `{"amount": {"numeric": 0.01}}`, nil, "asked for"},
		{"number as text", `12.5`, `"12.5"`, `{"amount": {"numeric": 0.01}}`, []string{"wrong_value:amount"}, "text is no number"},
		{"null for a number", `12.5`, `null`, ``, []string{"missing_value:amount"}, ""},
		{"tags in another order", `["printer", "fire"]`, `["FIRE", "printer", "fire"]`, ``, nil, "a set"},
		{"tags in order", `["printer", "fire"]`, `["fire", "printer"]`, `{"tags": "ordered"}`, []string{"wrong_value:tags"}, "asked for"},
		{"tags twice", `["printer", "fire"]`, `["printer", "fire", "fire"]`, `{"tags": "unordered"}`, []string{"wrong_value:tags"}, "asked for"},
		{"items exactly", `["printer", "fire"]`, `["Printer", "fire"]`, `{"tags[]": "exact"}`, []string{"wrong_value:tags"}, "of items"},
		{"lines in another order", `{"text": "Ink", "price": 1}, {"text": "Ink", "price": 2}`, `{"text": "ink", "price": 2.0}, {"price": 1, "text": "INK"}`, ``, nil, "one to one"},
		{"one line twice", `{"text": "Ink", "price": 2}`, `{"text": "Ink", "price": 1}`, ``, []string{"wrong_value:lines"}, "one to one"},
		{"member of a line", `"price": 2}`, `"price": 2.4}`, `{"lines[].price": {"numeric": 0.5}}`, nil, "by the path of items"},
		{"member ignored", `"price": 2}`, `"price": 77}`, `{"lines[].price": "ignore"}`, nil, "by the path of items"},
		{"tuple", `["call", 2]`, `[2, "call"]`, ``, []string{"wrong_value:steps"}, "places have a meaning"},
		{"tuple folded", `["call", 2]`, `["CALL", 2.0]`, ``, nil, "each place by its own kind"},
		{"place", `[1, 2]`, `[2, 1]`, ``, []string{"wrong_value:place"}, "of one length: places have a meaning"},
		{"days", `[true, false]`, `[false, true]`, ``, []string{"wrong_value:days"}, "of two values: places have a meaning"},
		{"accents", `Núria`, `Nuria`, ``, []string{"wrong_value:customer.name"}, ""},
		{"accents allowed", `Núria`, `Nuria`, `{"customer.name": "unaccented"}`, nil, "asked for"},
		{"words", `"Printer on fire"`, `"On fire: printer!"`, `{"title": "words"}`, nil, "all words"},
		{"some words", `"Printer on fire"`, `"Printer burns fire"`, `{"title": {"words": 0.6}}`, nil, "two of three"},
		{"no customer", `{"name": "Núria Puig", "id": "NP"}`, `null`, ``, []string{"missing_value:customer", "missing_value:customer.id", "missing_value:customer.name"}, "the object and what is in it"},
		{"empty customer", `{"name": "Núria Puig", "id": "NP"}`, `{"name": "Núria Puig"}`, ``, []string{"missing_value:customer.id"}, "the object is there"},
		{"other keys", `{"a": 1, "b": 2}`, `{"b": 2.0, "a": 1}`, ``, nil, "in any order"},
		{"other key missing", `{"a": 1, "b": 2}`, `{"a": 1}`, ``, []string{"wrong_value:scores"}, "each key counts"},
		{"other keys nearby", `{"a": 1, "b": 2}`, `{"a": 1.1, "b": 2}`, `{"scores.*": {"numeric": 0.2}}`, nil, "by the path of other keys"},
		{"key with a dot", `"a.b": "x"`, `"a.b": "y"`, ``, []string{`wrong_value:["a.b"]`}, "a path can name it"},
		{"ignored with a dot", `"a.b": "x"`, `"a.b": "y"`, `{"[\"a.b\"]": "ignore"}`, nil, "a path can name it"},
		{"invented", `"urgent": true`, `"urgent": true, "parent": null`, ``, []string{"wrong_value:parent"}, "null is not nothing"},
		{"unexpected", `"urgent": true`, `"urgent": true, "notes": "x"`, ``, []string{"unexpected_key:notes"}, "no field looks at it"},
		{"whole answer", `"high"`, `"low"`, `{"": "exact"}`, []string{"wrong_value:(whole answer)"}, "one field"},
		{"unreadable", `"high"`, `high`, ``, []string{"invalid_json"}, "the rest follows from it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := TaskOptions{Schema: schema}
			if tt.comparators != "" {
				opts.Comparators = []byte(tt.comparators)
			}
			answer := strings.Replace(ticket, tt.old, tt.new, 1)
			if answer == ticket {
				t.Fatal("nothing replaced")
			}
			r := mustTask(t, opts).Score(mustParse(t, ticket), answer)
			var got []string
			for _, f := range r.Errors {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(tt.wrong, got); diff != "" {
				t.Errorf("(-want +got)\n%s%s", diff, tt.reason)
			}
			if valid := len(r.Violations) == 0; r.Passed != (tt.wrong == nil && valid) {
				t.Errorf("passed %v with %v and %v", r.Passed, got, r.Violations)
			}
		})
	}
}

// All faults of a comparators file are said at once.
func TestTaskFaults(t *testing.T) {
	_, err := NewTask(TaskOptions{Schema: mustSchema(t, ticketSchema), Comparators: []byte(`{
		"amuont": "exact", "amount": "folded", "title": "fuzzy", "due": {"words": 2}, "tags": {"set": 1}, "priority": 7,
		"lines": "exact", "lines[].price": {"numeric": -1}, "lines[].text": "exact", "urgent": {"numeric": 1, "words": 1}
	}`)})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"amuont: no answer has this path; there are ", "amount: folded is for text, which no answer has there",
		`title: "fuzzy" is no comparator, want one of exact, folded, ignore, numeric, ordered, set, unaccented, unordered, words`,
		"due: words 2, want a share above 0, up to 1", `tags: want a name, {"numeric": TOLERANCE} or {"words": SHARE}`, "priority: 7 is no comparator",
		"lines[].price: tolerance -1, want 0 or more", "lines[].text: is inside lines, which is compared as a whole (exact)", "urgent: want a name",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != 9 {
		t.Errorf("%d lines, want one for each of 9 faults:\n%v", lines, err)
	}
	for data, want := range map[string]string{`[]`: "want an object", `{"a": 1, "a": 2}`: `duplicate key "a"`, `{`: "line 1, column 2"} {
		if _, err := NewTask(TaskOptions{Comparators: []byte(data)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
	}
}

// Without a schema the wanted answers say which fields there are.
func TestTaskOfAnswers(t *testing.T) {
	answers := []Value{mustParse(t, `{"a": "x", "b": {"c": 1}, "d": ["x"], "e": [{"f": 1}]}`), mustParse(t, `{"a": null, "b": {"c": 2, "g": true}, "d": [], "e": []}`)}
	task := mustTask(t, TaskOptions{Answers: answers, Ignore: []string{"a", "not there"}})
	var got []string
	for _, f := range task.Fields {
		got = append(got, f.Path+": "+task.Comparators[f.Path])
	}
	if diff := cmp.Diff([]string{"b.c: numeric", "b.g: exact", "d: set of folded", "e: unordered of members"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for answer, passed := range map[string]bool{
		`{"a": "anything", "b": {"c": 1}, "d": ["X"], "e": [{"f": 1.0}]}`: true,
		`{"b": {"c": 1}, "d": ["x"], "e": [{"f": 1}]}`:                    true,
		`{"b": {"c": 1, "h": 1}, "d": ["x"], "e": [{"f": 1}]}`:            false,
		`{"b": {"c": 1}, "d": ["x"], "e": [{"f": 1, "h": null}]}`:         false,
		`[]`: false,
	} {
		if task.Score(answers[0], answer).Passed != passed {
			t.Errorf("%s: passed %v", answer, !passed)
		}
	}
	empty := mustTask(t, TaskOptions{})
	if r := empty.Score(mustParse(t, `{"a": 1}`), `{"a": 1.0}`); !r.Passed || len(r.Fields) != 1 {
		t.Errorf("%+v", r)
	}
	if empty.Score(mustParse(t, `{}`), `[]`).Passed {
		t.Error("with nothing known whole answers are compared")
	}
}

// A schema that grows without end is derived in no time, with fewer fields.
func TestTaskOfHostileSchemas(t *testing.T) {
	doubling := `{"$ref": "#/$defs/d0", "$defs": {"d40": {"type": "string"}`
	for i := range 40 {
		doubling += fmt.Sprintf(`, "d%d": {"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#/$defs/d%d"}, "b": {"$ref": "#/$defs/d%d"}}}`, i, i+1, i+1)
	}
	items := strings.ReplaceAll(doubling, `"$ref": "#/$defs/d0"`, `"items": {"$ref": "#/$defs/d0"}`)
	var wide strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&wide, `%q: {"type": "object", "properties": {"x": {"type": "string"}}},`, fmt.Sprint("k", i))
	}
	for _, schema := range []string{doubling + "}}", items + "}}", `{"type": "object", "properties": {` + strings.TrimSuffix(wide.String(), ",") + `}}`, `{"allOf": [{"$ref": "#"}]}`} {
		task := mustTask(t, TaskOptions{Schema: mustSchema(t, schema)})
		if len(task.Fields) > 3000 {
			t.Errorf("%d fields", len(task.Fields))
		}
	}
}

func TestPaths(t *testing.T) {
	for _, keys := range [][]string{{"a"}, {"a", "b"}, {""}, {"", ""}, {"a.b", "c"}, {"a", "[]"}, {`"`, "*"}, {"ñ", "\n.", "\x00"}} {
		path, v := "", Value("found")
		for _, key := range keys {
			path = joinPath(path, key)
		}
		for _, key := range slices.Backward(keys) {
			v = map[string]any{key: v, key + "x": 1}
		}
		if got := Lookup(v, path); got != "found" {
			t.Errorf("%q: %q gives %v", keys, path, got)
		}
	}
	for _, path := range []string{`a["b"`, `a[b]`, `["a"]b`, `[`, `a['b']`} {
		if keys, ok := splitPath(path); ok {
			t.Errorf("%q has the keys %q", path, keys)
		}
	}
}

func FuzzNewTask(f *testing.F) {
	for _, c := range schemaCases(f) {
		f.Add(string(c.Schema), string(c.Valid[0]), `{"a": "exact", "b[].c": {"numeric": 1}}`)
	}
	f.Add(ticketSchema, ticket, `{"lines[].price": {"words": 1}}`)
	f.Fuzz(func(t *testing.T, schema, answer, comparators string) {
		s, err := CompileSchema("fuzz", []byte(schema))
		v, err2 := Parse(answer)
		if err != nil || err2 != nil {
			return
		}
		_, _ = NewTask(TaskOptions{Schema: s, Answers: []Value{v}, Comparators: []byte(comparators)})
		task, err := NewTask(TaskOptions{Schema: s, Answers: []Value{v}})
		if err != nil {
			t.Fatal(err)
		}
		r := task.Score(v, answer)
		if !r.AllCorrect || r.Passed != r.Compliant() {
			t.Fatalf("%s, %s: an answer is wrong against itself: %+v", schema, answer, r)
		}
	})
}
