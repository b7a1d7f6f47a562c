package constrain

import (
	"slices"
	"strings"
)

// objectPlan is how the objects of a set are written, whatever the layout, the depth
// and the constants are.
type objectPlan struct {
	members []plannedMember
	extras  []plannedExtra
}

// plannedMember is a member that is spoken of, and its values by what they meet.
type plannedMember struct {
	name, key string
	required  bool
	values    []plannedValue
}

type plannedValue struct {
	value *cond
	meets uint8
}

// plannedExtra is members that are not spoken of, by classes of their names, and what
// they meet. After is as in [extraMember], by places in the plan.
type plannedExtra struct {
	classes []plannedClass
	meets   uint8
	after   uint32
}

type plannedClass struct {
	name  *node // with its quotes
	value *cond
}

// planOf returns the plan of a set.
func (c *compiler) planOf(x *cond, o *objectSet) *objectPlan {
	if o.plan != nil {
		return o.plan
	}
	plan := &objectPlan{}
	names := o.listed()
	for _, name := range names {
		plan.members = append(plan.members, c.planMember(o, name))
	}
	if !c.opts.Closed || !o.lists() {
		plan.extras = c.planExtras(x, o, names)
	}
	o.plan = plan
	return plan
}

func (c *compiler) planMember(o *objectSet, name string) plannedMember {
	m := plannedMember{name: name, key: string(appendString(nil, name)) + c.layout.key, required: slices.Contains(o.required, name)}
	for meets := range uint8(1) << len(o.some) {
		value, possible := c.memberOf(o, name), true
		for i, s := range o.some {
			if meets>>i&1 == 1 {
				value, possible = c.both(value, c.cond(s.value)), possible && c.isNamed(name, []term{s.name})
			}
		}
		if possible {
			m.values = append(m.values, plannedValue{value, meets})
		}
	}
	return m
}

// lists reports whether some schema names members and says nothing of others: the
// objects that the option Closed closes.
func (o *objectSet) lists() bool {
	named := false
	for _, p := range o.parts {
		if len(p.patterns) > 0 || p.rest {
			return false
		}
		named = named || len(p.properties) > 0
	}
	return named
}

// planExtras returns the members whose names o does not speak of, by which of the kinds
// that are needed they are written for.
func (c *compiler) planExtras(x *cond, o *objectSet, names []string) []plannedExtra {
	var list []plannedExtra
	var allowed []*objectSet
	var fixed []bool // whether the value is what is asked for
	for kind := range uint8(2) << len(o.some) {
		meets, alone := kind>>1, kind&1 == 1 // alone: of no name that another kind may have
		if alone && len(o.some) == 0 {
			break
		}
		of, value := *o, c.cond()
		of.names = slices.Clone(o.names)
		for i, s := range o.some {
			if meets>>i&1 == 1 {
				of.names, value = append(of.names, s.name), c.both(value, c.cond(s.value))
			} else if alone {
				of.names = append(of.names, s.name.opposite())
			}
		}
		extra := plannedExtra{meets: meets}
		for _, class := range c.nameClasses(x, &of, names) {
			extra.classes = append(extra.classes, plannedClass{class.name, c.both(c.matching(o, class.matched), value)})
		}
		list, allowed, fixed = append(list, extra), append(allowed, &of), append(fixed, len(value.terms) > 0 || value.never)
	}
	for i := range list {
		for j := range list {
			if !fixed[i] || c.apartNames(allowed[i], allowed[j]) {
				list[i].after |= 1 << j
			}
		}
	}
	return list
}

// apartNames reports whether no name is allowed by both sets.
func (c *compiler) apartNames(o, p *objectSet) bool {
	return !slices.ContainsFunc(c.setOf(c.cond(slices.Concat(o.names, p.names)...)).strings, func(s *stringSet) bool { return !c.emptyString(s) })
}

// nameClass is names of members, from the quote on, that match the same patterns.
type nameClass struct {
	name    *node
	matched []string
}

// classKey is what names are sorted by: the patterns, what they must meet, and those
// that are left out.
type classKey struct {
	patterns string
	allowed  *cond
	listed   string
}

// nameClasses sorts all names but the listed ones by the patterns they match, and
// leaves out those that o does not allow.
func (c *compiler) nameClasses(x *cond, o *objectSet, listed []string) []nameClass {
	var patterns []string
	for _, p := range o.parts {
		for _, y := range p.patterns {
			if !slices.Contains(patterns, y.name) {
				patterns = append(patterns, y.name)
			}
		}
	}
	key := classKey{strings.Join(patterns, "\x00"), c.cond(o.names...), strings.Join(listed, "\x00")}
	if known, ok := c.classes[key]; ok {
		return known
	}
	if len(c.document.faults) > 0 {
		return nil
	}
	classes, err := c.sortNames(o, patterns)
	if err != nil {
		c.fault(c.place(x), "patternProperties", largeNames, err)
	}
	words := make([]string, len(listed))
	for i, name := range listed {
		words[i] = string(appendString(nil, name))[1:]
	}
	for i := range classes {
		classes[i].name = c.b.except(classes[i].name, words)
	}
	c.classes[key] = classes
	return classes
}

// sortNames runs the automata of patterns, and of what o allows, together.
func (c *compiler) sortNames(o *objectSet, patterns []string) ([]nameClass, error) {
	if len(patterns) == 0 && len(o.names) == 0 {
		return []nameClass{{c.b.anyString.node(c.b), nil}}, nil
	}
	name := "names" + (&stringSet{others: patterns}).asked()
	if len(o.names) > 0 {
		name += " among" + c.allowedName(o)
	}
	sorted, err := c.b.recognisers(name, func() ([]*automaton, error) { return c.sortByPatterns(o, patterns) })
	if err != nil {
		return nil, err
	}
	var classes []nameClass
	for _, a := range sorted {
		r, err := c.b.newStringRule(0, unbounded, a)
		if err != nil {
			return nil, err
		}
		class := nameClass{name: r.node(c.b)}
		for i, text := range patterns {
			if a.each[i] {
				class.matched = append(class.matched, text)
			}
		}
		classes = append(classes, class)
	}
	return classes, nil
}

// sortByPatterns recognises names that o allows, by which patterns they match.
func (c *compiler) sortByPatterns(o *objectSet, patterns []string) ([]*automaton, error) {
	var list []*dfa
	for _, text := range patterns {
		a, err := c.b.patternOf(text)
		if err != nil {
			return nil, err
		}
		list = append(list, a.dfa)
	}
	want := make([]int8, len(list))
	if len(o.names) > 0 {
		allowed, err := c.allowedNames(o)
		if err != nil {
			return nil, err
		}
		list, want = append(list, allowed), append(want, 1)
	}
	all := c.b.product(list, want)
	if err := all.all(); err != nil {
		return nil, err
	}
	each, states := all.signs(len(patterns))
	sorted := newAutomata(&all.dfa, states)
	for i, a := range sorted {
		a.each = each[i]
	}
	return sorted, nil
}

// matching is the condition on members whose names match some of the patterns and
// are not listed.
func (c *compiler) matching(o *objectSet, matched []string) *cond {
	var terms []term
	for _, p := range o.parts {
		named := false
		for _, y := range p.patterns {
			if slices.Contains(matched, y.name) {
				terms, named = append(terms, y.term), true
			}
		}
		if !named {
			terms = append(terms, p.additional)
		}
	}
	return c.cond(terms...)
}

// allowedName tells apart what propertyNames allows, which may be nothing.
func (c *compiler) allowedName(o *objectSet) string {
	name := ""
	for _, s := range c.setOf(c.cond(o.names...)).strings {
		name += " or " + s.ruleName()
		if s.values != nil {
			name += " of" + (&stringSet{others: s.values}).asked()
		}
	}
	return name
}

// allowedNames recognises the names that propertyNames allows.
func (c *compiler) allowedNames(o *objectSet) (*dfa, error) {
	var list []*dfa
	for _, s := range c.setOf(c.cond(o.names...)).strings {
		d, err := c.stringDFA(s)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return c.b.anyOf(list)
}

// stringDFA recognises the strings of a set.
func (c *compiler) stringDFA(s *stringSet) (*dfa, error) {
	if s.values != nil {
		return wordsDFA(c.valuesOf(s)), nil
	}
	a, err := c.b.automatonOf(s)
	if err != nil {
		return nil, err
	}
	if a != nil && s.lo == 0 && s.hi == unbounded {
		return a.dfa, nil
	}
	list, want := []*dfa{lengthDFA(s.lo, s.hi)}, []int8{1}
	if a != nil {
		list, want = append(list, a.dfa), append(want, 1)
	}
	p := c.b.product(list, want)
	return &p.dfa, p.all()
}
