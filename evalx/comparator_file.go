package evalx

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// A rule is a comparator with its name in reports: "folded", "numeric 0.01",
// "set of folded".
type rule struct {
	compare Comparator
	name    string
}

// choice is what a comparators file chooses for one path.
type choice struct {
	name   string
	number float64 // its parameter, if it has one
}

func (c choice) String() string {
	if c.name == "numeric" && c.number != 0 || c.name == "words" && c.number != 1 {
		return fmt.Sprintf("%s %v", c.name, c.number)
	}
	return c.name
}

// chooser makes the rules of a choice, and says for which kinds of values it is;
// 0 for all.
type chooser struct {
	kinds kinds
	make  func(c choice, item rule) Comparator
}

// choosers are the comparators that a file can name.
var choosers = map[string]chooser{
	"exact":      {0, func(choice, rule) Comparator { return Exact }},
	"ignore":     {0, func(choice, rule) Comparator { return func(_, _ Value) bool { return true } }},
	"folded":     {textKind, func(choice, rule) Comparator { return Folded(Fold) }},
	"unaccented": {textKind, func(choice, rule) Comparator { return Folded(FoldAccents) }},
	"words":      {textKind, func(c choice, _ rule) Comparator { return TokenOverlap(Words, c.number) }},
	"numeric":    {numberKind, func(c choice, _ rule) Comparator { return Numeric(c.number) }},
	"set":        {arrayKind, func(_ choice, item rule) Comparator { return Set(item.compare) }},
	"unordered":  {arrayKind, func(_ choice, item rule) Comparator { return Assignment(item.compare) }},
	"ordered":    {arrayKind, func(_ choice, item rule) Comparator { return Ordered(item.compare) }},
}

// parseChoices reads a comparators file and returns what it chooses by path, with
// every fault of its form.
func parseChoices(data []byte) (choices map[string]choice, faults []string) {
	doc, err := Parse(string(data))
	if err != nil {
		return nil, []string{err.Error()}
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil, []string{"want an object with a comparator for each path"}
	}
	choices = map[string]choice{}
	for _, path := range slices.Sorted(maps.Keys(object)) {
		c, fault := parseChoice(object[path])
		if fault != "" {
			faults = append(faults, fmt.Sprintf("%s: %s", shownPath(path), fault))
		} else {
			choices[path] = c
		}
	}
	return choices, faults
}

// parseChoice reads "folded" or {"numeric": 0.01}.
func parseChoice(v Value) (c choice, fault string) {
	switch v := v.(type) {
	case string:
		c.name = v
		if c.name == "words" {
			c.number = 1
		}
	case map[string]any:
		for name, parameter := range v {
			r := number(parameter)
			if len(v) != 1 || r == nil || name != "numeric" && name != "words" {
				return c, `want a name, {"numeric": TOLERANCE} or {"words": SHARE}`
			}
			c.name = name
			c.number, _ = r.Float64()
		}
	}
	if _, known := choosers[c.name]; !known {
		return c, fmt.Sprintf("%s is no comparator, want one of %s", show(v), strings.Join(slices.Sorted(maps.Keys(choosers)), ", "))
	}
	if c.name == "numeric" && (c.number < 0 || math.IsInf(c.number, 0)) {
		return c, fmt.Sprintf("tolerance %v, want 0 or more", c.number)
	}
	if c.name == "words" && (c.number <= 0 || c.number > 1) {
		return c, fmt.Sprintf("words %v, want a share above 0, up to 1", c.number)
	}
	return c, ""
}

// shownPath names a path in messages.
func shownPath(path string) string {
	if path == "" {
		return "(whole answer)"
	}
	return path
}
