package impulse

import "strings"

// validate makes the checks of [Options.Validate].
func (r *reader) validate(c *recordCheck, rec *Record, s *schema, root, answer *value) {
	c.blanks(root, answer)
	r.duplicateID(c, rec, root)
	c.known = len(c.src.faults)
	s.check(recordView(s, root, answer), c.fault)
	c.consistency(answer)
}

// recordView is the part of a record that a schema speaks of: all of it or,
// with a schema of answers, what goes into the answer and the unknown keys.
func recordView(s *schema, root, answer *value) *value {
	if s.ofRecord {
		return root
	}
	view := *root
	view.members = nil
	for _, m := range root.members {
		if meta := answer.get(metaKey); m.key == metaKey && meta != nil {
			m.value = *meta
		}
		view.members = append(view.members, m)
	}
	return &view
}

// blanks reports texts of white space alone. notes may be one.
func (c *recordCheck) blanks(root, answer *value) {
	report := func(v *value, path []step) {
		if v.kind == kindString && strings.TrimSpace(v.text) == "" && pathText(path) != "meta.notes" {
			c.fault(v.offset, path, ErrBlank, "blank")
		}
	}
	eachText(answer, nil, report)
	if id := root.get(metaKey).get(idKey); id != nil {
		report(id, idPath)
	}
}

// eachText visits the strings in v, keys excepted.
func eachText(v *value, path []step, visit func(*value, []step)) {
	if v.kind == kindString {
		visit(v, path)
	}
	for i := range v.items {
		eachText(&v.items[i], append(path[:len(path):len(path)], step{index: i, isIndex: true}), visit)
	}
	for i := range v.members {
		eachText(&v.members[i].value, child(path, v.members[i].key), visit)
	}
}

var idPath = []step{{key: metaKey}, {key: idKey}}

func (r *reader) duplicateID(c *recordCheck, rec *Record, root *value) {
	if c.id == "" {
		return
	}
	first := r.ids[c.id]
	if first == nil {
		r.ids[c.id] = rec
		return
	}
	file := "the same file"
	if first.File != rec.File {
		file = first.File
	}
	c.fault(root.get(metaKey).get(idKey).offset, idPath, ErrDuplicateID, "%q already used at index %d of %s", c.id, first.Index, file)
}

// rewriteStarts are the words with which query_rewrite begins in each language.
var rewriteStarts = []struct{ lang, start string }{
	{"CA", "Llista de"},
	{"ES", "Lista de"},
	{"EN", "List of"},
}

// consistency warns of fields that disagree.
func (c *recordCheck) consistency(answer *value) {
	filters := answer.get("filters")
	c.place(filters, []step{{key: "filters"}})
	if organisations := answer.get("organisations"); organisations != nil {
		for i := range organisations.items {
			c.place(&organisations.items[i], []step{{key: "organisations"}, {index: i, isIndex: true}})
		}
	}
	if year := filters.get("year"); year != nil && year.kind == kindString {
		if from, to, ok := strings.Cut(year.text, "-"); ok && len(from) == len(to) && from > to {
			c.fault(year.offset, []step{{key: "filters"}, {key: "year"}}, ErrInconsistent, "%q runs backwards", year.text)
		}
	}
	lang, rewrite := answer.get(metaKey).get("lang"), answer.get("query_rewrite")
	if lang == nil || rewrite == nil {
		return
	}
	expected := ""
	for _, l := range rewriteStarts {
		if l.lang == lang.text {
			expected = l.start
		}
	}
	for _, l := range rewriteStarts {
		if expected != "" && l.lang != lang.text && strings.HasPrefix(rewrite.text, l.start) {
			c.fault(lang.offset, []step{{key: metaKey}, {key: "lang"}}, ErrInconsistent, "%s, but query_rewrite begins as in %s (%q)", lang.text, l.lang, l.start)
		}
	}
}

// place warns if one of location and location_level is null and the other not.
func (c *recordCheck) place(v *value, path []step) {
	location, level := v.get("location"), v.get("location_level")
	if location == nil || level == nil || (location.kind == kindNull) == (level.kind == kindNull) {
		return
	}
	message := "set although location is null"
	if level.kind == kindNull {
		message = "null although location is set"
	}
	c.fault(level.offset, child(path, "location_level"), ErrInconsistent, "%s", message)
}
