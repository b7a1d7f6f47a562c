package impulse

import (
	"fmt"
	"slices"
	"strings"
)

// field is a key that a record must have, with the types that make a line.
type field struct {
	key   string
	kinds []string
}

// answerFields are the top-level keys of an answer in their order.
func answerFields(v Variant) []field {
	fields := []field{
		{"doc_type", []string{kindString}},
		{"filters", []string{kindObject}},
		{"organisations", []string{kindArray}},
		{"semantic_query", []string{kindString, kindNull}},
	}
	if v == V1 {
		fields = append(fields, field{"metric", []string{kindString}}, field{"metric_params", []string{kindObject}})
	}
	return append(fields, field{"query_rewrite", []string{kindString}}, field{metaKey, []string{kindObject}})
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
func (c *recordCheck) fault(offset int, path []step, err error, format string, args ...any) {
	at := pathText(path)
	for _, f := range c.src.faults[:c.known] {
		if f.Index == c.index && f.Path == at && f.Err != ErrDuplicateKey {
			return
		}
	}
	c.src.add(Fault{
		Index: c.index, ID: c.id, Path: at, Offset: offset,
		Err: err, Message: fmt.Sprintf(format, args...), Warning: err == ErrInconsistent,
	})
}

// require returns the field of parent, or nil after a fault.
func (c *recordCheck) require(parent *value, path []step, f field) *value {
	path = child(path, f.key)
	v := parent.get(f.key)
	if v == nil {
		c.fault(parent.offset, path, ErrMissing, "missing")
		return nil
	}
	if !slices.Contains(f.kinds, v.kind) {
		c.fault(v.offset, path, ErrType, "want %s, got %s", strings.Join(f.kinds, " or "), v.kind)
		return nil
	}
	return v
}

// record checks one record and adds it to the batches.
func (r *reader) record(src *source, index int, root *value) {
	c := &recordCheck{src: src, index: index, id: idOf(root), known: len(src.faults)}
	if root.kind != kindObject {
		c.fault(root.offset, nil, ErrType, "want object, got %s", root.kind)
		return
	}
	rec := &Record{ID: c.id, File: src.name, Index: index}
	variant := r.variantOf(c, rec, root)
	answer := c.answer(root, variant)
	eachText(&answer, nil, func(v *value, path []step) {
		if token := controlToken.FindString(v.text); token != "" {
			c.fault(v.offset, path, ErrControlToken, "holds the chat control token %s, which would end a turn in the training text", token)
		}
	})
	if r.schemas != nil {
		r.validate(c, rec, r.schemas[variant], root, &answer)
	}
	rec.Lang = answer.get(metaKey).get("lang").string()
	rec.Query = answer.get(metaKey).get("original_query").string()
	rec.Answer = string(appendAnswer(nil, &answer, 0))
	r.batches.Records = append(r.batches.Records, *rec)
}

// variantOf tells the record's variant and reports the first that differs.
func (r *reader) variantOf(c *recordCheck, rec *Record, root *value) Variant {
	if r.fixed {
		return r.batches.Variant
	}
	variant := Current
	if root.get("metric") != nil {
		variant = V1
	}
	if r.first == nil {
		r.first = rec
		r.batches.Variant = variant
	}
	if variant != r.batches.Variant && !r.mixed {
		r.mixed = true
		c.fault(root.offset, nil, ErrVariant, "a record of the %s variant, but index %d of %s is of the %s one (only v1 has metric); want one variant in all files",
			variant, r.first.Index, r.first.File, r.batches.Variant)
	}
	return variant
}

// answer takes from a record what belongs into its answer and reports what is
// missing or of a wrong type. It looks into meta, not into other objects.
func (c *recordCheck) answer(root *value, variant Variant) value {
	answer := value{kind: kindObject, offset: root.offset}
	for _, f := range answerFields(variant) {
		if v := c.require(root, nil, f); v != nil {
			answer.members = append(answer.members, member{f.key, *v})
		}
	}
	meta := answer.get(metaKey)
	if meta == nil {
		return answer
	}
	path := []step{{key: metaKey}}
	text := []string{kindString}
	c.require(meta, path, field{idKey, text})
	kept := []member{}
	for _, f := range []field{{"lang", text}, {"original_query", text}, {"notes", []string{kindString, kindNull}}} {
		if f.key == "notes" && meta.get(f.key) == nil {
			kept = append(kept, member{f.key, value{kind: kindNull, offset: meta.offset, text: "null"}})
		} else if v := c.require(meta, path, f); v != nil {
			kept = append(kept, member{f.key, *v})
		}
	}
	meta.members = kept
	return answer
}
