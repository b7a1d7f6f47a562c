package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

var errMissing = errors.New("tensor is missing")

func TestText(t *testing.T) {
	for _, row := range []struct {
		name string
		fill func(l *List)
		want string // "" for no error
	}{
		{"nothing", func(l *List) { l.Add("a", nil); l.Join(nil, nil) }, ""},
		{"one", func(l *List) { l.Add("a", errMissing) }, "f: a: tensor is missing"},
		{"one of the subject", func(l *List) { l.Join(errMissing) }, "f: tensor is missing"},
		{"two places", func(l *List) { l.Add("a", errMissing); l.Add("b", errMissing) }, "f: a: tensor is missing; also b"},
		{"numbers apart", func(l *List) {
			for i := range 448 {
				l.Addf(fmt.Sprint("layer ", i), "%w: [8 %d], want [16 64]", errMissing, i)
			}
		}, "f: layer 0: tensor is missing: [8 0], want [16 64]; also layer 1, layer 2 and 445 more"},
		{"the same twice", func(l *List) { l.Join(errMissing, errMissing) }, "f: tensor is missing (2 times)"},
		{"lines without a place", func(l *List) { l.Join(errors.New("line 1"), errors.New("line 2")) }, "f: 2 faults:\n  line 1\n  line 2"},
		{"two causes", func(l *List) {
			l.Add("a", errMissing)
			l.Add("b", fs.ErrNotExist)
			l.Add("c", errMissing)
		}, "f: 3 faults:\n  a: tensor is missing; also c\n  b: file does not exist"},
		{"lists within", func(l *List) {
			inner := List{Subject: "g"}
			for i := range 5 {
				inner.Add(fmt.Sprint(i), errMissing)
			}
			l.Add("d", errors.Join(inner.Err(), fs.ErrNotExist))
			l.Add("e", errMissing)
		}, "f: 7 faults:\n  d: g: 0: tensor is missing; also d: g: 1, d: g: 2 and 3 more\n  d: file does not exist"},
		{"words around a list stay", func(l *List) {
			l.Join(fmt.Errorf("reading: %w", errors.Join(errMissing, fs.ErrNotExist)))
		}, "f: reading: tensor is missing\nfile does not exist"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := List{Subject: "f"}
			row.fill(&l)
			err := l.Err()
			if row.want == "" {
				if err != nil || l.Len() != 0 {
					t.Fatalf("%v, %d faults; want none", err, l.Len())
				}
				return
			}
			if err == nil || err.Error() != row.want {
				t.Fatalf("%v\nwant %s", err, row.want)
			}
		})
	}
}

// TestBounded: whatever is added, the text stays short, the number is right and
// the causes are found.
func TestBounded(t *testing.T) {
	var l List
	const n = 3000
	for i := range n {
		l.Add("place", errors.New(strings.Repeat("x", i+1)))
	}
	l.Add("place", errMissing) // beyond what is kept
	var outer List
	outer.Add("file", l.Err())
	outer.Add("file", fs.ErrNotExist)
	for _, list := range []*List{&l, &outer} {
		text := list.Err().Error()
		if lines := strings.Count(text, "\n"); lines != shownCauses+1 {
			t.Errorf("%d lines, want %d", lines, shownCauses+1)
		}
		if want := fmt.Sprintf("and %d of other causes", list.Len()-shownCauses); !strings.HasSuffix(text, want) {
			t.Errorf("ends in %q, want %q", text[len(text)-60:], want)
		}
	}
	if outer.Len() != n+2 {
		t.Errorf("%d faults, want %d", outer.Len(), n+2)
	}
}

func TestUnwrap(t *testing.T) {
	l := List{Subject: "f"}
	l.Add("a", errMissing)
	one := l.Err()
	l.Add("b", &fs.PathError{Op: "open", Path: "p", Err: fs.ErrNotExist})
	two := l.Err()
	for _, err := range []error{one, two, Join(two, errors.New("other")), fmt.Errorf("merge: %w", two)} {
		if !errors.Is(err, errMissing) {
			t.Errorf("%v: no errMissing", err)
		}
	}
	var path *fs.PathError
	if !errors.As(two, &path) || !errors.Is(two, fs.ErrNotExist) || errors.Is(one, fs.ErrNotExist) {
		t.Errorf("causes lost or invented: %v; %v", one, two)
	}
	l.Add("c", fs.ErrExist)
	if errors.Is(two, fs.ErrExist) {
		t.Error("an error changes after it was returned")
	}
	if Join(nil, nil) != nil {
		t.Error("nothing joined is an error")
	}
}
