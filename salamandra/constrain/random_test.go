package constrain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// oracle validates answers with a library that shares no code with this one.
func oracle(t testing.TB, schema string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseRegexpEngine(func(text string) (jsonschema.Regexp, error) {
		if re, err := regexp.Compile(text); err == nil {
			return re, nil
		}
		re, err := regexp2.Compile(text, regexp2.ECMAScript)
		return lookPattern{re}, err
	})
	require.NoError(t, c.AddResource("schema.json", doc))
	s, err := c.Compile("schema.json")
	require.NoError(t, err, schema)
	return s
}

// lookPattern is a pattern with lookarounds, which Go's package does not read.
type lookPattern struct{ *regexp2.Regexp }

func (p lookPattern) MatchString(s string) bool {
	ok, err := p.Regexp.MatchString(s)
	return ok && err == nil
}

// requireValid checks an answer with encoding/json and the oracle.
func requireValid(t testing.TB, s *jsonschema.Schema, schema string, answer []byte) {
	t.Helper()
	var x any
	require.NoError(t, json.Unmarshal(answer, &x), "%s\n%s", schema, answer)
	y, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
	require.NoError(t, err)
	require.NoError(t, s.Validate(y), "%s\n%s", schema, answer)
}

// schemaWriter makes random schemas that can be satisfied.
type schemaWriter struct{ *rand.Rand }

func (w schemaWriter) pick(list ...string) string { return list[w.IntN(len(list))] }

// document is a schema, at times with parts that it refers to or chooses from.
func (w schemaWriter) document() string {
	switch w.IntN(8) {
	case 0:
		return fmt.Sprintf(`{"$defs":{"d":%s},"type":"object","properties":{"x":{"$ref":"#/$defs/d"},"y":{"type":"array","items":{"$ref":"#/$defs/d"},"maxItems":2}},"required":["%s"],"additionalProperties":false}`,
			w.schema(2), w.pick("x", "y"))
	case 1:
		return fmt.Sprintf(`{"oneOf":[{"type":"object","required":["t","v"],"properties":{"t":{"const":"a"},"v":%s}},{"type":"object","required":["t"],"properties":{"t":{"enum":["b","c"]},"v":%s}},{"type":"null"}]}`,
			w.schema(2), w.schema(2))
	}
	return w.schema(3)
}

func (w schemaWriter) schema(depth int) string {
	kind := w.IntN(15)
	if depth == 0 {
		kind = w.IntN(7)
	}
	switch kind {
	case 0:
		return w.pick(`{"type":"null"}`, `{"type":"boolean"}`, `{"type":["boolean","null"]}`, `{"const":null}`)
	case 1:
		lo := w.IntN(4000) - 2000
		return fmt.Sprintf(`{"type":%s,"minimum":%d,"exclusiveMaximum":%d}`, w.pick(`"integer"`, `["integer","null"]`), lo, lo+1+w.IntN(3000))
	case 2:
		lo := float64(w.IntN(400)-200) / 8
		return fmt.Sprintf(`{"type":"number","%s":%v,"%s":%v}`, w.pick("minimum", "exclusiveMinimum"), lo, w.pick("maximum", "exclusiveMaximum"), lo+float64(1+w.IntN(90))/16)
	case 3:
		return w.pick(`{"type":"integer"}`, `{"type":"number"}`, `{"type":"number","minimum":0}`, `{"type":"integer","maximum":-5}`)
	case 4:
		return fmt.Sprintf(`{"enum":[%s]}`, w.pick(`"a","ab","abc"`, `null,"é\n",1.5,-0.25`, `{"x":[1,{}]},[],{"x":[1,{"y":"\""}]}`, `"\u0001\"\\",true`))
	case 5:
		lo := w.IntN(6)
		return fmt.Sprintf(`{"type":["string","null"],"minLength":%d,"maxLength":%d}`, lo, lo+w.IntN(30))
	case 6:
		return w.pick(`{"type":"string"}`, `{"type":"string","minLength":1}`, `{"type":"string","format":"date"}`,
			`{"type":"string","pattern":"^[a-zç]{2,4}(-[0-9]+)?$"}`, `{"type":"string","pattern":"[aeiou].\"","maxLength":12}`,
			`{"type":"string","pattern":"\\bfoo\\b|^\\s*$"}`, `{"type":"string","pattern":"^[^\\x00-\\x7f]*$","minLength":2}`)
	case 7:
		lo := w.IntN(3)
		return fmt.Sprintf(`{"type":"array","items":%s,"minItems":%d,"maxItems":%d}`, w.schema(depth-1), lo, lo+w.IntN(4))
	case 8:
		return fmt.Sprintf(`{"type":"array","prefixItems":[%s,%s],"items":%s}`, w.schema(depth-1), w.schema(depth-1), w.pick("false", w.schema(depth-1)))
	case 12:
		return fmt.Sprintf(`{"allOf":[{"type":"object","properties":{"k":%s,"m":{"enum":[1,"x",null]}},"required":["m"]},{"properties":{"k2":%s},"required":["k2"]}],"properties":{"m":{"enum":[null,"x"]}}%s}`,
			w.schema(depth-1), w.schema(depth-1), w.pick("", `,"anyOf":[{"required":["k"]},{"properties":{"m":{"const":null}}}]`))
	case 13:
		return fmt.Sprintf(`{"type":"object","properties":{"m":{"enum":["x","y",3]},"k":{"type":["integer","null","string"]}},"required":[%s],"if":{"properties":{"m":%s}%s},"then":{"properties":{"k":{"type":"string"}}%s},"else":{"properties":{"k":{"type":%s}}}}`,
			w.pick("", `"m"`, `"k"`, `"m","k"`), w.pick(`{"const":"x"}`, `{"enum":[3,"y"]}`, `{"const":"w"}`), w.pick("", `,"required":["m"]`), w.pick("", `,"required":["k"]`), w.pick(`"null"`, `["integer","null"]`))
	case 14:
		return fmt.Sprintf(`{"type":"array","uniqueItems":true,"minItems":%d,"maxItems":%d,"items":%s}`, w.IntN(2), 1+w.IntN(5),
			w.pick(`{"type":"string"}`, `{"type":"string","maxLength":1}`, `{"type":"integer","minimum":-3,"maximum":12}`, `{"type":"string","pattern":"^[ab]{0,2}$"}`, `{"type":["string","null"],"format":"date"}`))
	case 9:
		return fmt.Sprintf(`{"anyOf":[%s,%s]}`, w.schema(depth-1), w.schema(depth-1))
	}
	var properties, required []string
	for i := range 1 + w.IntN(4) {
		name := fmt.Sprintf("%q", w.pick("k", "key", "a b", "ñ")+fmt.Sprint(i))
		properties = append(properties, name+":"+w.schema(depth-1))
		if w.IntN(2) == 0 {
			required = append(required, name)
		}
	}
	return fmt.Sprintf(`{"type":"object","properties":{%s},"required":[%s]%s}`, strings.Join(properties, ","), strings.Join(required, ","), w.pick("", `,"additionalProperties":false`))
}

// wordyVocabulary has all bytes, an end token 256, and tokens that cross the
// borders of strings, characters and escapes.
func wordyVocabulary() *Vocabulary { return wordyWithout("") }

// wordyWithout is wordyVocabulary without tokens for single bytes.
func wordyWithout(bytes string) *Vocabulary {
	texts := [][]byte{}
	for c := range 256 {
		texts = append(texts, []byte{byte(c)})
		if strings.IndexByte(bytes, byte(c)) >= 0 {
			texts[c] = nil
		}
	}
	texts = append(texts, nil)
	for _, s := range []string{
		`": "`, `",`, `"`, `", "`, "\",\n  \"", `{"`, `{}`, `[]`, "[\n", "  ", "    ", `null`, `nul`, `true`, `": `, `": null`, `"key1": `, `\"`, `\u00`,
		`00`, `12`, `123`, `-1`, `.5`, `e+`, `0.`, `é`, "\xc3", "\xa9\"", "é\xe2\x82", `€`, "\xf0\x9f", "\x98\x80", "\xed\xa0", `abc`, `ab`, `foo`, `foo "`, ` foo`,
		`the the the the the the the`, `\n`, `\\`, `\\\"`, `a"`, `b", `, "]\n", "}\n}", "}", `2024-02-29"`, `-02-`, `aeiou`, `ççççç`, "\n", "x", "日本語日本語",
	} {
		texts = append(texts, []byte(s))
	}
	return NewVocabulary(len(texts), func(id int32) ([]byte, bool) { return texts[id], id != 256 }, []int32{256})
}

// ids returns the tokens of a mask.
func ids(m Mask) []int32 {
	var list []int32
	for id := range int32(64 * len(m)) {
		if m.Has(id) {
			list = append(list, id)
		}
	}
	return list
}

// decode writes an answer with choose, and fails where the answer cannot end
// within the budget.
func decode(t testing.TB, g *Grammar, v *Vocabulary, budget int, choose func(m *Matcher, allowed []int32) int32) []byte {
	t.Helper()
	m, err := g.Matcher(v)
	require.NoError(t, err)
	budget = max(budget, m.Shortest())
	var text []byte
	for ; !m.Done(); budget-- {
		mask, err := m.Allowed(budget)
		require.NoError(t, err)
		allowed := ids(mask)
		require.NotEmpty(t, allowed, "dead end after %q", text)
		id := choose(m, allowed)
		require.NoError(t, m.Accept(id), "allowed but not accepted after %q", text)
		text = append(text, v.text[id]...)
		require.True(t, m.ended || budget > 0, "out of budget after %q", text)
	}
	return text
}

// worst takes the token after which the shortest completion is longest, of
// equal ones the longest: it opens all it can and closes nothing.
func worst(m *Matcher, allowed []int32) int32 {
	return slices.MaxFunc(allowed, func(x, y int32) int {
		return weight(m, x) - weight(m, y)
	})
}

func weight(m *Matcher, id int32) int {
	if slices.Contains(m.c.v.end, id) {
		return -1
	}
	return m.after(m.at, id).min<<8 + len(m.c.v.text[id])
}

func TestRandomSchemas(t *testing.T) {
	const seed = 20240607
	t.Logf("seed %d", seed)
	w := schemaWriter{rand.New(rand.NewPCG(seed, 1))}
	v, poor, served := wordyVocabulary(), wordyWithout("\xc3\xe5\xf1\xf2gqz~"), 0
	n := 1000
	if testing.Short() {
		n = 100
	}
	for i := range n {
		schema := w.document()
		g, err := Compile([]byte(schema), Options{Indent: w.IntN(3), MaxStates: 100_000})
		require.NoError(t, err, schema)
		if i%50 == 0 {
			g.b.limit = 20 // states are forgotten all the time
		}
		s := oracle(t, schema)
		anyToken := func(_ *Matcher, allowed []int32) int32 { return allowed[w.IntN(len(allowed))] }
		for _, budget := range []int{0, 40, 150} {
			requireValid(t, s, schema, decode(t, g, v, budget, anyToken))
		}
		// Some bytes are no tokens, as in real vocabularies.
		if _, err := g.Matcher(poor); err == nil {
			served++
			requireValid(t, s, schema, decode(t, g, poor, 60, anyToken))
		}
		requireValid(t, s, schema, decode(t, g, v, 60, worst))
	}
	require.Greater(t, served, n/2)
}

func (w schemaWriter) pickInt(list ...int) int { return list[w.IntN(len(list))] }

// The masks, which are shared between states and made of groups, hold exactly
// the tokens that keep within the grammar and the budget.
func TestMasksAreExact(t *testing.T) {
	w := schemaWriter{rand.New(rand.NewPCG(7, 7))}
	v := wordyVocabulary()
	v.slice(1)
	n := 40
	if os.Getenv("SALAMANDRA_TRIALS") != "" {
		n = 150
	}
	// Names and texts that are free but for some, alone and as one of several.
	schemas := []string{
		`{"type": "object", "properties": {"ab": {"type": "integer"}, "abc": {"type": "null"}, "b": {"type": "string", "pattern": "^[a-c ]+$"}}}`,
		`{"anyOf": [{"type": "object", "properties": {"ab": {"type": "integer"}}}, {"type": "object", "additionalProperties": {"type": "string", "maxLength": 3}}]}`,
		`{"type": "object", "additionalProperties": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "string", "pattern": "^(ab)+$"}, {"enum": ["abc", "b"]}]}}`,
		`{"type": "array", "uniqueItems": true, "maxItems": 3, "items": {"anyOf": [{"type": "string", "pattern": "^[ab]+$"}, {"type": "string", "maxLength": 2}]}}`,
		`{"anyOf": [{"not": {"enum": ["a", "ab"]}, "type": "string"}, {"type": "string", "pattern": "^a.*b$"}]}`,
	}
	for len(schemas) < n {
		schemas = append(schemas, w.schema(2))
	}
	for _, schema := range schemas {
		opts := DefaultOptions()
		opts.Whitespace = w.pickInt(0, 0, 2)
		g := mustCompile(t, schema, opts)
		g.b.limit = w.pickInt(20, 100_000)
		decode(t, g, v, 60, func(m *Matcher, allowed []int32) int32 {
			for _, budget := range []int{Unlimited, m.Shortest(), m.Shortest() + 3, Unlimited} {
				mask, err := m.Allowed(budget)
				require.NoError(t, err)
				for id := range int32(v.size) {
					next := m.after(m.at, id)
					if want := next != nil && m.c.cost(next) < budget || id == 256 && m.Complete(); want != mask.Has(id) {
						t.Fatalf("token %d %q: %v, want %v, budget %d of %s", id, v.text[id], !want, want, budget, schema)
					}
				}
			}
			return allowed[w.IntN(len(allowed))]
		})
	}
}

// FuzzAnswers writes the answer to a schema under a budget, both from the
// fuzzer's numbers, and asks the oracle.
func FuzzAnswers(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint8(7*seed), []byte{byte(seed), 1, 200, 30})
	}
	v := wordyVocabulary()
	f.Fuzz(func(t *testing.T, seed uint64, budget uint8, choices []byte) {
		w := schemaWriter{rand.New(rand.NewPCG(seed, 3))}
		schema := w.document()
		g, err := Compile([]byte(schema), Options{Indent: w.IntN(3), MaxStates: 100_000})
		require.NoError(t, err, schema)
		at := 0
		answer := decode(t, g, v, int(budget), func(_ *Matcher, allowed []int32) int32 {
			if len(choices) == 0 {
				return allowed[0]
			}
			at++
			return allowed[int(choices[at%len(choices)])*len(allowed)/256]
		})
		requireValid(t, oracle(t, schema), schema, answer)
		require.True(t, g.Match(answer), "%s\n%s", schema, answer)
	})
}
