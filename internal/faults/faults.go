// Package faults makes one error of everything wrong with an input: faults of
// one cause become one line with their number and the first places, so that 448
// misnamed tensors are read at a glance and a hostile file cannot make an error
// larger than itself.
package faults

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// How much of a list is kept and shown.
const (
	shownPlaces = 3    // of each cause
	shownCauses = 20   // in a text
	keptCauses  = 1000 // for errors.Is
)

// A Fault is one thing wrong and where.
type Fault struct {
	Place string // such as a file, tensor, key or record; empty for the whole input
	Err   error
}

// Error returns "PLACE: ERR".
func (f *Fault) Error() string {
	if f.Place == "" {
		return f.Err.Error()
	}
	return f.Place + ": " + f.Err.Error()
}

// Unwrap returns f.Err.
func (f *Fault) Unwrap() error { return f.Err }

// Caused returns an error with a text of its own that [errors.Is] finds to be
// cause.
func Caused(cause error, format string, args ...any) error {
	return &caused{fmt.Sprintf(format, args...), cause}
}

type caused struct {
	text  string
	cause error
}

func (c *caused) Error() string { return c.text }
func (c *caused) Unwrap() error { return c.cause }

// A List collects faults. The zero List is empty and has no subject.
type List struct {
	// Subject precedes the text of the error: the file or directory that all
	// places are in, say.
	Subject string

	groups []*group
	byText map[string]*group // cause, numbers left out
	total  int
	rest   int // faults of causes beyond those kept
}

// A group is faults of one cause.
type group struct {
	first []*Fault // at most shownPlaces
	total int
}

// Add appends a fault at a place. Causes whose texts differ only in numbers are
// one cause; without a place the whole text counts. A nil err adds nothing; an
// error of several faults, by this package or [errors.Join], adds each of them.
func (l *List) Add(place string, err error) {
	switch e := err.(type) { // as it is: an error that wraps another adds words
	case nil:
	case *Fault:
		l.add(&Fault{join(place, e.Place), e.Err}, 1)
	case *Error:
		l.merge(place, &e.list)
	case interface{ Unwrap() []error }:
		parts := e.Unwrap()
		if errors.Join(parts...).Error() != err.Error() {
			l.add(&Fault{place, err}, 1)
			return
		}
		for _, part := range parts {
			l.Add(place, part)
		}
	default:
		l.add(&Fault{place, err}, 1)
	}
}

// merge adds the faults of another list.
func (l *List) merge(place string, inner *List) {
	for _, g := range inner.groups {
		for i, f := range g.first {
			n := 1
			if i == 0 {
				n += g.total - len(g.first)
			}
			l.add(&Fault{join(place, join(inner.Subject, f.Place)), f.Err}, n)
		}
	}
	l.total += inner.rest
	l.rest += inner.rest
}

// Addf is Add with an error made by [fmt.Errorf].
func (l *List) Addf(place, format string, args ...any) { l.Add(place, fmt.Errorf(format, args...)) }

// Join appends each err as a fault of the subject itself.
func (l *List) Join(errs ...error) {
	for _, err := range errs {
		l.Add("", err)
	}
}

var number = regexp.MustCompile(`[0-9]+`)

// add counts n faults of the cause of f.
func (l *List) add(f *Fault, n int) {
	l.total += n
	text := f.Err.Error()
	if f.Place != "" {
		text = "@" + number.ReplaceAllString(text, "0")
	}
	g := l.byText[text]
	if g == nil {
		if len(l.groups) == keptCauses {
			l.rest += n
			return
		}
		if l.byText == nil {
			l.byText = map[string]*group{}
		}
		g = &group{}
		l.byText[text] = g
		l.groups = append(l.groups, g)
	}
	g.total += n
	if len(g.first) < shownPlaces {
		g.first = append(g.first, f)
	}
}

// Len returns the number of faults.
func (l *List) Len() int { return l.total }

// Err returns nil for an empty list, a [*Fault] for one fault, otherwise an
// [*Error], which later additions to l do not change.
func (l *List) Err() error {
	switch {
	case l.total == 0:
		return nil
	case l.total == 1 && len(l.groups) == 1:
		f := l.groups[0].first[0]
		return &Fault{join(l.Subject, f.Place), f.Err}
	}
	list := List{Subject: l.Subject, total: l.total, rest: l.rest}
	for _, g := range l.groups {
		copied := *g
		copied.first = append([]*Fault{}, g.first...)
		list.groups = append(list.groups, &copied)
	}
	return &Error{list}
}

// Join returns the faults of errs as one error, nil if all are nil. It is
// [errors.Join] with equal causes grouped.
func Join(errs ...error) error {
	var l List
	l.Join(errs...)
	return l.Err()
}

// Error is two faults or more.
type Error struct{ list List }

// Error returns a line for each cause.
func (e *Error) Error() string {
	l := &e.list
	if len(l.groups) == 1 && l.rest == 0 {
		return join(l.Subject, l.groups[0].line())
	}
	var b strings.Builder
	b.WriteString(join(l.Subject, fmt.Sprintf("%d faults:", l.total)))
	shown := 0
	for _, g := range l.groups[:min(len(l.groups), shownCauses)] {
		b.WriteString("\n  " + strings.ReplaceAll(g.line(), "\n", "\n  "))
		shown += g.total
	}
	if shown < l.total {
		fmt.Fprintf(&b, "\n  and %d of other causes", l.total-shown)
	}
	return b.String()
}

// Unwrap returns the first faults of each cause, for errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var list []error
	for _, g := range e.list.groups {
		for _, f := range g.first {
			list = append(list, f)
		}
	}
	return list
}

// line returns the first fault and the places of the others.
func (g *group) line() string {
	if g.total == 1 {
		return g.first[0].Error()
	}
	var also []string
	for _, f := range g.first[1:] {
		if f.Place != "" && f.Place != g.first[0].Place {
			also = append(also, f.Place)
		}
	}
	switch more := g.total - 1 - len(also); {
	case len(also) == 0:
		return fmt.Sprintf("%v (%d times)", g.first[0], g.total)
	case more == 0:
		return fmt.Sprintf("%v; also %s", g.first[0], strings.Join(also, ", "))
	default:
		return fmt.Sprintf("%v; also %s and %d more", g.first[0], strings.Join(also, ", "), more)
	}
}

// join puts a colon between two parts that are not empty.
func join(place, text string) string {
	if place == "" || text == "" {
		return place + text
	}
	return place + ": " + text
}
