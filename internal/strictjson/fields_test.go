package strictjson

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

var errInvalid = errors.New("invalid")

func TestFields(t *testing.T) {
	var list faults.List
	f := ReadFields([]byte(`{"n": 48, "x": 1e-5, "s": "é", "b": true, "none": null, "one": 3, "many": [1, 2], "empty": [],
		"names": ["a", "b"], "name": "c", "o": {"z": 1, "a": {"deep": 2}}, "list": [{"k": 1}, {"k": 2}], "left": 0}`), &list, errInvalid)
	for _, row := range []struct {
		name      string
		got, want any
	}{
		{"int", f.Int("n", 7), 48},
		{"int absent", f.Int("absent", 7), 7},
		{"int null", f.Int("none", 7), 7},
		{"number", f.Number("x", 7), 1e-5},
		{"number without a point", f.Number("n", 7), 48.0},
		{"string", f.String("s", "d"), "é"},
		{"string null", f.String("none", "d"), "d"},
		{"bool", f.Bool("b", false), true},
		{"bool absent", f.Bool("absent", true), true},
		{"one in place of a list", f.Ints("one"), []int{3}},
		{"list", f.Ints("many"), []int{1, 2}},
		{"empty list", f.Ints("empty"), []int{}},
		{"list null", f.Ints("none"), []int(nil)},
		{"names", f.Strings("names"), []string{"a", "b"}},
		{"name", f.Strings("name"), []string{"c"}},
		{"object", f.Object("o").Object("a").Int("deep", 0), 2},
		{"keys in order", f.Object("o").Keys(), []string{"z", "a"}},
		{"objects", f.Objects("list")[1].Int("k", 0), 2},
		{"unread", f.Unread(), []string{"left"}},
		{"has null", f.Has("none"), false},
	} {
		if !reflect.DeepEqual(row.got, row.want) {
			t.Errorf("%s: %#v, want %#v", row.name, row.got, row.want)
		}
	}
	if err := list.Err(); err != nil {
		t.Error(err)
	}
}

// TestFieldsFaults: each fault says the key, what stands there and what was
// wanted, and the default takes its place.
func TestFieldsFaults(t *testing.T) {
	for _, row := range []struct {
		name, text string
		read       func(f *Fields) any
		want       string
		otherwise  any
	}{
		{"float for an int", `{"n": 48.0}`, func(f *Fields) any { return f.Int("n", 7) }, "n: 48.0, want a whole number", 7},
		{"huge int", `{"n": 92233720368547758080}`, func(f *Fields) any { return f.Int("n", 7) }, "n: 92233720368547758080, want a whole number", 7},
		{"text for a number", `{"n": "1"}`, func(f *Fields) any { return f.Number("n", 7) }, `n: "1", want a number`, 7.0},
		{"infinite", `{"n": 1e999}`, func(f *Fields) any { return f.Number("n", 7) }, `n: 1e999, want a number`, 7.0},
		{"number for a text", `{"n": 1}`, func(f *Fields) any { return f.String("n", "d") }, `n: 1, want a string`, "d"},
		{"text for a bool", `{"n": "no"}`, func(f *Fields) any { return f.Bool("n", true) }, `n: "no", want true or false`, true},
		{"a float in a list", `{"n": [1, 2.5]}`, func(f *Fields) any { return f.Ints("n") }, `n: [1, 2.5], want a whole number or a list of them`, []int(nil)},
		{"list for an object", `{"n": []}`, func(f *Fields) any { return f.Object("n") }, `n: [], want an object`, (*Fields)(nil)},
		{"object for a list", `{"n": {}}`, func(f *Fields) any { return f.Objects("n") }, `n: {}, want a list of objects`, []*Fields(nil)},
		{"within", `{"o": {"n": true}}`, func(f *Fields) any { return f.Object("o").Int("n", 7) }, `o.n: true, want a whole number`, 7},
		{"long", `{"n": "` + strings.Repeat("x", 100) + `"}`, func(f *Fields) any { return f.Int("n", 7) }, `n: "` + strings.Repeat("x", 59) + `…, want a whole number`, 7},
		{"twice", `{"n": 1, "n": 2}`, func(f *Fields) any { return f.Int("n", 7) }, "line 1, column 10: n: key given twice", 1},
	} {
		var list faults.List
		f := ReadFields([]byte(row.text), &list, errInvalid)
		got := row.read(f)
		err := list.Err()
		if err == nil || err.Error() != row.want || !errors.Is(err, errInvalid) {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
		if !reflect.DeepEqual(got, row.otherwise) {
			t.Errorf("%s: %#v, want %#v", row.name, got, row.otherwise)
		}
	}
}

func TestFieldsOfNoObject(t *testing.T) {
	for text, want := range map[string]string{
		"":                "f: line 1, column 1: the file is empty",
		"[1]":             "f: the file holds a JSON array, want an object",
		"{\n  \"a\": 1,}": `f: line 2, column 10: unexpected '}', want a key in double quotes`,
	} {
		list := faults.List{Subject: "f"}
		if f := ReadFields([]byte(text), &list, errInvalid); f != nil {
			t.Errorf("%q: read", text)
		}
		if err := list.Err(); err == nil || err.Error() != want || !errors.Is(err, errInvalid) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
