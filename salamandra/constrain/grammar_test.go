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
			yes: []string{`"2024-02-29"`, `"2000-02-29"`, `"1999-12-31"`, `"0000-01-01"`}, no: []string{`"2023-02-29"`, `"1900-02-29"`, `"2024-04-31"`, `"2024-00-10"`, `"24-01-01"`, `"2024-13-01"`},
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
		{name: "const and enum", schema: `{"const":1.0,"enum":[1,2]}`, yes: []string{`1`}, no: []string{`2`, `1.0`}, reason: "equal numbers are equal"},
		{name: "tuple", schema: `{"type":"array","prefixItems":[{"const":1},{"const":2}],"items":{"const":3},"minItems":1,"maxItems":4}`,
			yes: []string{`[1]`, `[1, 2]`, `[1, 2, 3, 3]`}, no: []string{`[]`, `[2]`, `[1, 2, 3, 3, 3]`, `[1, 3]`}, reason: "first the tuple, then items"},
		{name: "open tuple", schema: `{"type":"array","prefixItems":[{"const":1}]}`, yes: []string{`[]`, `[1]`}, no: []string{`[1, 1]`}, reason: "no items beyond what is described"},
		{name: "ref", schema: `{"$defs":{"a/b":{"type":"null"}},"type":"array","items":{"$ref":"#/$defs/a~1b"},"maxItems":1}`,
			yes: []string{`[null]`}, no: []string{`[null, null]`}, reason: "JSON pointers are unescaped"},
		{name: "oneOf", schema: `{"oneOf":[{"type":"object","required":["t"],"properties":{"t":{"const":"x"}}},{"type":"object","required":["t"],"properties":{"t":{"enum":["y","z"]}}},{"type":"null"}]}`,
			yes: []string{`{"t": "x"}`, `{"t": "z"}`, `null`}, no: []string{`{"t": "w"}`, `{}`}, reason: "told apart by a required property"},
		{name: "implied type", schema: `{"minLength":1}`, yes: []string{`"a"`}, no: []string{`""`, `1`}, reason: "a keyword's type is written where none is given"},
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
		{name: "all at once", schema: `{"type":"object","properties":{"a":{"type":"array","items":{"type":"null"},"uniqueItems":true},"b/c":{"not":{}},"d":{"type":"string","format":"email"}},"minProperties":1}`,
			cause: ErrUnsupported, places: []string{"/minProperties", "/properties/a/uniqueItems", "/properties/b~1c/not", "/properties/d/format"}, reason: "every keyword by its pointer"},
		{name: "misspelt", schema: `{"type":"string","maxLenght":3}`, cause: ErrUnsupported, places: []string{"/maxLenght"}, reason: "an unknown keyword may be a mistake"},
		{name: "multipleOf", schema: `{"type":"integer","multipleOf":3}`, cause: ErrUnsupported, places: []string{"/multipleOf"}, reason: "not enforced"},
		{name: "anything", schema: `{"type":"array","items":true}`, cause: ErrUnsupported, places: []string{"/items"}, reason: "any value has no bounded depth"},
		{name: "no type", schema: `{}`, cause: ErrUnsupported, places: []string{""}, reason: "any value"},
		{name: "no items", schema: `{"type":"array"}`, cause: ErrUnsupported, places: []string{""}, reason: "items of any value"},
		{name: "no properties", schema: `{"type":"object"}`, cause: ErrUnsupported, places: []string{""}, reason: "members of any name"},
		{name: "map", schema: `{"type":"object","properties":{},"additionalProperties":{"type":"null"}}`, cause: ErrUnsupported, places: []string{"/additionalProperties"}, reason: "keys are those of properties"},
		{name: "unlisted", schema: `{"type":"object","properties":{},"required":["a"]}`, cause: ErrUnsupported, places: []string{"/required/0"}, reason: "nothing says what a is"},
		{name: "recursive", schema: `{"type":"array","items":{"$ref":"#"}}`, cause: ErrUnsupported, places: []string{"/items/$ref"}, reason: "not regular"},
		{name: "remote", schema: `{"$ref":"http://a/b"}`, cause: ErrUnsupported, places: []string{"/$ref"}, reason: "nothing is fetched"},
		{name: "dangling", schema: `{"$ref":"#/$defs/a"}`, cause: ErrUnsupported, places: []string{"/$ref"}, reason: "nothing there"},
		{name: "two patterns", schema: `{"allOf":[{"type":"string","pattern":"a"},{"pattern":"b"}]}`, cause: ErrUnsupported, places: []string{"/allOf/1/pattern"}, reason: "their intersection is not formed"},
		{name: "if of a pattern", schema: `{"type":"object","properties":{"a":{"type":"string"}},"if":{"properties":{"a":{"pattern":"x"}}},"then":{"required":["a"]}}`, cause: ErrUnsupported, places: []string{"/if"}, reason: "what is left without x is not regular here"},
		{name: "recursive beside", schema: `{"type":"object","properties":{"a":{"$ref":"#","maxItems":2}}}`, cause: ErrUnsupported, places: []string{"/properties/a"}, reason: "not regular"},
		{name: "loop", schema: `{"$ref":"#","maxLength":2}`, cause: ErrUnsupported, places: []string{"/$ref"}, reason: "leads nowhere"},
		{name: "too many", schema: `{"allOf":[` + strings.Repeat(`{"anyOf":[{"minLength":1},{"minLength":2},{"maxLength":9}]},`, 4) + `{"type":"string"}]}`, cause: ErrTooLarge, places: []string{"/allOf/3/anyOf"}, reason: "81 alternatives"},
		{name: "all contradict", schema: `{"allOf":[{"type":"string"},{"type":"null"}]}`, cause: ErrUnsatisfiable, places: []string{""}, reason: "no value has two types"},
		{name: "overlap", schema: `{"oneOf":[{"type":"integer"},{"type":"number"}]}`, cause: ErrUnsupported, places: []string{"/oneOf"}, reason: "1 is both"},
		{name: "overlapping objects", schema: `{"oneOf":[{"type":"object","properties":{"a":{"const":1}}},{"type":"object","properties":{"a":{"const":2}}}]}`, cause: ErrUnsupported, places: []string{"/oneOf"}, reason: "{} is both"},
		{name: "look-ahead", schema: `{"type":"string","pattern":"a(?=b)"}`, cause: ErrUnsupported, places: []string{"/pattern"}, reason: "not regular in RE2"},
		{name: "large pattern", schema: `{"type":"string","pattern":"a.{15}$"}`, cause: ErrTooLarge, places: []string{"/pattern"}, reason: "65,536 states"},
		{name: "long", schema: `{"type":"string","minLength":100000}`, cause: ErrTooLarge, places: []string{"/minLength"}, reason: "longer than any answer"},
		{name: "dialect", schema: `{"$schema":"http://json-schema.org/draft-07/schema#","type":"null"}`, cause: ErrUnsupported, places: []string{"/$schema"}, reason: "other drafts mean other things"},
		{name: "contradiction", schema: `{"type":"object","properties":{"a":{"type":"integer","minimum":3,"maximum":2},"b":{"type":"string","pattern":"^ab$","maxLength":1}}}`, cause: ErrUnsatisfiable, places: []string{"/properties/a", "/properties/b"}, reason: "no value"},
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
		re, err := regexp.Compile(pattern)
		d, fault := compilePattern(pattern, 300, nil)
		if err != nil {
			require.ErrorIs(t, fault, ErrUnsupported)
			return
		}
		if fault != nil {
			require.ErrorIs(t, fault, ErrTooLarge)
			return
		}
		s = strings.ToValidUTF8(s, "?")
		q := 0
		for _, r := range s {
			for c, ranges := range d.classes {
				if in(ranges, r) {
					q = d.next[q][c]
					break
				}
			}
		}
		require.Equal(t, re.MatchString(s), d.accept[q], "%q on %q", pattern, s)
	})
}

func in(ranges []runeRange, r rune) bool {
	for _, x := range ranges {
		if x.lo <= r && r <= x.hi {
			return true
		}
	}
	return false
}
