package report

import (
	"slices"
	"strconv"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/page"

	"github.com/impulse-salamandra/finetune/internal/jsonpointer"
)

// htmlTable shows values place by place, given ones beside the wanted one.
type htmlTable struct {
	Given []string // headings
	Rows  []htmlRow
	Cut   int // rows that are left out
}

type htmlRow struct {
	Place, Want string
	Given       []htmlCell
}

// htmlCell is a given value. Mark is "" if it equals the wanted one, else
// "accepted" if the field that the place belongs to is correct, "wrong" if it is
// not, and "free" if the place is in no field.
type htmlCell struct {
	Text, Mark string
}

// alignedTable aligns the answers of results to one question with the wanted
// value. An answer that cannot be read has nothing anywhere.
func alignedTable(want evalx.Value, headings []string, results ...evalx.Result) htmlTable {
	const most = 300 // rows
	leaves := []map[string]string{{}}
	addLeaves(leaves[0], nil, want)
	var answers []evalx.Value
	for i, r := range results {
		answers = append(answers, shownValue(r))
		leaves = append(leaves, map[string]string{})
		addLeaves(leaves[i+1], nil, answers[i])
	}
	var places []string
	for _, l := range leaves {
		for place := range l {
			places = append(places, place)
		}
	}
	slices.SortFunc(places, jsonpointer.Compare)
	places = slices.Compact(places)
	t := htmlTable{Given: headings}
	if len(places) > most {
		places, t.Cut = places[:most], len(places)-most
	}
	for _, place := range places {
		row := htmlRow{Place: page.Printable(shownPlace(place)), Want: leaves[0][place]}
		for i, r := range results {
			cell := htmlCell{Text: leaves[i+1][place]}
			if cell.Text != row.Want {
				cell.Mark = markOf(r, answers[i], place)
			}
			row.Given = append(row.Given, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// shownValue reads an answer for showing it, strictly or else leniently.
func shownValue(r evalx.Result) evalx.Value {
	if r.ParseError != nil {
		return evalx.Missing{}
	}
	if v, err := evalx.Parse(r.Answer); err == nil {
		return v
	}
	text, err := evalx.Extract(r.Answer)
	if err != nil {
		return evalx.Missing{}
	}
	if v, err := evalx.Parse(text); err == nil {
		return v
	}
	return evalx.Missing{}
}

// addLeaves adds the parts of a value that have no parts, by their JSON pointers.
func addLeaves(leaves map[string]string, path []string, v evalx.Value) {
	switch v := v.(type) {
	case evalx.Missing:
		return
	case map[string]any:
		for key, member := range v {
			addLeaves(leaves, append(slices.Clip(path), key), member)
		}
		if len(v) > 0 {
			return
		}
	case []any:
		for i, item := range v {
			addLeaves(leaves, append(slices.Clip(path), strconv.Itoa(i)), item)
		}
		if len(v) > 0 {
			return
		}
	}
	leaves[jsonpointer.Of(path)] = cellText(v)
}

// cellText is a value as JSON, cut where it gets long.
func cellText(v evalx.Value) string {
	const most = 2000 // bytes
	text := compactJSON(v)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return page.Printable(text)
}

var unescapeToken = strings.NewReplacer("~1", "/", "~0", "~")

// shownPlace writes a JSON pointer with dots, as paths of fields are.
func shownPlace(pointer string) string {
	if pointer == "" {
		return "(whole answer)"
	}
	return unescapeToken.Replace(strings.ReplaceAll(pointer[1:], "/", "."))
}

// markOf says what the difference at a place means.
func markOf(r evalx.Result, answer evalx.Value, place string) string {
	mark := "free"
	for _, f := range r.Fields {
		if !within(f.Path, shownPlace(place)) || r.ParseError == nil && !evalx.Exact(f.Got, evalx.Lookup(answer, f.Path)) {
			continue // of another place, or made from something else
		}
		if !f.Correct {
			return "wrong"
		}
		mark = "accepted"
	}
	return mark
}

// within reports whether a place is at the path of a field or below it.
func within(path, place string) bool {
	return path == "" || place == path || strings.HasPrefix(place, path+".") || strings.HasPrefix(path, place+".")
}
