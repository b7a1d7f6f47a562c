package evalx

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, answer string
		want         Value
		reason       string
	}{
		{"null", "null", nil, "a scalar is a JSON value"},
		{"booleans", "[true,false]", []any{true, false}, "both literals"},
		{"empty", "{}", map[string]any{}, "an empty object, not nil"},
		{"empty array", " [ ] ", []any{}, "an empty array, not nil"},
		{"white space", "\r\n\t {\n \"a\" : 1 \t}\r\n ", map[string]any{"a": json.Number("1")}, "JSON's white space is allowed around everything"},
		{"numbers as written", "[0,-0,1.0,1e2,1E+2,-1.5e-3,123456789012345678901234567890]",
			[]any{json.Number("0"), json.Number("-0"), json.Number("1.0"), json.Number("1e2"), json.Number("1E+2"), json.Number("-1.5e-3"), json.Number("123456789012345678901234567890")},
			"a float64 would lose digits and the form"},
		{"escapes", `"\"\\\/\b\f\n\r\t\u00E9\u00e9"`, "\"\\/\b\f\n\r\téé", "every escape, hexadecimal digits in both cases"},
		{"surrogate pair", `"\ud83d\uDE00"`, "😀", "two escapes, one character"},
		{"text between escapes", `"a\nb\tc"`, "a\nb\tc", "parts are joined in order"},
		{"escape first", `"\nb"`, "\nb", "the part before the escape is empty"},
		{"empty strings", `{"":""}`, map[string]any{"": ""}, "an empty key is a key"},
		{"NUL", `"\u0000"`, "\x00", "JSON text can hold it when escaped"},
		{"DEL and separators", "\"\x7f\u2028\ufffd\"", "\x7f\u2028\ufffd", "only characters below U+0020 need an escape; U+FFFD itself is valid"},
		{"keys that differ in case", `{"a":1,"A":2}`, map[string]any{"a": json.Number("1"), "A": json.Number("2")}, "keys are compared exactly"},
		{"same key in two objects", `[{"a":1},{"a":2}]`, []any{map[string]any{"a": json.Number("1")}, map[string]any{"a": json.Number("2")}}, "duplicates are counted per object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.answer)
			if err != nil {
				t.Fatalf("%v; %s", err, tt.reason)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s%s", diff, tt.reason)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		name, answer         string
		want                 string
		offset, line, column int
		reason               string
	}{
		{"nothing", "", emptyAnswer, 0, 1, 1, "no answer"},
		{"white space", " \n\n ", emptyAnswer, 4, 3, 2, "white space is no value"},
		{"prose", "Sure! {}", syntaxError, 0, 1, 1, "text before the value is not skipped"},
		{"code fence", "```json\n{}\n```", syntaxError, 0, 1, 1, "nor is a fence"},
		{"byte-order mark", "\ufeff{}", syntaxError, 0, 1, 1, "not white space in JSON"},
		{"no-break space", "\u00a0{}", syntaxError, 0, 1, 1, "not white space in JSON"},
		{"None", "None", syntaxError, 0, 1, 1, "Python's null"},
		{"True", "True", syntaxError, 0, 1, 1, "Python's true"},
		{"single quotes", "{'a': 1}", syntaxError, 1, 1, 2, "Python's strings"},
		{"bare key", "{a: 1}", syntaxError, 1, 1, 2, "JavaScript's keys"},
		{"comment", "{} // done", syntaxError, 3, 1, 4, "JSON has no comments"},
		{"trailing comma in object", `{"a":1,}`, syntaxError, 7, 1, 8, "a comma needs a key after it"},
		{"trailing comma in array", `[1,]`, syntaxError, 3, 1, 4, "a comma needs a value after it"},
		{"comma first", `[,1]`, syntaxError, 1, 1, 2, "a comma needs a value before it"},
		{"no comma", `[1 2]`, syntaxError, 3, 1, 4, "items are separated"},
		{"no colon", `{"a" 1}`, syntaxError, 5, 1, 6, "a key needs a value"},
		{"wrong bracket", `[1}`, syntaxError, 2, 1, 3, "brackets match"},
		{"column in characters", "{\n \"é\": x}", syntaxError, 9, 2, 7, "é is one character and two bytes"},
		{"raw line break", "\"a\nb\"", syntaxError, 2, 1, 3, "control characters are escaped"},
		{"unknown escape", `"\x41"`, syntaxError, 2, 1, 3, "JSON has no \\x"},
		{"bad hexadecimal digit", `"\u00g0"`, syntaxError, 5, 1, 6, "four digits"},
		{"bad digit in the second half", `"\ud800\u00g0"`, invalidText, 1, 1, 2, "the first half has no second one"},
		{"control character as digit", "\"\\u000\x10\"", syntaxError, 6, 1, 7, "0x10 is no digit though it differs from 0 by one bit"},
		{"half a literal", "[tru]", syntaxError, 1, 1, 2, "a literal is whole"},

		{"open object", `{"a": 1`, truncated, 7, 1, 8, "generation stopped"},
		{"open array", `[`, truncated, 1, 1, 2, "generation stopped"},
		{"after colon", `{"a":`, truncated, 5, 1, 6, "generation stopped"},
		{"open string", `{"a": "b`, truncated, 8, 1, 9, "generation stopped"},
		{"backslash last", `"\`, truncated, 2, 1, 3, "generation stopped"},
		{"short escape", `"\u00`, truncated, 5, 1, 6, "generation stopped"},
		{"short literal", `[fal`, truncated, 4, 1, 5, "generation stopped"},
		{"short number", `[-`, truncated, 2, 1, 3, "generation stopped"},
		{"short fraction", `[1.`, truncated, 3, 1, 4, "generation stopped"},
		{"short exponent", `[1e+`, truncated, 4, 1, 5, "generation stopped"},

		{"two objects", "{}\n{}", syntaxError, 3, 2, 1, "an answer is one value"},
		{"text after", `{"a":1} Hope this helps!`, syntaxError, 8, 1, 9, "text after the value is not skipped"},
		{"brace too many", `{}}`, syntaxError, 2, 1, 3, "a brace after the value"},

		{"duplicate key", `{"a":1,"b":{"a":1},"a":1}`, duplicateKey, 19, 1, 20, "even with equal values"},
		{"duplicate key escaped", `{"a":1,"\u0061":2}`, duplicateKey, 7, 1, 8, "keys are compared as text, not as written"},

		{"byte", "{\"a\": \"\xff\"}", invalidText, 7, 1, 8, "not UTF-8"},
		{"byte outside strings", "\xff", invalidText, 0, 1, 1, "not UTF-8"},
		{"byte after a fault", "x\xff", invalidText, 1, 1, 2, "bytes are checked first"},
		{"encoded surrogate", "\"\xed\xa0\x80\"", invalidText, 1, 1, 2, "UTF-8 has no surrogates"},
		{"overlong", "\"\xc0\xaf\"", invalidText, 1, 1, 2, "UTF-8 has one form per character"},
		{"lone high surrogate", `"\ud800"`, invalidText, 1, 1, 2, "half a pair"},
		{"lone low surrogate", `"\udc00"`, invalidText, 1, 1, 2, "half a pair"},
		{"high surrogate twice", `"\ud800\ud800"`, invalidText, 1, 1, 2, "two halves that do not fit"},
		{"high surrogate and letter", `"\ud800\u0041"`, invalidText, 1, 1, 2, "the next escape is no half"},
		{"high surrogate and newline", `"\ud800\n"`, invalidText, 1, 1, 2, "the next escape is no half"},

		{"NaN", `{"a": NaN}`, syntaxError, 6, 1, 7, "Python writes it"},
		{"Infinity", `[Infinity]`, syntaxError, 1, 1, 2, "Python writes it"},
		{"minus Infinity", `[-Infinity]`, syntaxError, 1, 1, 2, "Python writes it"},
		{"plus", `+1`, syntaxError, 0, 1, 1, "no plus in JSON"},
		{"point first", `.5`, syntaxError, 0, 1, 1, "a digit before the point"},
		{"point last", `[1.]`, syntaxError, 3, 1, 4, "a digit after the point"},
		{"leading zero", `2023-01-01`, syntaxError, 4, 1, 5, "a date is no number"},
		{"octal", `[01]`, syntaxError, 2, 1, 3, "no zero before digits"},
		{"two points", `1.2.3`, syntaxError, 3, 1, 4, "a version is no number"},
		{"long number", strings.Repeat("1", maxNumberLen+1), badNumber, 0, 1, 1, "beyond the limit"},
		{"exponent", `[1e10000]`, badNumber, 1, 1, 2, "beyond the limit"},
		{"negative exponent", `[1e-10000]`, badNumber, 1, 1, 2, "beyond the limit"},
		{"exponent beyond int", `[1e99999999999999999999]`, badNumber, 1, 1, 2, "beyond the limit"},

		{"depth", strings.Repeat("[", maxDepth+1), tooDeep, maxDepth, 1, maxDepth + 1, "beyond the limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.answer)
			var place *ParseError
			if !errors.As(err, &place) || !strings.HasPrefix(place.Reason, tt.want) {
				t.Fatalf("error %v, want %v: %s", err, tt.want, tt.reason)
			}
			if got != nil {
				t.Errorf("value %v beside an error", got)
			}
			if place.Offset != tt.offset || place.Line != tt.line || place.Column != tt.column {
				t.Errorf("at offset %d, line %d, column %d; want %d, %d, %d: %v",
					place.Offset, place.Line, place.Column, tt.offset, tt.line, tt.column, err)
			}
		})
	}
}

func TestParseErrorText(t *testing.T) {
	_, err := Parse("{\n  \"any\": 2023,\n  any\n}")
	want := `answer, line 3, column 3: syntax error: unexpected 'a', want a key in double quotes`
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	_, err = Parse("\"\x1b[2J\u202e" + strings.Repeat("x", 1000))
	if text := err.Error(); strings.ContainsAny(text, "\x1b\u202e") || len(text) > 300 {
		t.Errorf("error text is long or acts on a terminal: %q", text)
	}
}

func TestParseAtTheLimits(t *testing.T) {
	for name, answer := range map[string]string{
		"depth":    strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
		"siblings": "[" + strings.Repeat("[[]],", 10*maxDepth) + "[]]",
		"length":   strings.Repeat("9", maxNumberLen),
		"exponent": "[1e9999,1E-9999,1e+0009999]",
	} {
		if _, err := Parse(answer); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Answers made to hurt are refused or read in linear time, all of them together in a moment.
func TestParseHostile(t *testing.T) {
	const n = 100_000
	start := time.Now()
	for name, answer := range map[string]string{
		"open arrays":       strings.Repeat("[", n),
		"nested arrays":     strings.Repeat("[", n) + strings.Repeat("]", n),
		"nested objects":    strings.Repeat(`{"a":`, n),
		"closing brackets":  strings.Repeat("]", n),
		"digits":            strings.Repeat("7", 10*n),
		"zeros":             "0." + strings.Repeat("0", 10*n) + "1",
		"exponent":          "1e" + strings.Repeat("9", 10*n),
		"open string":       `"` + strings.Repeat("a", 10*n),
		"backslashes":       `"` + strings.Repeat(`\\`, n),
		"lone surrogates":   `"` + strings.Repeat(`\ud800`, n) + `"`,
		"bytes":             strings.Repeat("\xff", 10*n),
		"bytes at the end":  `["` + strings.Repeat("é", n) + "\xff",
		"lines at the end":  strings.Repeat("\n", 10*n) + "x",
		"duplicate at last": `{"a":0` + strings.Repeat(" ", 10*n) + `,"a":0}`,
	} {
		if v, err := Parse(answer); err == nil || v != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Parse("[" + strings.Repeat(`"é\n",`, n) + "0]"); err != nil {
		t.Errorf("a long array: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestExtract(t *testing.T) {
	tests := []struct {
		name, answer, want string
		parses             bool
		reason             string
	}{
		{"fence", "```json\n{\"a\": 1}\n```", `{"a": 1}`, true, "a code fence does no harm"},
		{"prose", "Here it is: {} Bye.", "{}", true, "nor does prose"},
		{"array", `[{"a": 1}]`, `{"a": 1}`, true, "the list around an object is dropped"},
		{"two objects", `{} and {}`, `{} and {}`, false, "from the first brace to the last"},
		{"brace in prose", `use {braces}: {"a": 1}`, `{braces}: {"a": 1}`, false, "from the first brace to the last"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Extract(tt.answer)
			if err != nil || got != tt.want {
				t.Fatalf("%q, %v; want %q: %s", got, err, tt.want, tt.reason)
			}
			if _, err := Parse(got); (err == nil) != tt.parses {
				t.Errorf("Parse: %v; want accepted = %v: %s", err, tt.parses, tt.reason)
			}
		})
	}
	for answer, offset := range map[string]int{"": 0, "[1]": 0, "} {": 2, "a}b": 0} {
		_, err := Extract(answer)
		var place *ParseError
		if !errors.As(err, &place) || place.Reason != noObject || place.Offset != offset {
			t.Errorf("Extract(%q): %v, want no object at %d", answer, err, offset)
		}
	}
}

// FuzzParse holds Parse against encoding/json in both directions: what Parse
// accepts has the same value there, and what it refuses is refused there too or
// has a reason that encoding/json does not know.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"a": [1, -2.5e3, null, true, "\u00e9\ud83d\ude00"], "b": {}}`, ` "a" `, `{"a":1,"a":2}`, `[1,]`, `"\ud800"`, "\xff", "NaN", "[[[", "1e10000", `"\u00`, "-", "{}{}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		got, err := Parse(answer)
		var want any
		dec := json.NewDecoder(strings.NewReader(answer))
		dec.UseNumber()
		peer := dec.Decode(&want)
		peerAccepts := peer == nil && json.Valid([]byte(answer))
		if err == nil {
			if !peerAccepts {
				t.Fatalf("accepted %q; encoding/json: %v", answer, peer)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q (-encoding/json +Parse)\n%s", answer, diff)
			}
			if !Exact(want, got) {
				t.Fatalf("%q: Exact denies that a value equals itself", answer)
			}
			return
		}
		var place *ParseError
		if !errors.As(err, &place) || got != nil {
			t.Fatalf("%q: value %v, error %#v", answer, got, err)
		}
		if place.Offset < 0 || place.Offset > len(answer) || place.Line < 1 || place.Column < 1 {
			t.Fatalf("%q: place %+v", answer, place)
		}
		ours := slices.ContainsFunc([]string{duplicateKey, invalidText, tooDeep, badNumber}, func(cause string) bool { return strings.HasPrefix(place.Reason, cause) })
		if peerAccepts && !ours {
			t.Fatalf("refused %q, which encoding/json accepts: %v", answer, err)
		}
	})
}
