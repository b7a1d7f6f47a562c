package augment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report says what became of the variants.
type Report struct {
	// Records is how many there were, and Sources how many of them could be varied.
	Records, Sources int
	// Kept is how many variants were kept, by what made them.
	Kept map[string]int

	left    map[string]*some // records that could not be varied, by the reason
	refused map[string]*some // variants, by what made them and the reason
	shown   map[string]string
}

// some are a number of things, and the first of them.
type some struct {
	count int
	first string
}

func (r *Report) leave(why, id string) { count(&r.left, why, id) }

func (r *Report) refuse(by, why, question, text string) {
	example := fmt.Sprintf("%q", question)
	if text != question {
		example += fmt.Sprintf(" as %q%s", text, strings.TrimPrefix(why, cause(why)))
	}
	count(&r.refused, by+": "+cause(why), example)
}

// cause is a reason without what it says of the single case.
func cause(why string) string {
	before, _, _ := strings.Cut(why, ":")
	return before
}

func (r *Report) keep(by, question, text string) {
	if r.Kept == nil {
		r.Kept, r.shown = map[string]int{}, map[string]string{}
	}
	r.Kept[by]++
	r.shown[by] = cmp.Or(r.shown[by], fmt.Sprintf("%q as %q", question, text))
}

func count(by *map[string]*some, why, what string) {
	if *by == nil {
		*by = map[string]*some{}
	}
	if (*by)[why] == nil {
		(*by)[why] = &some{first: what}
	}
	(*by)[why].count++
}

// String gives a line for each way to vary, with an example, and for each reason
// that variants were not kept, or records were left as they are.
func (r Report) String() string {
	var b strings.Builder
	kept := 0
	for _, n := range r.Kept {
		kept += n
	}
	fmt.Fprintf(&b, "%d of %d records varied, %d variants kept\n", r.Sources, r.Records, kept)
	for _, by := range slices.Sorted(maps.Keys(r.Kept)) {
		fmt.Fprintf(&b, "  %s: %d, such as %s\n", by, r.Kept[by], r.shown[by])
	}
	list := func(title string, by map[string]*some, example string) {
		if len(by) > 0 {
			fmt.Fprintf(&b, "%s:\n", title)
		}
		for _, why := range slices.Sorted(maps.Keys(by)) {
			fmt.Fprintf(&b, "  %s: %d, %s %s\n", why, by[why].count, example, by[why].first)
		}
	}
	list("not kept", r.refused, "such as")
	list("records left as they are", r.left, "such as")
	return b.String()
}
