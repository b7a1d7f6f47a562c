package evalx

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/impulse-salamandra/finetune/internal/jsonpointer"
)

// shaper reads the shape of answers off a schema.
type shaper struct {
	order map[string]int // of the places in the schema's text, by JSON pointer
	done  map[*jsonschema.Schema]*shape
	open  map[*jsonschema.Schema]bool // schemas that are being read: they contain themselves
}

// shape returns the shape of the values that comply with the schema. Where it
// contains itself nothing is known.
func (s *Schema) shape() *shape {
	r := shaper{places(s.text), map[*jsonschema.Schema]*shape{}, map[*jsonschema.Schema]bool{}}
	return r.shape(s.compiled)
}

func (r *shaper) shape(s *jsonschema.Schema) *shape {
	if s == nil {
		return nil
	}
	if shape, done := r.done[s]; done {
		return shape
	}
	if r.open[s] {
		return &shape{}
	}
	r.open[s] = true
	shape := r.own(s)
	parts := append([]*jsonschema.Schema{s.Ref}, s.AllOf...)
	if s.DynamicRef != nil {
		parts = append(parts, s.DynamicRef.Ref)
	}
	for _, part := range parts {
		shape = merge(shape, r.shape(part), true)
	}
	for _, parts := range [][]*jsonschema.Schema{s.AnyOf, s.OneOf} {
		shape = merge(shape, r.union(parts), true)
	}
	for _, part := range slices.Concat([]*jsonschema.Schema{s.Then, s.Else}, r.sorted(s.DependentSchemas)) {
		shape = merge(shape, r.sometimes(part), true)
	}
	delete(r.open, s)
	r.done[s] = shape
	return shape
}

var kindsByName = map[string]kinds{
	"null": nullKind, "boolean": boolKind, "number": numberKind, "integer": numberKind,
	"string": textKind, "array": arrayKind, "object": objectKind,
}

// own is what the keywords of a schema say without its subschemas for the same
// place.
func (r *shaper) own(s *jsonschema.Schema) *shape {
	shape := &shape{of: map[string]member{}, formal: s.Enum != nil || s.Const != nil || s.Pattern != nil || r.has(s, "format")}
	if s.Types != nil {
		shape.fixed = true
		for _, name := range s.Types.ToStrings() {
			shape.kinds |= kindsByName[name]
		}
	}
	var listed []any
	if s.Enum != nil {
		listed = s.Enum.Values
	} else if s.Const != nil {
		listed = []any{*s.Const}
	}
	if listed != nil && shape.kinds == 0 {
		shape.fixed = true
		for _, v := range listed {
			shape.kinds |= kindOf(v)
		}
	}
	for _, key := range r.keys(s.Properties) {
		shape.keys = append(shape.keys, key)
		shape.of[key] = member{r.shape(s.Properties[key]), slices.Contains(s.Required, key)}
	}
	r.ownOthers(shape, s)
	r.ownItems(shape, s)
	if !shape.fixed && (len(shape.keys) > 0 || shape.others != nil) {
		shape.kinds |= objectKind
	}
	if !shape.fixed && (shape.items != nil || shape.first != nil) {
		shape.kinds |= arrayKind
	}
	return shape
}

// ownItems is what a schema says of the items of arrays, as drafts before 2020-12
// write it too.
func (r *shaper) ownItems(shape *shape, s *jsonschema.Schema) {
	first, items := s.PrefixItems, asSchemas(s.Items2020)
	if list, ok := s.Items.([]*jsonschema.Schema); ok {
		first, items = list, asSchemas(s.AdditionalItems)
	} else if s.Items != nil {
		items = asSchemas(s.Items)
	}
	for _, part := range first {
		shape.first = append(shape.first, r.shape(part))
	}
	for _, part := range items {
		shape.items = r.shape(part)
	}
	shape.placed = s.MinItems != nil && s.MaxItems != nil && *s.MinItems == *s.MaxItems
}

// ownOthers is what a schema says of keys that it does not name.
func (r *shaper) ownOthers(shape *shape, s *jsonschema.Schema) {
	shape.closed = s.AdditionalProperties == false || s.UnevaluatedProperties != nil && isFalse(s.UnevaluatedProperties)
	if additional, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		shape.closed = isFalse(additional)
		if !shape.closed && additional.Bool == nil {
			shape.others = r.shape(additional)
		}
	}
	var patterns []*jsonschema.Schema
	for _, part := range s.PatternProperties {
		patterns = append(patterns, part)
	}
	if patterns != nil {
		shape.closed = false
		shape.others = merge(r.union(r.inOrder(patterns)), shape.others, shape.others == nil)
	}
}

func isFalse(s *jsonschema.Schema) bool { return s.Bool != nil && !*s.Bool }

// union is the shape of values that comply with one of the schemas, nil for none.
func (r *shaper) union(parts []*jsonschema.Schema) *shape {
	var union *shape
	for i, part := range parts {
		if shape := r.shape(part); i == 0 {
			union = shape
		} else {
			union = merge(union, shape, false)
		}
	}
	return union
}

// sometimes is what a schema says that does not always hold.
func (r *shaper) sometimes(s *jsonschema.Schema) *shape {
	if s == nil {
		return nil
	}
	shape := *r.shape(s)
	shape.kinds, shape.fixed, shape.formal, shape.closed = 0, false, false, false
	shape.of = maps.Clone(shape.of)
	for key, m := range shape.of {
		shape.of[key] = member{m.shape, false}
	}
	return &shape
}

// keys returns the names of properties in the order of the schema's text.
func (r *shaper) keys(properties map[string]*jsonschema.Schema) []string {
	return slices.SortedFunc(maps.Keys(properties), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.place(properties[a]), r.place(properties[b])), cmp.Compare(a, b))
	})
}

func (r *shaper) sorted(parts map[string]*jsonschema.Schema) []*jsonschema.Schema {
	return r.inOrder(slices.Collect(maps.Values(parts)))
}

func (r *shaper) inOrder(parts []*jsonschema.Schema) []*jsonschema.Schema {
	slices.SortFunc(parts, func(a, b *jsonschema.Schema) int {
		return cmp.Or(cmp.Compare(r.place(a), r.place(b)), cmp.Compare(a.Location, b.Location))
	})
	return parts
}

// place is where a subschema stands in the text; those that have an id of their
// own come last.
func (r *shaper) place(s *jsonschema.Schema) int {
	if place, ok := r.order[pointerOf(s)]; ok {
		return place
	}
	return len(r.order)
}

// has reports whether a subschema has a keyword that the compiled one does not
// keep.
func (r *shaper) has(s *jsonschema.Schema, keyword string) bool {
	_, ok := r.order[pointerOf(s)+"/"+keyword]
	return ok
}

// pointerOf returns the JSON pointer of a subschema in its resource.
func pointerOf(s *jsonschema.Schema) string {
	_, pointer, _ := strings.Cut(s.Location, "#")
	if plain, err := url.PathUnescape(pointer); err == nil {
		return plain
	}
	return pointer
}

// places numbers the values in a JSON text, which must be valid, by their JSON
// pointers.
func places(text []byte) map[string]int {
	order := map[string]int{}
	dec := json.NewDecoder(bytes.NewReader(text))
	var visit func(path []string)
	visit = func(path []string) {
		order[jsonpointer.Of(path)] = len(order)
		token, _ := dec.Token()
		delim, _ := token.(json.Delim)
		for i := 0; delim != 0 && dec.More(); i++ {
			key := strconv.Itoa(i)
			if delim == '{' {
				token, _ := dec.Token()
				key, _ = token.(string)
			}
			visit(append(slices.Clip(path), key))
		}
		if delim != 0 {
			_, _ = dec.Token()
		}
	}
	visit(nil)
	return order
}
