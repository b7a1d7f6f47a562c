package answers

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
)

// records have one answer each.
func records(answers ...string) []dataset.Record {
	var list []dataset.Record
	for i, a := range answers {
		list = append(list, dataset.Record{ID: fmt.Sprint("r", i), Messages: []chatml.Message{{Role: chatml.User, Content: "q"}, {Role: chatml.Assistant, Content: a}}})
	}
	return list
}

func layout(indent int, item, key string) chatml.Layout {
	return chatml.Layout{Indent: indent, ItemSeparator: item, KeySeparator: key}
}

func TestRead(t *testing.T) {
	indented := "{\n   \"a\": [\n      1,\n      2\n   ],\n   \"b\": {}\n}"
	for _, row := range []struct {
		name    string
		answers []string
		want    chatml.Layout
		others  []string // how they differ
		json    int
	}{
		{"compact", []string{`{"a":1,"b":[1,2]}`, `{"a":2,"b":[]}`}, layout(0, ",", ":"), nil, 2},
		{"one line", []string{`{"a": 1, "b": [1, 2]}`}, layout(0, ", ", ": "), nil, 1},
		{"odd blanks", []string{`{"a" :1 , "b" :2}`, `{"a" :1}`}, layout(0, " , ", " :"), nil, 2},
		{"indent 3", []string{indented, "{}"}, layout(3, ", ", ": "), nil, 2},
		{"indented compact", []string{"{\n \"a\":1\n}"}, layout(1, ", ", ":"), nil, 1},
		{"single members", []string{`{"a": 1}`, `{"b": 2}`}, layout(0, ", ", ": "), nil, 2},
		{"list", []string{`[1,2]`}, layout(0, ",", ": "), nil, 1},
		{"the list shows what the members do not", []string{`{"a": [1,2]}`}, layout(0, ",", ": "), nil, 1},
		{"no JSON", []string{"yes", "", "```json\n{}\n```", "7"}, layout(2, ", ", ": "), nil, 0},
		{"mixed", []string{`{"a":1}`, `{"a":2}`, `{"a": 3}`, "no", `{"a":4} `, `{"a":"\u00e8"}`, `{"a":"\/"}`}, layout(0, ", ", ":"), []string{
			`record "r2": answer: it is laid out with indent 0, separators ", " and ": ", not with indent 0, separators ", " and ":"`,
			`record "r4": answer: at byte 8 it has " ", where its end is expected`,
			`record "r5": answer: at byte 7 it has "\\u00e8\"}", where "è\"}" is`,
			`record "r6": answer: at byte 7 it has "\\/\"}", where "/\"}" is`,
		}, 6},
		{"json.dumps", []string{`{"a": "caf\u00e9 \ud83c\udf89 \"\\"}`, `{"a": "ni\u00f1o"}`, `{"a": "b"}`}, layout(0, ", ", ": "), []string{
			`record "r0": answer: at byte 11 it has "\\u00e9 \\ud83", where "é `,
			`record "r1": answer: at byte 10 it has "\\u00f1o\"}", where "ño\"}" is`,
		}, 3},
		{"a tab", []string{"{\n\t\"a\": 1\n}", `{"a":1}`}, layout(0, ", ", ":"), []string{`record "r0": answer: at byte 2`}, 2},
		{"nothing", nil, layout(2, ", ", ": "), nil, 0},
	} {
		s := Read(records(row.answers...))
		if s.Layout != row.want || s.JSON != row.json || s.Answers != len(row.answers) || len(s.Others) != len(row.others) {
			t.Errorf("%s: %+v, want %v", row.name, s, row.want)
			continue
		}
		for i, want := range row.others {
			if !strings.HasPrefix(s.Others[i].Error(), want) {
				t.Errorf("%s:\n got %v\nwant %s", row.name, s.Others[i], want)
			}
		}
	}
	context := records(`{"a":1}`, `{"a": 2}`)
	context[1].Messages[1].Untrained = true
	if s := Read(context); s.Answers != 1 || s.String() != `1 of 1 answers are JSON, 1 of them with indent 0, separators ", " and ":"` {
		t.Error(s)
	}
}

// TestLayoutLaw: whatever layout records are written in is found, and then nothing
// is to be normalised.
func TestLayoutLaw(t *testing.T) {
	values := []string{`{"a":{"b":[],"c":[1.50,{"d":null}]},"e":"x, y: z"}`, `{"a":{},"e":""}`}
	for _, indent := range []int{0, 1, 2, 4, 8} {
		for _, item := range []string{",", ", ", " ,", " , "} {
			for _, key := range []string{":", ": ", " : ", " :"} {
				want := layout(indent, item, key)
				written, _, err := Normalise(records(values...), nil, want)
				if err != nil {
					t.Fatal(err)
				}
				got := Read(written)
				if len(got.Others) > 0 || got.Layout.Indent != indent || got.Layout.KeySeparator != key {
					t.Errorf("%v read as %v, others %v", want, got.Layout, got.Others)
				}
				again, changed, err := Normalise(written, nil, got.Layout)
				if err != nil || changed > 0 || again[0].Answer() != written[0].Answer() {
					t.Errorf("%v: %d answers changed, %v", want, changed, err)
				}
			}
		}
	}
}

const ticket = `{"type": "object", "properties": {"urgent": {"type": "boolean"}, "who": {"$ref": "#/$defs/who"}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}}},
	"required": ["urgent", "who", "tags"], "additionalProperties": false,
	"$defs": {"who": {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"], "additionalProperties": false}}}`

func TestOrderKeys(t *testing.T) {
	got, err := OrderKeys(json.RawMessage(ticket), records(
		`{"who":{"age":1,"name":"x"},"urgent":true,"tags":[]}`, `{"who":{"age":1,"name":"x"},"urgent":true,"tags":[]}`, `{"urgent":true,"who":{"age":1,"name":"x"}}`, "no JSON"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `"properties":{"who":{"$ref":"#/$defs/who"},"urgent":{"type":"boolean"},"tags":`; !strings.Contains(string(got), want) {
		t.Errorf("%s has no %s", got, want)
	}
	if want := `"properties":{"age":{"type":"integer"},"name":`; !strings.Contains(string(got), want) {
		t.Errorf("%s has no %s", got, want)
	}
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(ticket), &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("the schema says something else")
	}
	for _, row := range []struct{ schema, answer, want string }{
		{`{"properties":{"a":{"properties":{"x":{},"y":{}}},"b":{}}}`, `{"b":1,"a":{"y":1,"x":2}}`, `{"properties":{"b":{},"a":{"properties":{"y":{},"x":{}}}}}`},
		{`{"anyOf":[{"properties":{"a":{},"b":{}}},{"type":"null"}]}`, `{"b":1,"c":2,"a":3}`, `{"anyOf":[{"properties":{"b":{},"a":{}}},{"type":"null"}]}`},
		{`{"items":{"properties":{"a":{},"b":{}}}}`, `[{"b":1,"a":3}]`, `{"items":{"properties":{"b":{},"a":{}}}}`},
		{`{"$ref":"#"}`, `{}`, `{"$ref":"#"}`},
		{`{"$ref":"other.json"}`, `{}`, `{"$ref":"other.json"}`},
		{`true`, `{}`, `true`},
	} {
		if got, err := OrderKeys(json.RawMessage(row.schema), records(row.answer)); err != nil || string(got) != row.want {
			t.Errorf("%s by %s: %s, %v, want %s", row.schema, row.answer, got, err, row.want)
		}
	}
	if _, err := OrderKeys(json.RawMessage(`{"a" 1}`), nil); err == nil || err.Error() != "schema, line 1, byte 6: unexpected '1', want ':'" {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	compact := layout(0, ",", ":")
	for answer, want := range map[string]string{
		`{"urgent":true,"who":{"name":"x","age":1},"tags":["a"]}`:        "",
		`{"urgent":true,"who":{"name":"x","age":1},"tags":["a"]}` + "\n": `answer: at byte 56 it has "\n", where its end is expected`,
		`{"urgent": true,"who":{"name":"x","age":1},"tags":["a"]}`:       `answer: at byte 11 it has " true,\"who\":", where "true,\"who\":{" is`,
		`{"urgent":true,"who":{"age":1,"name":"x"},"tags":["a"]}`:        "answer: its keys are in the order age, name, and in the schema's it is name, age",
		`{"urgent":1,"who":{"name":"x","age":1},"tags":["a"]}`:           "urgent",
		`{"urgent":true}`: "missing",
		`urgent`:          "answer, line 1",
		`{"urgent":true,"who":{"name":"x","age":1000000000000000000000},"tags":["a"]}`: "answer: who.age: constrained decoding does not write \"100000000000\" (byte 58); numbers that the schema does not limit have at most 18 digits: give it minimum and maximum",
		`{"urgent":true,"who":{"name":"x","age":10e1},"tags":["a"]}`:                   `answer: who.age: constrained decoding does not write "10e1" (byte 42); numbers have no zeros at the end and no exponent`,
	} {
		faults, err := Check(records(answer), json.RawMessage(ticket), compact)
		switch {
		case err != nil:
			t.Fatal(err)
		case want == "" && len(faults) > 0, want != "" && (len(faults) != 1 || !strings.Contains(faults[0].Error(), want)):
			t.Errorf("%s:\n got %v\nwant %s", answer, faults, want)
		}
	}
	if _, err := Check(nil, json.RawMessage(`{"type": "string", "pattern": "(a|b)\\1"}`), compact); err == nil {
		t.Error("a schema that cannot be compiled is taken")
	}
}

// TestNormalised: what is rewritten is what would be written.
func TestNormalised(t *testing.T) {
	mixed := records(
		"{ \"tags\": [ \"b\", \"a\" ],\n\"who\": {\"age\": 7, \"name\": \"caf\\u00e8 \\/ \\ud83d\\ude00\"}, \"urgent\": false}\r\n",
		`{"urgent":true,"who":{"name":"x","age":1},"tags":[]}`,
		"no JSON")
	before := mixed[0].Messages[1].Content
	for _, l := range []chatml.Layout{layout(0, ",", ":"), layout(2, ", ", ": "), layout(0, ", ", ": ")} {
		normal, changed, err := Normalise(mixed, json.RawMessage(ticket), l)
		if err != nil || changed < 1 || mixed[0].Messages[1].Content != before {
			t.Fatalf("%d changed, %v", changed, err)
		}
		faults, err := Check(normal[:2], json.RawMessage(ticket), l)
		if err != nil || len(faults) > 0 {
			t.Errorf("%v: %v %v", l, faults, err)
		}
		if normal[2].Answer() != "no JSON" {
			t.Error(normal[2].Answer())
		}
		var a, b any
		if json.Unmarshal([]byte(before), &a) != nil || json.Unmarshal([]byte(normal[0].Answer()), &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s says something else than %s", normal[0].Answer(), before)
		}
	}
	if got, _, err := Normalise(records(`{"a":1.50, "b":1e5}`), nil, layout(0, ",", ":")); err != nil || got[0].Answer() != `{"a":1.50,"b":1e5}` {
		t.Errorf("numbers are %s, %v", got[0].Answer(), err)
	}
}

func TestRequestValues(t *testing.T) {
	ask := func(question, lang, answer string) dataset.Record {
		return dataset.Record{Lang: lang, Messages: []chatml.Message{{Role: chatml.User, Content: question}, {Role: chatml.Assistant, Content: answer}}}
	}
	for _, row := range []struct {
		name    string
		records []dataset.Record
		want    map[string]chatml.RequestValue
	}{
		{"both", []dataset.Record{ask("q1", "ca", `{"m":{"q":"q1","l":"ca"},"x":"ca"}`), ask("q2", "es", `{"m":{"q":"q2","l":"es"},"x":"ca"}`)},
			map[string]chatml.RequestValue{"m.q": chatml.Question, "m.l": chatml.Language}},
		{"by chance", []dataset.Record{ask("q", "ca", `{"a":"q","place":"ca"}`), ask("q", "ca", `{"a":"q","place":"ca"}`)}, nil},
		{"one language", []dataset.Record{ask("q1", "ca", `{"lang":"ca"}`), ask("q2", "ca", `{"lang":"ca"}`)}, map[string]chatml.RequestValue{"lang": chatml.Language}},
		{"not in all", []dataset.Record{ask("q1", "", `{"a":"q1"}`), ask("q2", "", `{"a":"q2"}`), ask("q3", "", `{}`)}, nil},
		{"in lists", []dataset.Record{ask("q1", "", `{"a":["q1"]}`), ask("q2", "", `{"a":["q2"]}`)}, nil},
		{"not JSON", []dataset.Record{ask("q1", "", `{"query":"q1"}`), ask("q2", "", `q2`)}, nil},
		{"none", nil, nil},
	} {
		if got := RequestValues(row.records); !maps.Equal(got, row.want) || got == nil {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func FuzzNormalise(f *testing.F) {
	f.Add(`{"who":{"age":1,"name":"x"},"urgent":true}`, 0, ",", ":")
	f.Add("[1, {\"tags\": [\"a\"]}]\n", 2, ", ", ": ")
	f.Fuzz(func(t *testing.T, text string, indent int, item, key string) {
		l := layout(indent&15, ",", ": ")
		if len(item)%2 == 1 {
			l.ItemSeparator = ", "
		}
		if len(key)%2 == 1 {
			l.KeySeparator = ":"
		}
		in := records(text)
		Read(in)
		if _, err := Check(in, json.RawMessage(ticket), l); err != nil {
			t.Fatal(err)
		}
		once, _, err := Normalise(in, json.RawMessage(ticket), l)
		if err != nil {
			t.Fatal(err)
		}
		if _, changed, _ := Normalise(once, json.RawMessage(ticket), l); changed != 0 {
			t.Errorf("%q is normalised and changes again: %q", text, once[0].Answer())
		}
	})
}
