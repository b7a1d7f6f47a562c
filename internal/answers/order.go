package answers

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// OrderKeys returns a JSON Schema with the properties of each object in the order
// in which most answers have them, which is the order in which constrained
// decoding writes them. Properties about which the answers say nothing stay as
// they are. It fails if the schema is not JSON.
func OrderKeys(schema json.RawMessage, records []dataset.Record) (json.RawMessage, error) {
	root, err := parseSchema(schema)
	if err != nil {
		return nil, err
	}
	orders := map[*strictjson.Value]*precedence{}
	for a := range all(records) {
		if v, ok := a.value(); ok {
			s := &schemaWalk{root: root, visit: func(properties, object *strictjson.Value) {
				if orders[properties] == nil {
					orders[properties] = &precedence{}
				}
				orders[properties].add(properties, object)
			}}
			s.walk(root, v, 0)
		}
	}
	// Those inside others first: ordering moves what is inside.
	for _, properties := range slices.SortedFunc(maps.Keys(orders), innerFirst) {
		orders[properties].apply(properties)
	}
	return strictjson.Append(nil, root, strictjson.Layout{ItemSeparator: ",", KeySeparator: ":"}), nil
}

// innerFirst sorts values of one text.
func innerFirst(a, b *strictjson.Value) int { return cmp.Compare(b.Offset, a.Offset) }

func parseSchema(schema json.RawMessage) (*strictjson.Value, error) {
	root, faults, _ := strictjson.Parse(schema, 0, maxDepth)
	if len(faults) > 0 {
		line, column := strictjson.Position(schema, faults[0].Offset)
		return nil, fmt.Errorf("schema, line %d, byte %d: %s", line, column, faults[0].Detail)
	}
	return &root, nil
}

// precedence counts which key stood before which.
type precedence struct{ before map[[2]string]int }

// add counts the keys of an object that are properties.
func (p *precedence) add(properties, object *strictjson.Value) {
	if p.before == nil {
		p.before = map[[2]string]int{}
	}
	for i := range object.Members {
		a := object.Members[i].Key
		if properties.Get(a) == nil {
			continue
		}
		for _, m := range object.Members[i+1:] {
			if properties.Get(m.Key) != nil {
				p.before[[2]string{a, m.Key}]++
			}
		}
	}
}

// apply orders properties: each time the first is taken that no other one comes
// before in most objects, and where there is a circle simply the first.
func (p *precedence) apply(properties *strictjson.Value) {
	left := properties.Members
	var ordered []strictjson.Member
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(m strictjson.Member) bool {
			return !slices.ContainsFunc(left, func(other strictjson.Member) bool {
				return p.before[[2]string{other.Key, m.Key}] > p.before[[2]string{m.Key, other.Key}]
			})
		})
		next = max(next, 0)
		ordered = append(ordered, left[next])
		left = slices.Delete(slices.Clone(left), next, next+1)
	}
	copy(properties.Members, ordered)
}

// schemaWalk goes through a schema along a value.
type schemaWalk struct {
	root  *strictjson.Value
	visit func(properties, object *strictjson.Value)
}

// maxSteps bounds the references and combinations on the way to a value.
const maxSteps = 100

// walk visits the properties of every schema that speaks of the value, and of the
// values inside it.
func (s *schemaWalk) walk(schema, v *strictjson.Value, steps int) {
	if schema == nil || schema.Kind != strictjson.Object || steps > maxSteps {
		return
	}
	if ref := schema.Get("$ref").Characters(); ref != "" {
		s.walk(s.resolve(ref), v, steps+1)
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		if list := schema.Get(keyword); list != nil {
			for i := range list.Items {
				s.walk(&list.Items[i], v, steps+1)
			}
		}
	}
	for _, keyword := range []string{"if", "then", "else"} {
		s.walk(schema.Get(keyword), v, steps+1)
	}
	switch v.Kind {
	case strictjson.Object:
		s.object(schema, v, steps)
	case strictjson.Array:
		prefix := schema.Get("prefixItems")
		for i := range v.Items {
			item := schema.Get("items")
			if prefix != nil && i < len(prefix.Items) {
				item = &prefix.Items[i]
			}
			s.walk(item, &v.Items[i], steps+1)
		}
	}
}

func (s *schemaWalk) object(schema, v *strictjson.Value, steps int) {
	properties := schema.Get("properties")
	if properties != nil {
		s.visit(properties, v)
	}
	for i := range v.Members {
		m := &v.Members[i]
		inner := properties.Get(m.Key)
		if inner == nil {
			inner = schema.Get("additionalProperties")
		}
		s.walk(inner, &m.Value, steps+1)
	}
}

// resolve follows a reference within the schema.
func (s *schemaWalk) resolve(ref string) *strictjson.Value {
	at := s.root
	for _, token := range strings.Split(strings.TrimPrefix(ref, "#"), "/")[1:] {
		at = at.Get(strings.NewReplacer("~1", "/", "~0", "~").Replace(token))
	}
	if !strings.HasPrefix(ref, "#") {
		return nil
	}
	return at
}
