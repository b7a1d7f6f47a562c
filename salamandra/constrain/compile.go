package constrain

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Options say how answers are written.
type Options struct {
	// Indent is the number of spaces of one level. Answers are laid out as
	// json.dumps(x, indent=Indent, ensure_ascii=False) of Python writes them; 0
	// means one line with ", " and ": ", as json.dumps without indent writes.
	Indent int
	// Constants are values known from the request, by path: the names of
	// properties joined by dots, "meta.original_query"; the items of an array
	// are "[]", as in "organisations[].name". A property with a constant is
	// always written, with that value in canonical form.
	Constants map[string]json.RawMessage
	// MaxStates bounds the states of a pattern with its length limits, the
	// length of the shortest answer, minItems, and how many states of the
	// automaton are kept; those forgotten are made anew when needed.
	MaxStates int
}

// DefaultOptions returns an indent of 2, no constants, and 50,000 states.
func DefaultOptions() Options { return Options{Indent: 2, MaxStates: 50_000} }

// Grammar is a compiled schema: the set of the texts that may be answered.
// Its methods, and matchers made from it, may be used from several goroutines.
type Grammar struct {
	b      *builder
	schema *value
	opts   Options
	start  *node
	needed [256]bool // bytes that an answer may hold
}

// Compile reads a JSON Schema. See the package documentation for the keywords
// that it enforces. Its error is a *CompileError with all faults of schema and
// constants, unless it is about an indent not from 0 to 16 or a MaxStates below 1.
func Compile(schema []byte, opts Options) (*Grammar, error) {
	if opts.Indent < 0 || opts.Indent > 16 || opts.MaxStates < 1 {
		return nil, fmt.Errorf("constrain: indent %d, want 0 to 16, and max states %d, want 1 or more", opts.Indent, opts.MaxStates)
	}
	root, err := parseValue(schema)
	if err != nil {
		return nil, &CompileError{[]*Fault{{Cause: ErrMalformed, Detail: err.Error()}}}
	}
	return compile(newBuilder(opts.MaxStates), root, opts)
}

// With returns the grammar of the same schema with other constants, in the place
// of those it was compiled with. It shares what is cached with g, so that a
// grammar for each request costs little. Its error is a *CompileError.
func (g *Grammar) With(constants map[string]json.RawMessage) (*Grammar, error) {
	opts := g.opts
	opts.Constants = constants
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	return compile(g.b, g.schema, opts)
}

func compile(b *builder, root *value, opts Options) (*Grammar, error) {
	c := &compiler{
		b: b, root: root, layout: layout{opts.Indent}, maxStates: opts.MaxStates,
		constants: map[string]*value{}, used: map[string]bool{},
		pointers: map[*value]string{}, active: map[*value]bool{}, memo: map[memoKey]*node{},
	}
	c.locate(root, "")
	for _, path := range slices.Sorted(maps.Keys(opts.Constants)) {
		v, err := parseValue(opts.Constants[path])
		if err != nil {
			c.faults = append(c.faults, &Fault{path, ErrConstant, err.Error()})
			continue
		}
		c.constants[path] = v
	}
	start := c.schema(root, 0, "")
	for _, path := range slices.Sorted(maps.Keys(c.constants)) {
		if !c.used[path] {
			c.faults = append(c.faults, &Fault{path, ErrConstant, "the schema has no property with this path"})
		}
	}
	if len(c.faults) == 0 && start.min > opts.MaxStates {
		c.fault(root, "", ErrTooLarge, "the shortest answer is longer than %d bytes", opts.MaxStates)
	}
	if len(c.faults) > 0 {
		return nil, &CompileError{c.faults}
	}
	g := &Grammar{b: b, schema: root, opts: opts, start: start}
	alphabet(start, map[*node]bool{}, &g.needed)
	return g, nil
}

// compiler turns schemas into nodes.
type compiler struct {
	b         *builder
	root      *value
	layout    layout
	maxStates int
	constants map[string]*value
	used      map[string]bool // constants with a place
	pointers  map[*value]string
	active    map[*value]bool // schemas around the present one
	memo      map[memoKey]*node
	faults    []*Fault
}

type memoKey struct {
	v     *value
	depth int
	path  string // "" if no constant lies below
}

// locate notes the JSON pointer of every value.
func (c *compiler) locate(v *value, pointer string) {
	c.pointers[v] = pointer
	for _, m := range v.members {
		c.locate(m.value, pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(m.name))
	}
	for i, x := range v.items {
		c.locate(x, pointer+"/"+strconv.Itoa(i))
	}
}

// fault notes a fault at keyword of v, at v itself if it is "".
func (c *compiler) fault(v *value, keyword string, cause error, format string, args ...any) {
	f := &Fault{c.pointers[v], cause, fmt.Sprintf(format, args...)}
	if keyword != "" {
		f.Pointer += "/" + keyword
	}
	if !slices.ContainsFunc(c.faults, func(g *Fault) bool { return *g == *f }) {
		c.faults = append(c.faults, f)
	}
}

// schema returns the values of a schema whose first line is indented to depth.
// After a fault the result is any node.
func (c *compiler) schema(v *value, depth int, path string) *node {
	if v.kind == "boolean" {
		if v.text == "true" {
			c.fault(v, "", ErrUnsupported, "true allows any value")
			return c.b.empty
		}
		return c.b.fail
	}
	if v.kind != "object" {
		c.fault(v, "", ErrMalformed, "a schema is an object or a boolean, not %s", v.kind)
		return c.b.empty
	}
	k := memoKey{v, depth, ""}
	for p := range c.constants {
		if path == "" || strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			k.path = path
		}
	}
	if n, ok := c.memo[k]; ok {
		return n
	}
	c.active[v] = true
	before := len(c.faults)
	n := c.keywords(v, depth, path)
	if n.op == opFail && len(c.faults) == before {
		c.fault(v, "", ErrUnsatisfiable, "its keywords contradict each other")
	}
	if len(c.faults) > before {
		n = c.b.empty
	}
	delete(c.active, v)
	c.memo[k] = n
	return n
}

// ignored are keywords that assert nothing.
var ignored = []string{
	"$schema", "$comment", "$defs", "definitions", "title", "description", "default", "examples",
	"deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema",
}

// typesOf says which types a keyword speaks of.
var typesOf = map[string]string{
	"minLength": "string", "maxLength": "string", "pattern": "string", "format": "string",
	"minimum": "number", "maximum": "number", "exclusiveMinimum": "number", "exclusiveMaximum": "number",
	"items": "array", "prefixItems": "array", "minItems": "array", "maxItems": "array",
	"properties": "object", "required": "object", "additionalProperties": "object",
}

// keywords returns the values of a schema that is an object.
func (c *compiler) keywords(v *value, depth int, path string) *node {
	before := len(c.faults)
	var applicators, assertions []string
	for _, m := range v.members {
		switch m.name {
		case "$ref", "anyOf", "oneOf", "allOf":
			applicators = append(applicators, m.name)
		case "type", "enum", "const":
			assertions = append(assertions, m.name)
		case "$id":
			if v != c.root {
				c.fault(v, "$id", ErrUnsupported, "$id below the root")
			}
		default:
			if typesOf[m.name] != "" {
				assertions = append(assertions, m.name)
			} else if !slices.Contains(ignored, m.name) && !strings.HasPrefix(m.name, "x-") {
				c.fault(v, m.name, ErrUnsupported, "%s", m.name)
			}
		}
	}
	if s := v.get("$schema"); s != nil && strings.TrimSuffix(s.text, "#") != "https://json-schema.org/draft/2020-12/schema" {
		c.fault(v, "$schema", ErrUnsupported, "dialect %q, want draft 2020-12", s.text)
	}
	if len(applicators) > 0 {
		name := applicators[0]
		if others := append(applicators[1:], assertions...); len(others) > 0 {
			c.fault(v, name, ErrUnsupported, "%s beside %s", name, strings.Join(others, ", "))
		}
		return c.applicator(v, name, depth, path)
	}
	if len(assertions) == 0 && len(c.faults) > before {
		return c.b.empty // that it has no type may be because of those
	}
	if list, ok := c.listed(v); ok {
		return c.finite(v, list, assertions, depth, path)
	}
	return c.typed(v, c.types(v, assertions), depth, path)
}

// applicator returns the values of the only asserting keyword of v.
func (c *compiler) applicator(v *value, name string, depth int, path string) *node {
	x := v.get(name)
	if name == "$ref" {
		target, err := c.resolve(x)
		if err != nil {
			c.fault(v, name, ErrUnsupported, "%v", err)
			return c.b.empty
		}
		if c.active[target] {
			c.fault(v, name, ErrUnsupported, "recursive $ref %q", x.text)
			return c.b.empty
		}
		return c.schema(target, depth, path)
	}
	if x.kind != "array" || len(x.items) == 0 {
		c.fault(v, name, ErrMalformed, "want an array with at least one schema")
		return c.b.empty
	}
	if name == "allOf" && len(x.items) > 1 {
		c.fault(v, name, ErrUnsupported, "allOf of more than one schema")
	}
	var list []*node
	for i, s := range x.items {
		list = append(list, c.schema(s, depth, path))
		for j, t := range x.items[:i] {
			if name == "oneOf" && !c.disjoint(s, t, 0) {
				c.fault(v, name, ErrUnsupported, "oneOf whose schemas %d and %d may both be valid: they differ neither in type, const or enum, nor in those of a required property", j, i)
			}
		}
	}
	return c.b.alt(list...)
}

// resolve finds the schema that a $ref names by a JSON pointer.
func (c *compiler) resolve(ref *value) (*value, error) {
	pointer, ok := strings.CutPrefix(ref.text, "#")
	if pointer, err := url.PathUnescape(pointer); ok && err == nil && (pointer == "" || pointer[0] == '/') {
		v := c.root
		for _, name := range strings.Split(pointer, "/")[1:] {
			name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
			next := v.get(name)
			if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(v.items) {
				next = v.items[i]
			}
			if next == nil {
				return nil, fmt.Errorf("$ref %q: nothing there", ref.text)
			}
			v = next
		}
		return v, nil
	}
	return nil, fmt.Errorf("$ref %q, want a JSON pointer into this schema, such as #/$defs/name", ref.text)
}

// listed returns the values of enum and const.
func (c *compiler) listed(v *value) ([]*value, bool) {
	enum, constant := v.get("enum"), v.get("const")
	if enum == nil {
		return []*value{constant}, constant != nil
	}
	if enum.kind != "array" || len(enum.items) == 0 {
		c.fault(v, "enum", ErrMalformed, "want an array with at least one value")
	}
	list := enum.items
	if constant != nil {
		list = slices.DeleteFunc(slices.Clone(list), func(x *value) bool { return !x.equal(constant) })
	}
	return list, true
}

// finite returns those of the listed values that the other keywords allow.
func (c *compiler) finite(v *value, list []*value, assertions []string, depth int, path string) *node {
	others := slices.DeleteFunc(assertions, func(s string) bool { return s == "enum" || s == "const" })
	rest := c.b.empty
	if len(others) > 0 {
		rest = c.typed(v, c.types(v, others), depth, path)
	}
	var nodes []*node
	for _, x := range list {
		text := c.layout.append(nil, x, depth)
		if len(others) > 0 {
			if end := c.b.run(rest, text); end == nil || end.min != 0 {
				continue
			}
		}
		nodes = append(nodes, c.b.literal(string(text)))
	}
	return c.b.alt(nodes...)
}

// types returns the types that v allows: those of type, or else those that its
// keywords speak of.
func (c *compiler) types(v *value, assertions []string) []string {
	var list []string
	if t := v.get("type"); t == nil {
		for _, name := range assertions {
			list = append(list, typesOf[name])
		}
	} else if t.kind == "string" {
		list = []string{t.text}
	} else {
		for _, x := range t.items {
			list = append(list, x.text)
		}
	}
	known := []string{"null", "boolean", "integer", "number", "string", "array", "object"}
	for _, t := range list {
		if !slices.Contains(known, t) {
			c.fault(v, "type", ErrMalformed, "type %q, want one or several of %s", t, strings.Join(known, ", "))
		}
	}
	if len(list) == 0 {
		c.fault(v, "", ErrUnsupported, "no type: any value is allowed")
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// typed returns the values of the types that the keywords of v allow.
func (c *compiler) typed(v *value, types []string, depth int, path string) *node {
	var list []*node
	for _, t := range types {
		switch t {
		case "null":
			list = append(list, c.b.literal("null"))
		case "boolean":
			list = append(list, c.b.literal("false"), c.b.literal("true"))
		case "integer", "number":
			list = append(list, c.number(v, t == "integer"))
		case "string":
			list = append(list, c.string(v))
		case "array":
			list = append(list, c.array(v, depth, path))
		case "object":
			list = append(list, c.object(v, depth, path))
		}
	}
	return c.b.alt(list...)
}

// bound reads a keyword that is a count.
func (c *compiler) bound(v *value, keyword string, without int) int {
	x := v.get(keyword)
	if x == nil {
		return without
	}
	n, ok := x.number()
	if !ok || !n.IsInt() || n.Sign() < 0 {
		c.fault(v, keyword, ErrMalformed, "%s: want an integer of 0 or more", keyword)
		return without
	}
	if n.Cmp(big.NewRat(unbounded-2, 1)) > 0 {
		n.SetInt64(unbounded - 2)
	}
	if m := int(n.Num().Int64()); strings.HasPrefix(keyword, "max") || m <= c.maxStates {
		return m
	}
	c.fault(v, keyword, ErrTooLarge, "%s above %d", keyword, c.maxStates)
	return without
}

// number returns the numbers that v allows.
func (c *compiler) number(v *value, integer bool) *node {
	var lo, hi limit
	for _, k := range []struct {
		keyword string
		limit   *limit
		open    bool
		sign    int
	}{{"minimum", &lo, false, 1}, {"exclusiveMinimum", &lo, true, 1}, {"maximum", &hi, false, -1}, {"exclusiveMaximum", &hi, true, -1}} {
		x := v.get(k.keyword)
		if x == nil {
			continue
		}
		n, ok := x.number()
		if !ok {
			c.fault(v, k.keyword, ErrUnsupported, "%s: want a number of at most 100 digits and with an exponent of at most 100", k.keyword)
			continue
		}
		// The stricter limit holds, of equal ones the open one, which comes second.
		if k.limit.v == nil || n.Cmp(k.limit.v)*k.sign > 0 || k.open && n.Cmp(k.limit.v) == 0 {
			*k.limit = limit{n, k.open}
		}
	}
	if !integer {
		n, err := c.b.numbers(lo, hi)
		if err != nil {
			c.fault(v, "", ErrUnsupported, "minimum or maximum with more than %d digits after the point", fractionDigits)
			return c.b.empty
		}
		return n
	}
	return c.b.integers(wholeAbove(lo), wholeBelow(hi))
}

// wholeAbove returns the least integer that l, a lower limit, allows.
func wholeAbove(l limit) *big.Int {
	if l.v == nil {
		return nil
	}
	n := wholeBelow(limit{new(big.Rat).Neg(l.v), l.open})
	return n.Neg(n)
}

// wholeBelow returns the greatest integer that l, an upper limit, allows.
func wholeBelow(l limit) *big.Int {
	if l.v == nil {
		return nil
	}
	n := new(big.Int).Div(l.v.Num(), l.v.Denom()) // rounds down
	if l.open && l.v.IsInt() {
		n.Sub(n, big.NewInt(1))
	}
	return n
}

// string returns the strings that v allows.
func (c *compiler) string(v *value) *node {
	k := stringKey{lo: c.bound(v, "minLength", 0), hi: c.bound(v, "maxLength", unbounded)}
	keyword := "pattern"
	if x := v.get("pattern"); x != nil {
		if x.kind != "string" {
			c.fault(v, "pattern", ErrMalformed, "want a string")
		}
		k.pattern = x.text
	}
	if x := v.get("format"); x != nil {
		keyword = "format"
		switch {
		case x.text != "date":
			c.fault(v, "format", ErrUnsupported, "format %q, want date", x.text)
		case k.pattern != "":
			c.fault(v, "format", ErrUnsupported, "format beside pattern")
		}
		k.pattern = datePattern
	}
	s, err := c.b.stringRuleOf(k)
	if err != nil {
		cause := ErrUnsupported
		if errors.Is(err, ErrTooLarge) {
			cause = ErrTooLarge
		}
		c.fault(v, keyword, cause, "%s: %v", keyword, err)
		return c.b.empty
	}
	return c.b.pair(c.b.literal(`"`), s.node(c.b))
}

// datePattern is RFC 3339's full-date, the 29th of February in leap years only.
const datePattern = `^([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))` +
	`|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)$`

// array returns the arrays that v allows.
func (c *compiler) array(v *value, depth int, path string) *node {
	var prefix []*node
	if x := v.get("prefixItems"); x != nil {
		if x.kind != "array" || len(x.items) == 0 {
			c.fault(v, "prefixItems", ErrMalformed, "want an array with at least one schema")
		}
		for _, s := range x.items {
			prefix = append(prefix, c.schema(s, depth+1, path+"[]"))
		}
	}
	lo, hi := c.bound(v, "minItems", 0), c.bound(v, "maxItems", unbounded)
	item := c.b.fail
	if x := v.get("items"); x != nil {
		item = c.schema(x, depth+1, path+"[]")
	} else if prefix == nil && hi > 0 {
		c.fault(v, "", ErrUnsupported, "no items: an array of any values is allowed")
	}
	a := newArrayRule(prefix, item, lo, hi, c.layout, depth)
	return c.b.pair(c.b.literal("["), c.b.ruled(itemsFrom{a, 0}))
}

// object returns the objects that v allows.
func (c *compiler) object(v *value, depth int, path string) *node {
	properties, closed := v.get("properties"), v.get("additionalProperties")
	if closed != nil && closed.kind != "boolean" {
		c.fault(v, "additionalProperties", ErrUnsupported, "additionalProperties with a schema")
	}
	if properties == nil {
		properties = &value{kind: "object"}
		if closed == nil || closed.text != "false" {
			c.fault(v, "", ErrUnsupported, "no properties: an object with any members is allowed")
		}
	}
	if properties.kind != "object" {
		c.fault(v, "properties", ErrMalformed, "want an object")
	}
	required := map[string]bool{}
	if x := v.get("required"); x != nil {
		for i, name := range x.items {
			if properties.get(name.text) == nil {
				c.fault(v, "required/"+strconv.Itoa(i), ErrUnsupported, "required property %q, which properties does not list", name.text)
			}
			required[name.text] = true
		}
	}
	var members []objectMember
	for _, m := range properties.members {
		at := m.name
		if path != "" {
			at = path + "." + m.name
		}
		n := c.schema(m.value, depth+1, at)
		if x := c.constants[at]; x != nil {
			n = c.constant(at, x, n, depth+1)
			required[m.name] = true
		}
		members = append(members, objectMember{string(appendString(nil, m.name)) + ": ", n, required[m.name]})
	}
	o := newObjectRule(members, c.layout, depth)
	return c.b.pair(c.b.literal("{"), c.b.ruled(membersFrom{o, 0, 0}))
}

// constant returns the text of a constant, which must be among the values of n.
func (c *compiler) constant(path string, x *value, n *node, depth int) *node {
	c.used[path] = true
	text := c.layout.append(nil, x, depth)
	if end := c.b.run(n, text); end == nil || end.min != 0 {
		c.faults = append(c.faults, &Fault{path, ErrConstant, "the schema of the property does not allow this value"})
	}
	return c.b.literal(string(text))
}
