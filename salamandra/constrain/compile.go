package constrain

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Options say how answers are written.
type Options struct {
	// Indent is the number of spaces of one level; 0 means one line. Answers are
	// laid out as json.dumps(x, indent=Indent, ensure_ascii=False,
	// separators=(ItemSeparator, KeySeparator)) of Python writes them.
	Indent int
	// ItemSeparator stands between items and members, ", " if empty; before a
	// line break its blanks are left out. KeySeparator stands behind a key, ": "
	// if empty.
	ItemSeparator, KeySeparator string
	// Whitespace, if above 0, lets white space of up to so many bytes stand wherever
	// JSON allows it between the parts of a value, and before it, in place of the
	// layout above: for models that were not trained on it. 16 suffices for answers on
	// one line, 64 for those that are indented. Constants are written on one line.
	Whitespace int
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
	// MaxCount bounds minItems, minLength and the like; 0 for no limit. What is at
	// most so many has no bound: it costs nothing before an answer comes to it.
	MaxCount int
	// Timeout bounds the time of Compile; 0 for no limit.
	Timeout time.Duration
	// MaxWork bounds what the masks of one answer cost, in places of the
	// vocabulary's trie that are looked at, a state that is made counting as 16;
	// 0 for no limit. See [Matcher.Allowed].
	MaxWork int
	// AnnotateFormats leaves format an annotation, which constrains nothing.
	AnnotateFormats bool
	// Closed leaves out members that a schema with properties does not list, where it
	// does not speak of them by additionalProperties or patternProperties either.
	Closed bool
	// Strict refuses keywords and formats that JSON Schema does not define, which
	// otherwise constrain nothing.
	Strict bool
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
	schema *document
	shared map[emitKey]emitted
	opts   Options
	start  *node
	needed [256]bool // bytes without which some answers could not be completed
}

// Compile reads a JSON Schema. See the package documentation for the keywords
// that it enforces. Its error is a *CompileError with all faults of schema and
// constants, unless it is about an indent not from 0 to 16, white space above 1,000 or a MaxStates below 1.
func Compile(schema []byte, opts Options) (*Grammar, error) {
	if opts.Indent < 0 || opts.Indent > 16 || opts.MaxStates < 1 || opts.Whitespace < 0 || opts.Whitespace > maxWhitespace {
		return nil, fmt.Errorf("constrain: indent %d, want 0 to 16, max states %d, want 1 or more, and white space %d, want 0 to %d", opts.Indent, opts.MaxStates, opts.Whitespace, maxWhitespace)
	}
	if opts.MaxBytes > 0 && len(schema) > opts.MaxBytes {
		return nil, &CompileError{[]*Fault{manyBytes.fault("", len(schema), opts.MaxBytes)}}
	}
	root, err := parseValue(schema)
	if err != nil {
		return nil, &CompileError{[]*Fault{badJSON.fault("", err)}}
	}
	b := newBuilder(opts.MaxStates)
	b.blank = opts.Whitespace
	if opts.Timeout > 0 {
		b.deadline = time.Now().Add(opts.Timeout)
	}
	g := &Grammar{b: b, schema: newDocument(root, b, opts), shared: map[emitKey]emitted{}, opts: opts}
	err = g.compile()
	if b.late(0) {
		return nil, &CompileError{[]*Fault{lateSchema.fault("", opts.Timeout)}}
	}
	b.deadline = time.Time{}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// With returns the grammar of the same schema with other constants, in the place
// of those it was compiled with. It shares what is cached with g, so that a
// grammar for each request costs little. Its error is a *CompileError.
func (g *Grammar) With(constants map[string]json.RawMessage) (*Grammar, error) {
	h := &Grammar{b: g.b, schema: g.schema, shared: g.shared, opts: g.opts}
	h.opts.Constants = constants
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	if err := h.compile(); err != nil {
		return nil, err
	}
	return h, nil
}

// maxWhitespace bounds the white space at a gap.
const maxWhitespace = 1000

// compile finds the start of a grammar.
func (g *Grammar) compile() error {
	lines, err := newLayout(g.opts)
	if err != nil {
		return err
	}
	d := g.schema
	c := &compiler{
		b: g.b, document: d, layout: lines, shared: g.shared, memo: map[emitKey]emitted{}, around: map[*cond]int{},
		constants: map[string]*value{}, used: map[string]bool{}, accepted: map[string]bool{},
	}
	for _, path := range slices.Sorted(maps.Keys(g.opts.Constants)) {
		v, err := parseValue(g.opts.Constants[path])
		if err != nil {
			c.faults = append(c.faults, &Fault{Pointer: path, Cause: errConstant, Detail: err.Error()})
			continue
		}
		c.constants[path] = v
	}
	g.start = g.b.pair(g.b.laid(lines.empty()), c.node(d.cond(term{schema: d.root}), 0, ""))
	if d.narrowed != nil && d.excluding {
		d.fault(d.narrowed, "", unevaluatedChoice)
	}
	c.misplaced(g.start)
	if len(d.faults) == 0 && len(c.faults) == 0 && g.start.min > g.opts.MaxStates {
		c.faults = append(c.faults, c.short(g.start))
	}
	if list := slices.Concat(d.faults, c.faults); len(list) > 0 {
		return &CompileError{list}
	}
	g.b.needs(g.start, &g.needed)
	return nil
}

// misplaced notes the constants that have no place.
func (c *compiler) misplaced(start *node) {
	for _, path := range slices.Sorted(maps.Keys(c.constants)) {
		switch {
		case !c.used[path]:
			c.faults = append(c.faults, &Fault{Pointer: path, Cause: ErrNoPlace, Detail: "the schema has no property with this path"})
		case !c.accepted[path]:
			c.faults = append(c.faults, &Fault{Pointer: path, Cause: errConstant, Detail: "the schema of the property does not allow this value"})
		}
	}
}

// short says why there is no answer, or none that is short enough.
func (c *compiler) short(start *node) *Fault {
	switch {
	case start.op != opFail:
		return manyStates.fault("", c.opts.MaxStates)
	case len(c.constants) > 0:
		return &Fault{Cause: errConstant, Detail: "no value is valid with these constants together"}
	}
	return noValue.fault("")
}
