package impulse

import (
	"fmt"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// field is a key that a record must have, with the types that make a line.
type field struct {
	key   string
	kinds []strictjson.Kind
}

// want names the types.
func (f field) want() string {
	names := make([]string, len(f.kinds))
	for i, k := range f.kinds {
		names[i] = string(k)
	}
	return strings.Join(names, " or ")
}

// answerFields are the top-level keys of an answer in their order.
func answerFields(v Variant) []field {
	fields := []field{
		{"doc_type", []strictjson.Kind{strictjson.String}},
		{"filters", []strictjson.Kind{strictjson.Object}},
		{"organisations", []strictjson.Kind{strictjson.Array}},
		{"semantic_query", []strictjson.Kind{strictjson.String, strictjson.Null}},
	}
	if v == V1 {
		fields = append(fields, field{"metric", []strictjson.Kind{strictjson.String}}, field{"metric_params", []strictjson.Kind{strictjson.Object}})
	}
	return append(fields, field{"query_rewrite", []strictjson.Kind{strictjson.String}}, field{metaKey, []strictjson.Kind{strictjson.Object}})
}

// recordCheck collects the faults of one record.
type recordCheck struct {
	src   *source
	index int
	id    string
	known int // src.faults[:known] silence later ones at the same path
}

// fault adds a fault, unless the field has one from an earlier kind of check: a
// value that is missing or no text needs no second reason.
func (c *recordCheck) fault(offset int, path strictjson.Path, err error, format string, args ...any) {
	at := path.String()
	for _, f := range c.src.faults[:c.known] {
		if f.Index == c.index && f.Path == at && f.err != errDuplicateKey {
			return
		}
	}
	c.src.add(Fault{
		Index: c.index, ID: c.id, Path: at, Offset: offset,
		err: err, Message: fmt.Sprintf(format, args...), Warning: err == errInconsistent,
	})
}

// require returns the field of parent, or nil after a fault.
func (c *recordCheck) require(parent *strictjson.Value, path strictjson.Path, f field) *strictjson.Value {
	path = path.Key(f.key)
	v := parent.Get(f.key)
	if v == nil {
		c.fault(parent.Offset, path, errMissing, "missing")
		return nil
	}
	if !slices.Contains(f.kinds, v.Kind) {
		c.fault(v.Offset, path, errType, "want %s, got %s", f.want(), v.Kind)
		return nil
	}
	return v
}

// record checks one record and adds it to the batches.
func (r *reader) record(src *source, index int, root *strictjson.Value) {
	c := &recordCheck{src: src, index: index, id: idOf(root), known: len(src.faults)}
	if root.Kind != strictjson.Object {
		c.fault(root.Offset, nil, errType, "want object, got %s", root.Kind)
		return
	}
	rec := &Record{ID: c.id, File: src.name, Index: index}
	variant := r.variantOf(c, rec, root)
	answer := c.answer(root, variant)
	eachText(&answer, nil, func(v *strictjson.Value, path strictjson.Path) {
		if token := controlToken.FindString(v.Text); token != "" {
			c.fault(v.Offset, path, errControlToken, "holds the chat control token %s, which would end a turn in the training text", token)
		}
	})
	if r.schemas != nil {
		r.validate(c, rec, r.schemas[variant], root, &answer)
	}
	if r.schemas != nil || r.warns {
		c.consistency(&answer)
	}
	rec.Lang = answer.Get(metaKey).Get("lang").Characters()
	rec.Query = answer.Get(metaKey).Get("original_query").Characters()
	rec.Answer = string(strictjson.Append(nil, &answer, answerLayout))
	r.batches.Records = append(r.batches.Records, *rec)
}

// variantOf returns the record's variant and reports the first that differs.
func (r *reader) variantOf(c *recordCheck, rec *Record, root *strictjson.Value) Variant {
	if r.fixed {
		return r.batches.Variant
	}
	variant := Current
	if root.Get("metric") != nil {
		variant = V1
	}
	if r.first == nil {
		r.first = rec
		r.batches.Variant = variant
	}
	if variant != r.batches.Variant && !r.mixed {
		r.mixed = true
		c.fault(root.Offset, nil, errVariant, "a record of the %s variant, but index %d of %s is of the %s one (only v1 has metric); want one variant in all files",
			variant, r.first.Index, r.first.File, r.batches.Variant)
	}
	return variant
}

// answer takes from a record what belongs into its answer and reports what is
// missing or of a wrong type. It looks into meta, not into other objects.
func (c *recordCheck) answer(root *strictjson.Value, variant Variant) strictjson.Value {
	answer := strictjson.Value{Kind: strictjson.Object, Offset: root.Offset}
	for _, f := range answerFields(variant) {
		if v := c.require(root, nil, f); v != nil {
			answer.Members = append(answer.Members, strictjson.Member{Key: f.key, Value: *v})
		}
	}
	meta := answer.Get(metaKey)
	if meta == nil {
		return answer
	}
	path := strictjson.Path{{Key: metaKey}}
	text := []strictjson.Kind{strictjson.String}
	c.require(meta, path, field{idKey, text})
	kept := []strictjson.Member{}
	for _, f := range []field{{"lang", text}, {"original_query", text}, {"notes", []strictjson.Kind{strictjson.String, strictjson.Null}}} {
		if f.key == "notes" && meta.Get(f.key) == nil {
			kept = append(kept, strictjson.Member{Key: f.key, Value: strictjson.Value{Kind: strictjson.Null, Offset: meta.Offset, Text: "null"}})
		} else if v := c.require(meta, path, f); v != nil {
			kept = append(kept, strictjson.Member{Key: f.key, Value: *v})
		}
	}
	meta.Members = kept
	return answer
}
