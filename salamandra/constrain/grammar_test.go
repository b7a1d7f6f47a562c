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
		{name: "beside ref", schema: `{"$defs":{"a":{"type":"null"}},"$ref":"#/$defs/a","maxLength":3}`, cause: ErrUnsupported, places: []string{"/$ref"}, reason: "both would have to hold"},
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
		d, fault := compilePattern(pattern, 300)
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
