package impulse

import (
	"slices"

	"github.com/impulse-salamandra/finetune/evalx"
)

// unreadable finds answers that could not be read.
func unreadable(r evalx.Result, _ evalx.Value) []string { return once(r.ParseError != nil) }

// wrongValue finds answers that were scored and are wrong in a field although
// there was a value to be found: null, "", [] and {} are none.
func wrongValue(field string) func(evalx.Result, evalx.Value) []string {
	return func(r evalx.Result, got evalx.Value) []string {
		f, _ := r.Field(field)
		_, unread := got.(evalx.Missing)
		return once(!unread && !f.Correct && !evalx.IsEmpty(f.Want))
	}
}

// inventedValue finds values that were given where none was wanted, in any of
// the fields. The detail is the field.
func inventedValue(fields ...string) func(evalx.Result, evalx.Value) []string {
	return func(r evalx.Result, _ evalx.Value) []string {
		var details []string
		for _, f := range r.Fields {
			if slices.Contains(fields, f.Name) && !f.Correct && evalx.IsEmpty(f.Want) && !evalx.IsEmpty(f.Got) {
				details = append(details, f.Name)
			}
		}
		return details
	}
}

// once is a finding without a detail, or none.
func once(found bool) []string {
	if found {
		return []string{""}
	}
	return nil
}
