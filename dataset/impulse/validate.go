package impulse

import (
	"strings"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// validate makes the checks of [Options.Validate].
func (r *reader) validate(c *recordCheck, rec *Record, s *schema, root, answer *strictjson.Value) {
	c.blanks(root, answer)
	r.duplicateID(c, rec, root)
	c.known = len(c.src.faults)
	s.check(recordView(s, root, answer), c.fault)
}

// recordView is the part of a record that a schema speaks of: all of it or,
// with a schema of answers, what goes into the answer and the unknown keys.
func recordView(s *schema, root, answer *strictjson.Value) *strictjson.Value {
	if s.ofRecord {
		return root
	}
	view := *root
	view.Members = nil
	for _, m := range root.Members {
		if meta := answer.Get(metaKey); m.Key == metaKey && meta != nil {
			m.Value = *meta
		}
		view.Members = append(view.Members, m)
	}
	return &view
}

// blanks reports texts of only white space. notes may be one.
func (c *recordCheck) blanks(root, answer *strictjson.Value) {
	report := func(v *strictjson.Value, path strictjson.Path) {
		if v.Kind == strictjson.String && strings.TrimSpace(v.Text) == "" && path.String() != "meta.notes" {
			c.fault(v.Offset, path, errBlank, "blank")
		}
	}
	eachText(answer, nil, report)
	if id := root.Get(metaKey).Get(idKey); id != nil {
		report(id, idPath)
	}
}

// eachText visits the strings in v, keys excepted.
func eachText(v *strictjson.Value, path strictjson.Path, visit func(*strictjson.Value, strictjson.Path)) {
	if v.Kind == strictjson.String {
		visit(v, path)
	}
	for i := range v.Items {
		eachText(&v.Items[i], append(path[:len(path):len(path)], strictjson.Step{Index: i, IsIndex: true}), visit)
	}
	for i := range v.Members {
		eachText(&v.Members[i].Value, path.Key(v.Members[i].Key), visit)
	}
}

var idPath = strictjson.Path{{Key: metaKey}, {Key: idKey}}

func (r *reader) duplicateID(c *recordCheck, rec *Record, root *strictjson.Value) {
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
	c.fault(root.Get(metaKey).Get(idKey).Offset, idPath, errDuplicateID, "%q already used at index %d of %s", c.id, first.Index, file)
}

// rewriteStarts are the words with which query_rewrite begins in each language.
var rewriteStarts = []struct{ lang, start string }{
	{"CA", "Llista de"},
	{"ES", "Lista de"},
	{"EN", "List of"},
}

// consistency warns of fields that disagree.
func (c *recordCheck) consistency(answer *strictjson.Value) {
	filters := answer.Get("filters")
	c.place(filters, strictjson.Path{{Key: "filters"}})
	if organisations := answer.Get("organisations"); organisations != nil {
		for i := range organisations.Items {
			c.place(&organisations.Items[i], strictjson.Path{{Key: "organisations"}, {Index: i, IsIndex: true}})
		}
	}
	if year := filters.Get("year"); year != nil && year.Kind == strictjson.String {
		if from, to, ok := strings.Cut(year.Text, "-"); ok && len(from) == len(to) && from > to {
			c.fault(year.Offset, strictjson.Path{{Key: "filters"}, {Key: "year"}}, errInconsistent, "%q runs backwards", year.Text)
		}
	}
	lang, rewrite := answer.Get(metaKey).Get("lang"), answer.Get("query_rewrite")
	if lang == nil || rewrite == nil {
		return
	}
	expected := ""
	for _, l := range rewriteStarts {
		if l.lang == lang.Text {
			expected = l.start
		}
	}
	for _, l := range rewriteStarts {
		if expected != "" && l.lang != lang.Text && strings.HasPrefix(rewrite.Text, l.start) {
			c.fault(lang.Offset, strictjson.Path{{Key: metaKey}, {Key: "lang"}}, errInconsistent, "%s, but query_rewrite begins as in %s (%q)", lang.Text, l.lang, l.start)
		}
	}
}

// place warns if one of location and location_level is null and the other not.
func (c *recordCheck) place(v *strictjson.Value, path strictjson.Path) {
	location, level := v.Get("location"), v.Get("location_level")
	if location == nil || level == nil || (location.Kind == strictjson.Null) == (level.Kind == strictjson.Null) {
		return
	}
	message := "set although location is null"
	if level.Kind == strictjson.Null {
		message = "null although location is set"
	}
	c.fault(level.Offset, path.Key("location_level"), errInconsistent, "%s", message)
}
