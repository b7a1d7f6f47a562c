package constrain

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatch(t *testing.T) {
	rows := []struct {
		name, schema string
		yes, no      []string
		reason       string
	}{
		{name: "layout", schema: `{"type":"object","properties":{"b":{"type":"array","items":{"type":"null"}},"a":{"const":{}}},"required":["b"]}`,
			yes:    []string{`{"b": []}`, `{"b": [null, null], "a": {}}`},
			no:     []string{`{"b":[]}`, `{"a": {}, "b": []}`, `{"a": {}}`, `{"b": [] }`, `{"b": []} `},
			reason: "one order and one spacing, as json.dumps"},
		{name: "escapes", schema: `{"type":"string"}`,
			yes:    []string{`""`, `"\n\r\t\b\f\\\""`, `"\u0000\u001f"`, "\"\x7fé€😀\u2028\""},
			no:     []string{`"\/"`, `"\u0041"`, `"\u001F"`, `"\u000a"`, "\"\n\"", `"\u00e9"`, "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xff\"", `"`},
			reason: "one spelling of each character, UTF-8 only"},
		{name: "code points", schema: `{"type":"string","minLength":2,"maxLength":3}`,
			yes: []string{`"éé"`, `"😀😀😀"`, `"\n\u0000\""`}, no: []string{`"é"`, `"abcd"`, `"😀😀😀😀"`},
			reason: "lengths count code points, not bytes or escapes"},
		{name: "unanchored", schema: `{"type":"string","pattern":"b+c"}`,
			yes: []string{`"bc"`, `"abbcd\n"`, `"bbc"`}, no: []string{`""`, `"b"`, `"cb"`}, reason: "a pattern matches anywhere"},
		{name: "decoded", schema: `{"type":"string","pattern":"^(\\\\|\n|\"|[\\x00-\\x02])+$"}`,
			yes: []string{`"\\"`, `"\n\""`, `"\u0001"`}, no: []string{`"n"`, `"\\n"`, `"u0001"`}, reason: "a pattern sees characters, not escapes"},
		{name: "pattern and length", schema: `{"type":"string","pattern":"^a*b$","minLength":3,"maxLength":4}`,
			yes: []string{`"aab"`, `"aaab"`}, no: []string{`"ab"`, `"aaaab"`, `"aaaa"`}, reason: "both hold"},
		{name: "date", schema: `{"type":"string","format":"date"}`,
			yes: []string{`"2024-02-29"`, `"2000-02-29"`, `"1999-12-31"`, `"0001-01-01"`}, no: []string{`"0000-01-01"`, `"2023-02-29"`, `"1900-02-29"`, `"2024-04-31"`, `"2024-00-10"`, `"24-01-01"`, `"2024-13-01"`},
			reason: "days that the calendar has"},
		{name: "integer", schema: `{"type":"integer"}`,
			yes: []string{`0`, `-1`, `999999999999999999`}, no: []string{`-0`, `01`, `1.0`, `1e2`, `1000000000000000000`, `+1`}, reason: "canonical, up to 18 digits"},
		{name: "integer ends", schema: `{"type":"integer","minimum":-12.5,"exclusiveMaximum":1e2}`,
			yes: []string{`-12`, `0`, `99`}, no: []string{`-13`, `100`, `-99`}, reason: "ends may be decimals and have exponents"},
		{name: "number", schema: `{"type":"number"}`,
			yes: []string{`0`, `-0.5`, `1e-07`, `1.5e+16`, `12.25`}, no: []string{`.5`, `1.`, `1E5`, `1e5`, `NaN`, `00`}, reason: "as Python writes floats"},
		{name: "number ends", schema: `{"type":"number","exclusiveMinimum":-0.25,"maximum":10.5}`,
			yes: []string{`0`, `-0.2`, `-0.2499`, `10.5`, `10`, `10.0`, `9.99`, `9.09`}, no: []string{`10.50`, `10.00`, `-0.25`, `-0.250`, `10.51`, `11`, `-1`, `-0`, `1e+00`}, reason: "limits to the digit"},
		{name: "enum and type", schema: `{"type":["string","integer"],"enum":["a",1,null,"long"],"maxLength":2}`,
			yes: []string{`"a"`, `1`}, no: []string{`null`, `"long"`}, reason: "other keywords thin out an enum"},
		{name: "const and enum", schema: `{"const":1.0,"enum":[1,2]}`, yes: []string{`1`}, no: []string{`2`}, reason: "equal numbers are equal"},
		{name: "tuple", schema: `{"type":"array","prefixItems":[{"const":1},{"const":2}],"items":{"const":3},"minItems":1,"maxItems":4}`,
			yes: []string{`[1]`, `[1, 2]`, `[1, 2, 3, 3]`}, no: []string{`[]`, `[2]`, `[1, 2, 3, 3, 3]`, `[1, 3]`}, reason: "first the tuple, then items"},
		{name: "open tuple", schema: `{"type":"array","prefixItems":[{"const":1}]}`, yes: []string{`[]`, `[1]`, `[1, {"a": [null]}]`}, no: []string{`[2]`}, reason: "any items beyond what is described"},
		{name: "ref", schema: `{"$defs":{"a/b":{"type":"null"}},"type":"array","items":{"$ref":"#/$defs/a~1b"},"maxItems":1}`,
			yes: []string{`[null]`}, no: []string{`[null, null]`}, reason: "JSON pointers are unescaped"},
		{name: "oneOf", schema: `{"oneOf":[{"type":"object","required":["t"],"properties":{"t":{"const":"x"}}},{"type":"object","required":["t"],"properties":{"t":{"enum":["y","z"]}}},{"type":"null"}]}`,
			yes: []string{`{"t": "x"}`, `{"t": "z"}`, `null`}, no: []string{`{"t": "w"}`, `{}`}, reason: "told apart by a required property"},
		{name: "no type", schema: `{"minLength":1}`, yes: []string{`"a"`, `1`, `[[], {"": null}]`}, no: []string{`""`}, reason: "a keyword speaks of its type only"},
		{name: "anything", schema: `{"type":"array","items":true}`, yes: []string{`[]`, `[1, {"a": {}}]`}, no: []string{`{}`}, reason: "any value within"},
		{name: "any object", schema: `{"type":"object"}`, yes: []string{`{}`, `{"a": 1, "": [true]}`}, no: []string{`[]`}, reason: "members of any name"},
		{name: "open object", schema: `{"type":"object","properties":{"a":{"type":"null"}}}`, yes: []string{`{"a": null, "b": 1}`, `{"ab": 1}`}, no: []string{`{"a": 1}`, `{"b": 1, "a": null}`}, reason: "members that are not listed come last"},
		{name: "map", schema: `{"type":"object","additionalProperties":{"type":"null"}}`, yes: []string{`{}`, `{"x": null, "y": null}`}, no: []string{`{"x": 1}`}, reason: "each member by the schema"},
		{name: "unlisted", schema: `{"type":"object","properties":{},"required":["a"]}`, yes: []string{`{"a": 1}`, `{"a": 1, "b": 2}`}, no: []string{`{}`, `{"b": 2}`}, reason: "any value under that name"},
		{name: "patternProperties", schema: `{"type":"object","properties":{"ab":{"minimum":5}},"patternProperties":{"^a":{"type":"integer"},"b$":{"maximum":9}},"additionalProperties":false}`,
			yes: []string{`{"ab": 7}`, `{"ax": 1}`, `{"xb": "s"}`, `{"ayb": 9}`}, no: []string{`{"ab": 4}`, `{"ab": 10}`, `{"ax": "s"}`, `{"x": 1}`, `{"ayb": 10}`}, reason: "all patterns that match hold"},
		{name: "propertyNames", schema: `{"type":"object","properties":{"a":{},"abcd":{}},"propertyNames":{"maxLength":2}}`,
			yes: []string{`{"a": 1}`, `{"xy": 1}`}, no: []string{`{"abcd": 1}`, `{"xyz": 1}`}, reason: "listed names too"},
		{name: "number of members", schema: `{"type":"object","properties":{"a":{},"b":{},"c":{}},"additionalProperties":false,"minProperties":1,"maxProperties":2}`,
			yes: []string{`{"a": 1}`, `{"b": 1, "c": 2}`}, no: []string{`{}`, `{"a": 1, "b": 1, "c": 1}`}, reason: "optional members are counted"},
		{name: "recursive", schema: `{"type":"array","items":{"$ref":"#"}}`, yes: []string{`[]`, `[[], [[]]]`}, no: []string{`[1]`}, reason: "a schema within itself"},
		{name: "tree", schema: `{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"l":{"$ref":"#/$defs/n"},"r":{"$ref":"#/$defs/n"}},"required":["v"],"additionalProperties":false}}}`,
			yes: []string{`{"v": 1, "l": {"v": 2, "r": {"v": 3}}}`}, no: []string{`{"v": 1, "l": {}}`}, reason: "by reference to an ancestor"},
		{name: "two patterns", schema: `{"allOf":[{"type":"string","pattern":"a"},{"pattern":"b"}]}`, yes: []string{`"ab"`, `"b-a"`}, no: []string{`"a"`, `"b"`}, reason: "both match"},
		{name: "not", schema: `{"type":["string","integer"],"not":{"enum":["a",1]}}`, yes: []string{`"b"`, `""`, `"aa"`, `2`, `11`}, no: []string{`"a"`, `1`}, reason: "all but the listed"},
		{name: "not required", schema: `{"type":"object","properties":{"a":{},"b":{}},"not":{"required":["a","b"]}}`, yes: []string{`{}`, `{"a": 1}`, `{"b": 1, "c": 1}`}, no: []string{`{"a": 1, "b": 1}`}, reason: "one at most"},
		{name: "not a pattern", schema: `{"type":"string","not":{"pattern":"^a"}}`, yes: []string{`""`, `"ba"`}, no: []string{`"a"`, `"ab"`}, reason: "the opposite of an automaton"},
		{name: "oneOf that overlaps", schema: `{"oneOf":[{"type":"integer","maximum":5},{"type":"integer","minimum":3}]}`, yes: []string{`2`, `6`, `-9`}, no: []string{`3`, `4`, `5`}, reason: "exactly one"},
		{name: "oneOf of objects that overlaps", schema: `{"oneOf":[{"type":"object","properties":{"a":{"const":1}}},{"type":"object","properties":{"a":{"const":2}}}]}`, yes: []string{`{"a": 1}`, `{"a": 2}`}, no: []string{`{}`, `{"a": 3}`}, reason: "{} is both"},
		{name: "multipleOf", schema: `{"type":"number","multipleOf":2.5,"minimum":-5,"maximum":20}`, yes: []string{`0`, `2.5`, `-5`, `-2.5`, `17.5`, `20.0`}, no: []string{`1`, `2`, `22.5`, `2.51`, `-7.5`}, reason: "digits are counted modulo"},
		{name: "multipleOf integer", schema: `{"type":"integer","multipleOf":7,"not":{"const":14}}`, yes: []string{`0`, `7`, `-21`, `7000000`}, no: []string{`1`, `14`, `8`}, reason: "remainders are states"},
		{name: "not patternProperties", schema: `{"type":"object","not":{"patternProperties":{"^a":{"type":"null"}}}}`, yes: []string{`{"a": 1}`, `{"b": 2, "ab": 1}`, `{"a": null, "ab": 1}`}, no: []string{`{}`, `{"a": null}`, `{"b": 1}`}, reason: "some member is otherwise"},
		{name: "not propertyNames", schema: `{"type":"object","properties":{"long":{}},"not":{"propertyNames":{"maxLength":3}}}`, yes: []string{`{"long": 1}`, `{"abcd": 1}`, `{"a": 1, "abcd": 1, "b": 2}`}, no: []string{`{}`, `{"abc": 1}`}, reason: "some name is otherwise"},
		{name: "not additionalProperties", schema: `{"type":"object","not":{"properties":{"a":{}},"additionalProperties":{"type":"integer"}},"properties":{"b":{"minimum":3}}}`, yes: []string{`{"b": "x"}`, `{"b": 3, "c": null}`, `{"a": "x", "c": null}`}, no: []string{`{}`, `{"a": "x"}`, `{"c": 1}`, `{"b": 4}`}, reason: "some other member is otherwise"},
		{name: "two members at once", schema: `{"type":"object","allOf":[{"not":{"patternProperties":{"a":{"not":{"const":1}}}}},{"not":{"patternProperties":{"b":{"not":{"const":2}}}}}],"maxProperties":2}`, yes: []string{`{"a": 1, "b": 2}`, `{"b": 2, "a": 1}`}, no: []string{`{"ab": 1}`, `{"ab": 2}`, `{"a": 1}`, `{"a": 1, "a": 2}`}, reason: "one needs 1, one needs 2"},
		{name: "oneOf of maps", schema: `{"oneOf":[{"type":"object","additionalProperties":{"type":"integer"}},{"type":"object","additionalProperties":{"type":["integer","null"]},"minProperties":1}]}`, yes: []string{`{}`, `{"a": null}`, `{"b": 1, "a": null}`}, no: []string{`{"a": 1}`, `{"a": "x"}`}, reason: "exactly one"},
		{name: "oneOf of dependencies", schema: `{"type":"object","properties":{"a":{},"b":{}},"oneOf":[{"dependentRequired":{"a":["b"]}},{"required":["a"]}]}`, yes: []string{`{}`, `{"b": 1}`, `{"a": 1}`}, no: []string{`{"a": 1, "b": 1}`}, reason: "the opposite of a dependency"},
		{name: "listed in draft 4", schema: `{"$schema":"http://json-schema.org/draft-04/schema#","enum":[[1],{"a":"x"}]}`, yes: []string{`[1]`, `{"a": "x"}`}, no: []string{`[2]`, `[null]`, `{"a": "y"}`}, reason: "whatever keywords the draft has"},
		{name: "not an integer", schema: `{"type":"number","not":{"type":"integer"},"minimum":0}`, yes: []string{`0.5`, `1.25`}, no: []string{`1`, `1.0`, `0.0`}, reason: "by value"},
		{name: "contains", schema: `{"type":"array","items":{"type":"integer"},"contains":{"minimum":10},"minContains":1,"maxContains":2}`,
			yes: []string{`[10]`, `[1, 12, 3, 11]`}, no: []string{`[]`, `[1]`, `[10, 11, 12]`, `["a", 10]`}, reason: "counted"},
		{name: "unique", schema: `{"type":"array","items":{"enum":["a","b",1,1.0]},"uniqueItems":true,"minItems":1}`,
			yes: []string{`["a"]`, `["b", 1, "a"]`}, no: []string{`[]`, `["a", "a"]`, `[1, 1.0]`}, reason: "none twice"},
		{name: "unique strings", schema: `{"type":"array","items":{"type":"string","maxLength":2},"uniqueItems":true}`, yes: []string{`[]`, `["a", "", "ab", "b"]`}, no: []string{`["a", "a"]`, `["", "b", ""]`, `["abc"]`}, reason: "what was written does not come again"},
		{name: "unique integers", schema: `{"type":"array","items":{"type":"integer"},"uniqueItems":true,"minItems":1}`, yes: []string{`[1, 12, 2, -1]`}, no: []string{`[]`, `[12, 1, 12]`}, reason: "numbers that may go on"},
		{name: "dependentRequired", schema: `{"type":"object","properties":{"a":{},"b":{}},"dependentRequired":{"a":["b"]}}`, yes: []string{`{}`, `{"b": 1}`, `{"a": 1, "b": 1}`}, no: []string{`{"a": 1}`}, reason: "a brings b along"},
		{name: "unevaluatedProperties", schema: `{"type":"object","allOf":[{"properties":{"a":{"type":"null"}}}],"properties":{"b":{"type":"null"}},"unevaluatedProperties":false}`,
			yes: []string{`{}`, `{"b": null, "a": null}`}, no: []string{`{"c": 1}`, `{"a": 1}`}, reason: "what allOf speaks of is evaluated"},
		{name: "unevaluatedItems", schema: `{"type":"array","allOf":[{"prefixItems":[{"type":"null"}]}],"unevaluatedItems":{"const":1}}`, yes: []string{`[]`, `[null, 1, 1]`}, no: []string{`[1]`, `[null, 2]`}, reason: "those after the prefix"},
		{name: "draft 4", schema: `{"$schema":"http://json-schema.org/draft-04/schema#","id":"x","type":"array","items":[{"type":"integer","minimum":3,"exclusiveMinimum":true}],"additionalItems":false}`,
			yes: []string{`[]`, `[4]`}, no: []string{`[3]`, `[4, 4]`}, reason: "items and exclusiveMinimum of its time"},
		{name: "draft 7", schema: `{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"s":{"type":"string"}},"$ref":"#/definitions/s","maxLength":1}`, yes: []string{`"abc"`}, no: []string{`1`}, reason: "nothing counts beside $ref"},
		{name: "ids", schema: `{"$id":"http://a.b/root","$defs":{"s":{"$id":"sub","$defs":{"x":{"$anchor":"here","type":"null"}},"$ref":"#/$defs/x"}},"type":"array","items":{"$ref":"sub"},"contains":{"$ref":"sub#here"}}`, yes: []string{`[null]`}, no: []string{`[]`, `[1]`}, reason: "references go by the nearest $id"},
		{name: "annotations", schema: `{"type":"string","maxLenght":3,"nullable":true,"example":"abcd"}`, yes: []string{`"abcd"`}, no: []string{`null`}, reason: "unknown keywords constrain nothing"},
		{name: "listed objects", schema: `{"type":"object","properties":{"a":{"type":"integer"},"b":{}},"enum":[{"b":[1],"a":1},{"a":"x"},{}]}`, yes: []string{`{"a": 1, "b": [1]}`, `{}`}, no: []string{`{"a": "x"}`, `{"a": 1}`}, reason: "compared member by member"},
		{name: "listed numbers", schema: `{"type":"integer","enum":[1e5,2.0,0.5,1234567890123456789]}`, yes: []string{`100000`, `1e5`, `2`, `1234567890123456789`}, no: []string{`0.5`, `100001`, `1234567890123456788`}, reason: "compared by value"},
		{name: "beside ref", schema: `{"$defs":{"a":{"type":"string","maxLength":3}},"$ref":"#/$defs/a","minLength":2}`,
			yes: []string{`"ab"`, `"abc"`}, no: []string{`"a"`, `"abcd"`}, reason: "both hold"},
		{name: "allOf", schema: `{"allOf":[{"type":"object","required":["a"],"properties":{"a":{"type":["integer","null"],"minimum":2}}},{"properties":{"a":{"type":"number","maximum":4},"b":{"enum":[1,2,3]}}},{"required":["b"],"properties":{"b":{"enum":[3,2]}}}]}`,
			yes: []string{`{"a": 2, "b": 2}`, `{"a": 4, "b": 3}`}, no: []string{`{"a": null, "b": 2}`, `{"a": 5, "b": 2}`, `{"a": 2, "b": 1}`, `{"a": 2}`}, reason: "all hold, of properties too"},
		{name: "allOf and closed", schema: `{"allOf":[{"type":"object","properties":{"a":{"type":"null"}},"additionalProperties":false},{"properties":{"b":{"type":"null"}}}]}`,
			yes: []string{`{}`, `{"a": null}`}, no: []string{`{"b": null}`}, reason: "additionalProperties knows the properties beside it alone"},
		{name: "allOf of arrays", schema: `{"type":"array","items":{"type":"integer"},"allOf":[{"prefixItems":[{"minimum":5}]},{"maxItems":2}]}`,
			yes: []string{`[]`, `[5]`, `[7, 1]`}, no: []string{`[4]`, `[5, 1, 1]`}, reason: "item by item"},
		{name: "anyOf beside", schema: `{"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},"anyOf":[{"required":["a"]},{"required":["b"]}]}`,
			yes: []string{`{"a": null}`, `{"b": null}`, `{"a": null, "b": null}`}, no: []string{`{}`}, reason: "one of two is required"},
		{name: "if", schema: `{"type":"object","required":["m","k"],"properties":{"m":{"enum":["x","y","z"]},"k":{"type":["integer","null"]}},"if":{"properties":{"m":{"enum":["x","z"]}}},"then":{"properties":{"k":{"type":"integer"}}},"else":{"properties":{"k":{"type":"null"}}}}`,
			yes: []string{`{"m": "x", "k": 1}`, `{"m": "y", "k": null}`}, no: []string{`{"m": "x", "k": null}`, `{"m": "y", "k": 1}`}, reason: "one property decides about another"},
		{name: "if, optional", schema: `{"type":"object","properties":{"m":{"type":"boolean"},"k":{"enum":[1,2]}},"if":{"properties":{"m":{"const":true}},"required":["m"]},"then":{"required":["k"]},"else":{"properties":{"k":{"const":2}}}}`,
			yes: []string{`{"m": true, "k": 1}`, `{"m": false}`, `{}`, `{"k": 2}`, `{"m": false, "k": 2}`}, no: []string{`{"m": true}`, `{"k": 1}`, `{"m": false, "k": 1}`}, reason: "without m the condition fails"},
		{name: "if in turn", schema: `{"allOf":[{"if":{"properties":{"a":{"const":1}}},"then":{"properties":{"b":{"const":1}}}},{"if":{"properties":{"b":{"const":2}}},"then":{"properties":{"c":{"const":2}}}},{"type":"object","required":["a","b","c"],"properties":{"a":{"enum":[1,2]},"b":{"enum":[1,2]},"c":{"enum":[1,2]}}}]}`,
			yes: []string{`{"a": 1, "b": 1, "c": 1}`, `{"a": 2, "b": 2, "c": 2}`}, no: []string{`{"a": 1, "b": 2, "c": 2}`, `{"a": 2, "b": 2, "c": 1}`}, reason: "what is listed after the condition counts"},
		{name: "never", schema: `{"type":"object","properties":{"a":false,"b":{"type":"null"}}}`, yes: []string{`{}`, `{"b": null}`}, no: []string{`{"a": null}`}, reason: "false allows nothing"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := mustCompile(t, row.schema, Options{MaxStates: 10_000})
			s := oracle(t, row.schema)
			for _, text := range row.yes {
				require.True(t, g.Match([]byte(text)), "%s: %s", text, row.reason)
				requireValid(t, s, row.schema, []byte(text))
			}
			for _, text := range row.no {
				require.False(t, g.Match([]byte(text)), "%s: %s", text, row.reason)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	rows := []struct {
		name, schema string
		cause        error
		places       []string
		reason       string
	}{
		{name: "not JSON", schema: `{`, cause: ErrMalformed, places: []string{""}, reason: "nothing to read"},
		{name: "same key twice", schema: `{"type":"null","type":"null"}`, cause: ErrMalformed, places: []string{""}, reason: "which one holds is not known"},
		{name: "not a schema", schema: `[1]`, cause: ErrMalformed, places: []string{""}, reason: "an object or a boolean"},
		{name: "all at once", schema: `{"type":"object","properties":{"a":{"type":"array","items":{"type":"number"},"uniqueItems":true},"b/c":{"not":{"unevaluatedItems":false}},"d":{"type":"string","pattern":"(a)\\1"}}}`,
			cause: ErrUnsupported, places: []string{"/properties/a/uniqueItems", "/properties/b~1c/not/unevaluatedItems", "/properties/d/pattern"}, reason: "every keyword by its pointer"},
		{name: "remote", schema: `{"$ref":"http://a/b"}`, cause: ErrUnsupported, places: []string{"/$ref"}, reason: "nothing is fetched"},
		{name: "dangling", schema: `{"$ref":"#/$defs/a"}`, cause: ErrUnsupported, places: []string{"/$ref"}, reason: "nothing there"},
		{name: "loop", schema: `{"$ref":"#","maxLength":2}`, cause: ErrUnsupported, places: []string{""}, reason: "leads nowhere"},
		{name: "too many", schema: `{"allOf":[` + strings.Repeat(`{"anyOf":[{"required":["a"]},{"required":["b"]},{"required":["c"]},{"minProperties":5}]},{"anyOf":[{"required":["d"]},{"required":["e"]},{"required":["f"]},{"maxProperties":9}]},{"anyOf":[{"required":["g"]},{"required":["h"]},{"required":["i"]}]},{"anyOf":[{"required":["j"]},{"required":["k"]},{"required":["l"]}]},{"anyOf":[{"required":["m"]},{"required":["n"]},{"required":["o"]},{"required":["p"]}]},`, 1) + `{"type":"object"}]}`, cause: ErrTooLarge, places: []string{""}, reason: "576 alternatives"},
		{name: "all contradict", schema: `{"allOf":[{"type":"string"},{"type":"null"}]}`, cause: errUnsatisfiable, places: []string{""}, reason: "no value has two types"},
		{name: "back reference", schema: `{"type":"string","pattern":"(a|b)\\1"}`, cause: ErrUnsupported, places: []string{"/pattern"}, reason: "not regular"},
		{name: "lookbehind within", schema: `{"type":"string","pattern":"^(?=a(?<=b))"}`, cause: ErrUnsupported, places: []string{"/pattern"}, reason: "it would have to run along with the lookahead"},
		{name: "far repetitions", schema: `{"type":"string","pattern":"^((a{1,99}b){1,99}c){1,99}$"}`, cause: ErrTooLarge, places: []string{"/pattern"}, reason: "970,299 states"},
		{name: "large pattern", schema: `{"type":"string","pattern":"a.{15}$"}`, cause: ErrTooLarge, places: []string{"/pattern"}, reason: "65,536 states"},
		{name: "long", schema: `{"type":"string","minLength":100000}`, cause: ErrTooLarge, places: []string{"/minLength"}, reason: "longer than any answer"},
		{name: "dialect", schema: `{"$schema":"http://json-schema.org/draft-03/schema#","type":"null"}`, cause: ErrUnsupported, places: []string{"/$schema"}, reason: "its keywords mean other things"},
		{name: "contradiction", schema: `{"type":"object","properties":{"a":{"type":"integer","minimum":3,"maximum":2}},"required":["a"]}`, cause: errUnsatisfiable, places: []string{""}, reason: "no value"},
		{name: "bad count", schema: `{"type":"string","maxLength":-1}`, cause: ErrMalformed, places: []string{"/maxLength"}, reason: "counts are not negative"},
		{name: "bad type", schema: `{"type":"text"}`, cause: ErrMalformed, places: []string{"/type"}, reason: "no such type"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := Compile([]byte(row.schema), DefaultOptions())
			var all *CompileError
			require.ErrorAs(t, err, &all, row.reason)
			var places []string
			for _, f := range all.Faults {
				require.ErrorIs(t, f, row.cause, row.reason)
				places = append(places, f.Pointer)
			}
			require.Equal(t, row.places, places, row.reason)
		})
	}
	_, err := Compile([]byte(`{"type":"null"}`), Options{})
	require.Error(t, err, "no states at all")
}

// Every integer near the ends of random ranges is accepted or not as it should.
func TestIntegerRanges(t *testing.T) {
	for _, lo := range []int64{-1200, -999, -100, -9, -1, 0, 1, 7, 10, 95, 100, 999} {
		for _, width := range []int64{0, 1, 9, 90, 105, 2001} {
			b := newBuilder(100_000)
			n := b.integers(big.NewInt(lo), big.NewInt(lo+width))
			for x := lo - 15; x <= lo+width+15; x++ {
				end := b.run(n, strconv.AppendInt(nil, x, 10))
				require.Equal(t, x >= lo && x <= lo+width, end != nil && end.min == 0, "%d in [%d, %d]", x, lo, lo+width)
			}
		}
	}
}

// FuzzPattern compares patterns with package regexp.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{`^a|b$`, `(?i)straße`, `\bfoo\b`, `a{2,3}?[^a-c]*`, `^\s*$`, `(?m)^x$`, `.\n`, `\pL+\d`, `^(a*)*$`, `$^`, `\B`, `[[:alpha:]]`, `k`, `(?i)k`} {
		for _, s := range []string{"", "a", "xbax", "foo bar", "a foo", "STRASSE straße", "aaa\n", "x\ny", "É9", "\u212a", "K", "ab\n"} {
			f.Add(p, s)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.Contains(pattern, "(?=") || strings.Contains(pattern, "(?!") || strings.Contains(pattern, "(?<") {
			return // lookarounds, which that package does not have
		}
		re, err := regexp.Compile(pattern)
		d, _, fault := compilePattern(pattern, 300, nil)
		if err != nil {
			require.Error(t, fault)
			return
		}
		if fault != nil {
			require.ErrorIs(t, fault, ErrTooLarge)
			return
		}
		s = strings.ToValidUTF8(s, "?")
		require.Equal(t, re.MatchString(s), d.matches(s), "%q on %q", pattern, s)
		require.Equal(t, re.MatchString(s), d.minimal().matches(s), "%q on %q", pattern, s)
	})
}

// TestSeparators: answers have the layout that the options say, and no other.
func TestSeparators(t *testing.T) {
	const schema = `{"type": "object", "additionalProperties": false, "required": ["a", "b"], "properties": {
		"a": {"const": [1, 2]}, "b": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}}}`
	for _, row := range []struct {
		indent    int
		item, key string
		want      string
	}{
		{0, "", "", `{"a": [1, 2], "b": [true, false]}`},
		{0, ",", ":", `{"a":[1,2],"b":[true,false]}`},
		{0, " , ", " : ", `{"a" : [1 , 2] , "b" : [true , false]}`},
		{1, "", "", "{\n \"a\": [\n  1,\n  2\n ],\n \"b\": [\n  true,\n  false\n ]\n}"},
		{1, ",", ":", "{\n \"a\":[\n  1,\n  2\n ],\n \"b\":[\n  true,\n  false\n ]\n}"},
	} {
		opts := DefaultOptions()
		opts.Indent, opts.ItemSeparator, opts.KeySeparator = row.indent, row.item, row.key
		g, err := Compile([]byte(schema), opts)
		require.NoError(t, err)
		require.True(t, g.Match([]byte(row.want)), row.want)
		require.False(t, g.Match([]byte(strings.Replace(row.want, ":", "::", 1))))
	}
	for _, wrong := range []Options{{ItemSeparator: ";"}, {KeySeparator: "\n:"}, {ItemSeparator: ",,"}, {KeySeparator: strings.Repeat(" ", 20) + ":"}} {
		wrong.MaxStates = 100
		_, err := Compile([]byte(schema), wrong)
		require.ErrorContains(t, err, "separators")
	}
}
