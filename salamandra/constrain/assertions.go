package constrain

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

var typeNames = []string{"null", "boolean", "integer", "number", "string", "array", "object"}

// assertions returns the values that the keywords of v allow which look at the
// value itself, or at its items and members.
func (d *document) assertions(v *value) *set {
	s := d.types(v)
	if len(s.numbers) > 0 {
		d.numberKeywords(v, s.numbers[0])
	}
	if len(s.strings) > 0 {
		d.stringKeywords(v, s.strings[0])
	}
	if len(s.arrays) > 0 {
		d.arrayKeywords(v, s.arrays[0])
	}
	if len(s.objects) > 0 {
		d.objectKeywords(v, s.objects[0])
	}
	if x := d.get(v, "enum"); x != nil {
		s = d.intersect(s, d.listed(x.items), v)
	}
	if x := d.get(v, "const"); x != nil {
		s = d.intersect(s, d.listed([]*value{x}), v)
	}
	return s
}

// types returns the values of the types that v names.
func (d *document) types(v *value) *set {
	t := v.get("type")
	if t == nil {
		return full()
	}
	names := t.items
	if t.kind == "string" {
		names = []*value{t}
	}
	s := &set{}
	for _, name := range names {
		switch name.text {
		case "null":
			s.null = true
		case "boolean":
			s.no, s.yes = true, true
		case "integer":
			if s.numbers == nil {
				s.numbers = []*numberSet{{step: big.NewRat(1, 1)}}
			}
		case "number":
			s.numbers = []*numberSet{{}}
		case "string":
			s.strings = []*stringSet{{hi: unbounded}}
		case "array":
			s.arrays = []*arraySet{{hi: unbounded}}
		case "object":
			s.objects = []*objectSet{{hi: unbounded}}
		}
		if name.kind != "string" || !slices.Contains(typeNames, name.text) {
			d.fault(v, "type", badType, name.text)
		}
	}
	return s
}

// listed returns the set of some values.
func (d *document) listed(list []*value) *set {
	s := &set{}
	var numbers []*value
	var words []string
	for _, x := range list {
		switch x.kind {
		case "null":
			s.null = true
		case "boolean":
			s.yes, s.no = s.yes || x.text == "true", s.no || x.text == "false"
		case "number":
			numbers = append(numbers, x)
		case "string":
			words = append(words, x.text)
		case "array":
			part := arrayPart{items: nothing}
			for _, item := range x.items {
				part.prefix = append(part.prefix, d.constant(item))
			}
			s.arrays = append(s.arrays, &arraySet{lo: len(x.items), hi: len(x.items), parts: []arrayPart{part}})
		case "object":
			part := &objectPart{additional: nothing}
			o := &objectSet{hi: unbounded, parts: []*objectPart{part}}
			for _, m := range x.members {
				part.properties = append(part.properties, property{m.name, d.constant(m.value)})
				o.required = append(o.required, m.name)
			}
			s.objects = append(s.objects, o)
		}
	}
	if numbers != nil {
		s.numbers = []*numberSet{{values: numbers}}
	}
	if words != nil {
		s.strings = []*stringSet{{hi: unbounded, values: words}}
	}
	return s
}

// constant is the term of being equal to a value of the schema's text.
func (d *document) constant(x *value) term {
	return term{schema: d.once(x, "const", member{"enum", &value{kind: "array", items: []*value{x}}})}
}

// count reads a keyword that is a count.
func (d *document) count(v *value, keyword string, without int) int {
	x := d.get(v, keyword)
	if x == nil {
		return without
	}
	n, ok := x.number()
	if !ok || !n.IsInt() || n.Sign() < 0 {
		d.fault(v, keyword, badCount, keyword)
		return without
	}
	if n.Cmp(big.NewRat(unbounded-2, 1)) > 0 {
		n.SetInt64(unbounded - 2)
	}
	m := int(n.Num().Int64())
	limit := d.opts.MaxStates
	if d.opts.MaxCount > 0 {
		limit = min(limit, d.opts.MaxCount)
	}
	if strings.HasPrefix(keyword, "min") && m > limit { // what is at most so many costs nothing before it is reached
		d.fault(v, keyword, highCount, keyword, limit)
		return without
	}
	return m
}

func (d *document) numberKeywords(v *value, n *numberSet) {
	if lo, open, ok := d.limit(v, "minimum"); ok {
		n.above(limit{lo, open})
	}
	if hi, open, ok := d.limit(v, "maximum"); ok {
		n.below(limit{hi, open})
	}
	if lo, _, ok := d.limit(v, "exclusiveMinimum"); ok {
		n.above(limit{lo, true})
	}
	if hi, _, ok := d.limit(v, "exclusiveMaximum"); ok {
		n.below(limit{hi, true})
	}
	if x := v.get("multipleOf"); x != nil {
		step, ok := x.number()
		switch {
		case !ok:
			d.fault(v, "multipleOf", badLimit, "multipleOf")
		case step.Sign() <= 0:
			d.fault(v, "multipleOf", badMultiple)
		default:
			n.multiple(step)
		}
	}
}

// limit reads a keyword that is an end of a range. In draft 4 a boolean beside it
// says that the end is open.
func (d *document) limit(v *value, keyword string) (at *big.Rat, open, ok bool) {
	x := v.get(keyword)
	if x == nil {
		return nil, false, false
	}
	if x.kind == "boolean" {
		if d.draft != draft4 && !d.lenient() {
			d.fault(v, keyword, oldBoolean, keyword)
		}
		return nil, false, false
	}
	if beside := v.get(map[string]string{"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}[keyword]); beside != nil {
		open = beside.kind == "boolean" && beside.text == "true"
	}
	at, ok = x.number()
	if !ok {
		d.fault(v, keyword, badLimit, keyword)
	}
	return at, open, ok
}

func (d *document) stringKeywords(v *value, s *stringSet) {
	s.lo, s.hi = d.count(v, "minLength", 0), d.count(v, "maxLength", unbounded)
	if x := v.get("pattern"); x != nil && d.pattern(v, "pattern", x.text) {
		s.patterns = []pattern{{text: x.text}}
	}
	if x := v.get("format"); x != nil && !d.opts.AnnotateFormats {
		if text, ok := formatPattern(x.text); ok { // the specification's; others assert nothing
			s.patterns = append(s.patterns, pattern{text: text, narrow: x.text})
		} else if d.opts.Strict {
			d.fault(v, "format", unknownFormat, x.text)
		}
	}
}

// pattern reads a regular expression at a keyword. It reports false if it cannot.
func (d *document) pattern(v *value, keyword, text string) bool {
	_, err := d.b.patternOf(text)
	if err != nil {
		d.patternFault(v, keyword, fmt.Errorf("pattern %q: %w", text, err))
	}
	return err == nil
}

func (d *document) patternFault(v *value, keyword string, err error) {
	why := badPattern
	if errors.Is(err, ErrTooLarge) {
		why = largePattern
	}
	d.fault(v, keyword, why, strings.Replace(err.Error(), refusals[why].cause.Error()+": ", "", 1))
}

func (d *document) arrayKeywords(v *value, a *arraySet) {
	a.lo, a.hi = d.count(v, "minItems", 0), d.count(v, "maxItems", unbounded)
	if x := v.get("uniqueItems"); x != nil {
		a.unique = x.text == "true"
	}
	part := arrayPart{items: anything, evaluates: true}
	prefix, rest := d.get(v, "prefixItems"), v.get("items")
	if rest != nil && rest.kind == "array" {
		if d.draft == draft20 && !d.lenient() {
			d.fault(v, "items", oldItems)
		}
		prefix, rest = rest, d.get(v, "additionalItems")
	}
	if prefix != nil {
		for _, x := range prefix.items {
			part.prefix = append(part.prefix, term{schema: x})
		}
	}
	if rest != nil {
		part.items, part.rest = term{schema: rest}, true
	}
	if prefix != nil || rest != nil {
		a.parts = []arrayPart{part}
	}
	if x := d.get(v, "contains"); x != nil {
		a.contains = []containing{{term{schema: x}, 0, d.count(v, "minContains", 1), d.count(v, "maxContains", unbounded)}}
	}
}

func (d *document) objectKeywords(v *value, o *objectSet) {
	o.lo, o.hi = d.count(v, "minProperties", 0), d.count(v, "maxProperties", unbounded)
	if x := v.get("required"); x != nil {
		for _, name := range x.items {
			if !slices.Contains(o.required, name.text) {
				o.required = append(o.required, name.text)
			}
		}
	}
	if x := d.get(v, "propertyNames"); x != nil {
		o.names = []term{{schema: x}}
	}
	part := &objectPart{additional: anything, evaluates: true}
	if x := v.get("properties"); x != nil {
		for _, m := range x.members {
			part.properties = append(part.properties, property{m.name, term{schema: m.value}})
		}
	}
	if x := v.get("patternProperties"); x != nil {
		for _, m := range x.members {
			if d.pattern(v, "patternProperties", m.name) {
				part.patterns = append(part.patterns, property{m.name, term{schema: m.value}})
			}
		}
	}
	if x := v.get("additionalProperties"); x != nil {
		part.additional, part.rest = term{schema: x}, true
	}
	if len(part.properties) > 0 || len(part.patterns) > 0 || part.rest {
		o.parts = []*objectPart{part}
	}
}
