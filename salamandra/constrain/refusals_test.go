package constrain

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRefusals: every reason for a refusal says what is wrong, where, and what is
// taken instead; and that is taken.
func TestRefusals(t *testing.T) {
	const draft7, draft19 = `"$schema":"http://json-schema.org/draft-07/schema#"`, `"$schema":"https://json-schema.org/draft/2019-09/schema"`
	const draft20 = `"$schema":"https://json-schema.org/draft/2020-12/schema"`
	repeat := func(n int, format string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(list, ",")
	}
	strict := func(o Options) Options { o.Strict = true; return o }
	strange := func(o Options) Options { return UntrustedOptions() }
	hasty := func(o Options) Options { o.Timeout = time.Nanosecond; return o }
	rows := map[reason]struct {
		schema, pointer, nearest string
		opts                     func(Options) Options
	}{
		badJSON:             {`{"type":"null","type":"null"}`, "", `{"type":"null"}`, nil},
		badSchema:           {`{"properties":{"a":null}}`, "/properties/a", `{"properties":{"a":{"const":null}}}`, nil},
		badKeyword:          {`{"maxLength":"3"}`, "/maxLength", `{"maxLength":3}`, nil},
		badType:             {`{"type":"int"}`, "/type", `{"type":"integer"}`, nil},
		badCount:            {`{"minItems":-1}`, "/minItems", `{"minItems":0}`, nil},
		badLimit:            {`{"minimum":1e999}`, "/minimum", `{"minimum":1e99}`, nil},
		badMultiple:         {`{"multipleOf":0}`, "/multipleOf", `{"multipleOf":2}`, nil},
		badList:             {`{"anyOf":[]}`, "/anyOf", `{"anyOf":[true]}`, nil},
		badRequired:         {`{"required":[1]}`, "/required", `{"required":["1"]}`, nil},
		oldBoolean:          {`{` + draft7 + `,"minimum":3,"exclusiveMinimum":true}`, "/exclusiveMinimum", `{` + draft7 + `,"exclusiveMinimum":3}`, nil},
		oldItems:            {`{` + draft20 + `,"items":[true]}`, "/items", `{` + draft20 + `,"prefixItems":[true]}`, nil},
		unknownDialect:      {`{"$schema":"http://json-schema.org/draft-03/schema#"}`, "/$schema", `{` + draft7 + `}`, nil},
		unknownKeyword:      {`{"maxLenght":3}`, "/maxLenght", `{"x-maxLenght":3}`, strict},
		unknownFormat:       {`{"format":"int32"}`, "/format", `{"pattern":"^[0-9]{1,9}$"}`, strict},
		longNumber:          {`{"minimum":0.0000000000000000000001}`, "", `{"minimum":0.00000000000001}`, nil},
		deepReference:       {`{"allOf":[{"$ref":"#"}]}`, "", `{"properties":{"a":{"$ref":"#"}}}`, nil},
		lostReference:       {`{"$ref":"a.json"}`, "/$ref", `{"$defs":{"a":{"$id":"a.json"}},"$ref":"a.json"}`, nil},
		dynamicReference:    {`{"$dynamicAnchor":"x","$defs":{"b":{"$id":"b","$dynamicAnchor":"x"}},"items":{"$dynamicRef":"b#x"}}`, "/items/$dynamicRef", `{"$defs":{"a":{"$anchor":"x"}},"$ref":"#x"}`, nil},
		recursiveReference:  {`{` + draft19 + `,"$recursiveAnchor":true,"properties":{"a":{"$id":"b","$recursiveAnchor":true,"items":{"$recursiveRef":"#"}}}}`, "/properties/a/items/$recursiveRef", `{` + draft19 + `,"$recursiveAnchor":true,"properties":{"a":{"$id":"b","items":{"$recursiveRef":"#"}}}}`, nil},
		badPattern:          {`{"pattern":"(a)\\1"}`, "/pattern", `{"enum":["aa"]}`, nil},
		largePattern:        {`{"pattern":"a.{15}$"}`, "/pattern", `{"pattern":"a.{5}$"}`, nil},
		largeNames:          {`{"type":"object","patternProperties":{"a.{9}$":true,"b.{8}$":{"type":"null"},"c.{9}$":{"type":"null"}}}`, "/patternProperties", `{"type":"object","patternProperties":{"a.$":true,"b.$":{"type":"null"}}}`, nil},
		manyAlternatives:    {`{"allOf":[` + repeat(10, `{"anyOf":[{"required":["a%[1]d"]},{"required":["b%[1]d"]}]}`) + `]}`, "", `{"anyOf":[` + repeat(20, `{"required":["a%d"]}`) + `]}`, nil},
		manyMembers:         {`{"type":"object","allOf":[` + repeat(5, `{"not":{"patternProperties":{"^%d":{"type":"null"}}}}`) + `]}`, "", `{"type":"object","required":["0","1","2","3","4"]}`, nil},
		manyBytes:           {`{"title":"` + strings.Repeat("x", 70_000) + `"}`, "", `{"title":"x"}`, strange},
		manyStates:          {`{"type":"array","minItems":20000,"items":{"type":"array","minItems":20000}}`, "", `{"type":"array","minItems":20}`, nil},
		highCount:           {`{"minItems":60000}`, "/minItems", `{"minItems":60}`, nil},
		lateSchema:          {`{"type":"object","properties":{` + repeat(300, `"k%d":{"type":"string","pattern":"^a{%[1]d}b"}`) + `}}`, "", `{"type":"object"}`, hasty},
		oppositeUnique:      {`{"not":{"uniqueItems":true}}`, "/not/uniqueItems", `{"type":"array","items":{"type":"string"},"uniqueItems":true,"not":{"minItems":3}}`, nil},
		oppositeUnevaluated: {`{"not":{"unevaluatedItems":false}}`, "/not/unevaluatedItems", `{"not":{"items":false}}`, nil},
		unevaluatedChoice:   {`{"anyOf":[{"properties":{"a":true}},{"properties":{"b":true}}],"unevaluatedProperties":false,"not":{"required":["c"]}}`, "", `{"anyOf":[{"properties":{"a":true},"additionalProperties":false},{"properties":{"b":true},"additionalProperties":false}],"not":{"required":["c"]}}`, nil},
		unevaluatedContains: {`{"contains":{"const":1},"unevaluatedItems":false}`, "/unevaluatedItems", `{"contains":{"const":1},"items":{"const":1}}`, nil},
		uniqueForms:         {`{"type":"array","items":{"type":"string"},"uniqueItems":true,"minItems":2}`, "/uniqueItems", `{"type":"array","items":{"enum":["a","b","c"]},"uniqueItems":true,"minItems":2}`, nil},
		manyContains:        {`{"type":"array","contains":{"const":1},"uniqueItems":true}`, "/contains", `{"type":"array","contains":{"const":1}}`, nil},
		wideMultiple:        {`{"type":"integer","multipleOf":1234567}`, "/multipleOf", `{"type":"integer","multipleOf":1000}`, nil},
		doubleNames:         {`{"type":"object","minProperties":3}`, "/minProperties", `{"type":"object","properties":{"a":true,"b":true},"minProperties":3}`, nil},
		noValue:             {`{"type":"string","enum":[1]}`, "", `{"type":"string","enum":["1"]}`, nil},
	}
	require.Len(t, rows, int(lastReason), "a row for each reason")
	for why, row := range rows {
		opts := DefaultOptions()
		if row.opts != nil {
			opts = row.opts(opts)
		}
		_, err := Compile([]byte(row.schema), opts)
		var all *CompileError
		require.True(t, errors.As(err, &all), "%.80s: %v", row.schema, err)
		f := all.Faults[0]
		say := refusals[why]
		require.ErrorIs(t, f, say.cause, row.schema)
		require.Equal(t, row.pointer, f.Pointer, "%.80s: %v", row.schema, f)
		require.Contains(t, f.Error(), "; want "+f.Instead)
		words, _, _ := strings.Cut(say.instead, "%")
		require.True(t, say.instead != "" && strings.HasPrefix(f.Instead, words), "%.80s: %v", row.schema, f)
		require.NotContains(t, f.Error(), "%!", row.schema)
		_, err = Compile([]byte(row.nearest), opts)
		require.NoError(t, err, row.nearest)
	}
}
