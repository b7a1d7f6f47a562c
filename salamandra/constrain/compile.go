package constrain

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
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
	// MaxBytes bounds the length of a schema; 0 for no limit.
	MaxBytes int
	// MaxCount bounds minItems, maxItems, minLength and maxLength; 0 for no limit.
	MaxCount int
	// Timeout bounds the time of Compile; 0 for no limit.
	Timeout time.Duration
	// MaxWork bounds what the masks of one answer cost, in places of the
	// vocabulary's trie that are looked at, a state that is made counting as 16;
	// 0 for no limit. See [Matcher.Allowed].
	MaxWork int
}

// DefaultOptions returns an indent of 2, no constants, and 50,000 states.
func DefaultOptions() Options { return Options{Indent: 2, MaxStates: 50_000} }

// UntrustedOptions returns DefaultOptions with limits for the schema of a
// stranger: 64 KiB, counts of 10,000, 100 ms, and work of 200 million steps, a
// few seconds, for an answer. There is nothing to limit
// about $ref: no schema is ever fetched or read from a file.
func UntrustedOptions() Options {
	o := DefaultOptions()
	o.MaxBytes, o.MaxCount, o.Timeout, o.MaxWork = 64<<10, 10_000, 100*time.Millisecond, 200_000_000
	return o
}

// Grammar is a compiled schema: the set of the texts that may be answered.
// Its methods, and matchers made from it, may be used from several goroutines.
type Grammar struct {
	b      *builder
	schema *reading
	opts   Options
	start  *node
	needed [256]bool // bytes without which some answers could not be completed
}

// Compile reads a JSON Schema. See the package documentation for the keywords
// that it enforces. Its error is a *CompileError with all faults of schema and
// constants, unless it is about an indent not from 0 to 16 or a MaxStates below 1.
func Compile(schema []byte, opts Options) (*Grammar, error) {
	if opts.Indent < 0 || opts.Indent > 16 || opts.MaxStates < 1 {
		return nil, fmt.Errorf("constrain: indent %d, want 0 to 16, and max states %d, want 1 or more", opts.Indent, opts.MaxStates)
	}
	if opts.MaxBytes > 0 && len(schema) > opts.MaxBytes {
		return nil, &CompileError{[]*Fault{{Cause: ErrTooLarge, Detail: fmt.Sprintf("a schema of %d bytes, more than %d", len(schema), opts.MaxBytes)}}}
	}
	root, err := parseValue(schema)
	if err != nil {
		return nil, &CompileError{[]*Fault{{Cause: ErrMalformed, Detail: err.Error()}}}
	}
	b := newBuilder(opts.MaxStates)
	if opts.Timeout > 0 {
		b.deadline = time.Now().Add(opts.Timeout)
	}
	g, err := compile(b, newReading(root), opts)
	if b.late(0) {
		return nil, &CompileError{[]*Fault{{Cause: ErrTooLarge, Detail: fmt.Sprintf("compiling takes longer than %v", opts.Timeout)}}}
	}
	b.deadline = time.Time{}
	return g, err
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

func compile(b *builder, schema *reading, opts Options) (*Grammar, error) {
	root := schema.root
	c := &compiler{
		b: b, reading: schema, layout: layout{opts.Indent}, maxStates: opts.MaxStates, maxCount: opts.MaxCount,
		constants: map[string]*value{}, used: map[string]bool{}, accepted: map[string]bool{},
		active: map[*value]bool{}, memo: map[memoKey]*node{},
	}
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
		switch {
		case !c.used[path]:
			c.faults = append(c.faults, &Fault{path, ErrConstant, "the schema has no property with this path"})
		case !c.accepted[path]:
			c.faults = append(c.faults, &Fault{path, ErrConstant, "the schema of the property does not allow this value"})
		}
	}
	if len(c.faults) == 0 && start.op == opFail {
		c.fault(root, "", ErrConstant, "no value is valid with these constants together")
	}
	if len(c.faults) == 0 && start.min > opts.MaxStates {
		c.fault(root, "", ErrTooLarge, "the shortest answer is longer than %d bytes", opts.MaxStates)
	}
	if len(c.faults) > 0 {
		return nil, &CompileError{c.faults}
	}
	g := &Grammar{b: b, schema: schema, opts: opts, start: start}
	needs(start, true, map[needsKey]bool{}, &g.needed)
	return g, nil
}

// compiler turns schemas into nodes.
type compiler struct {
	b         *builder
	layout    layout
	maxStates int
	maxCount  int
	constants map[string]*value
	used      map[string]bool // constants with a place
	active    map[*value]bool // schemas around the present one
	accepted  map[string]bool // constants that their place allows
	refused   bool            // a constant is not allowed somewhere
	memo      map[memoKey]*node
	faults    []*Fault
	*reading
}

// reading is what is known of a schema whatever the constants are.
type reading struct {
	root       *value
	pointers   map[*value]string
	expansions map[*value]*expansion
	synthetic  map[*value]bool // made by an expansion
}

func newReading(root *value) *reading {
	r := &reading{root: root, pointers: map[*value]string{}, expansions: map[*value]*expansion{}, synthetic: map[*value]bool{}}
	r.locate(root, "")
	return r
}

type memoKey struct {
	v     *value
	depth int
	path  string // "" if no constant lies below
}

// locate notes the JSON pointer of every value.
func (c *reading) locate(v *value, pointer string) {
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
	if c.b.late(nodeWork) {
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
	if n.op == opFail && len(c.faults) == before && !c.synthetic[v] && !c.refused {
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

// sort lists the applicators and assertions of v, in the order of the text, and
// notes a fault for each keyword that is neither and does assert something.
func (c *compiler) sort(v *value) (applicators, assertions []string) {
	for _, m := range v.members {
		switch m.name {
		case "$ref", "anyOf", "oneOf", "allOf", "if":
			applicators = append(applicators, m.name)
		case "then", "else": // part of if, and nothing without it
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
	return applicators, assertions
}

// keywords returns the values of a schema that is an object.
func (c *compiler) keywords(v *value, depth int, path string) *node {
	before := len(c.faults)
	applicators, assertions := c.sort(v)
	if len(applicators) == 0 {
		return c.assertions(v, assertions, depth, path, len(c.faults) > before)
	}
	if len(applicators) == 1 && len(assertions) == 0 && applicators[0] != "allOf" && applicators[0] != "if" {
		return c.applicator(v, applicators[0], depth, path)
	}
	e := c.expand(v)
	if len(c.faults) > before {
		return c.b.empty
	}
	for _, target := range e.targets {
		if c.active[target] {
			c.fault(v, "", ErrUnsupported, "recursive $ref")
			return c.b.empty
		}
	}
	for _, target := range e.targets {
		c.active[target] = true
		defer delete(c.active, target)
	}
	var list []*node
	for _, a := range e.alternatives {
		_, assertions := c.sort(a)
		list = append(list, c.assertions(a, assertions, depth, path, false))
	}
	return c.b.alt(list...)
}

// assertions returns the values of a schema without applicators. Faulty says
// that one of its keywords was refused.
func (c *compiler) assertions(v *value, assertions []string, depth int, path string, faulty bool) *node {
	if len(assertions) == 0 && faulty {
		return c.b.empty // that it has no type may be because of those
	}
	if list, ok := c.listed(v); ok {
		return c.finite(v, list, assertions, depth, path)
	}
	return c.typed(v, c.types(v, assertions), depth, path)
}

// applicator returns the values of $ref, anyOf or oneOf, where it is all that v
// asserts.
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
	if name == "oneOf" {
		c.checkDisjoint(v, x.items)
	}
	var list []*node
	for _, s := range x.items {
		list = append(list, c.schema(s, depth, path))
	}
	return c.b.alt(list...)
}

// checkDisjoint notes a fault for each two schemas of the oneOf of v that may
// both be valid.
func (c *compiler) checkDisjoint(v *value, list []*value) {
	for i, s := range list {
		for j, t := range list[:i] {
			if !c.disjoint(s, t, 0) {
				c.fault(v, "oneOf", ErrUnsupported, "oneOf whose schemas %d and %d may both be valid: they differ neither in type, const or enum, nor in those of a required property", j, i)
			}
		}
	}
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
