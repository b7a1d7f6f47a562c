package templatecheck

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Names under which a watched template calls the watcher.
const (
	prefix    = "__watch_"
	turnName  = prefix + "turn"
	callName  = prefix + "call"
	storeName = prefix + "store"
	writeName = prefix + "write"
	textName  = prefix + "text"
)

var (
	statement = regexp.MustCompile(`^\s*(\w+)(?:\s+([\w.]+)\s*=[^=])?`)
	bigNumber = regexp.MustCompile(`\b\d[\d_]{4}|\b\d[eExX]`)
)

// watch puts calls of the watcher into a template: at the start of the bodies
// of for and macro, after a set, and around what is written. It takes the texts
// between the tags out, for textName to write, with white space removed as
// Jinja does under trim_blocks and lstrip_blocks; the library does that across
// neighbouring tags.
func watch(source string) (watched string, texts []string, err error) {
	if strings.Contains(source, prefix) {
		return "", nil, fmt.Errorf("the template uses the name %s", prefix)
	}
	var b strings.Builder
	var before string // the tag before the text; empty at the start
	lineStart := true
	text := ""
	emit := func(after string) {
		text, lineStart = trimAfter(text, before, lineStart)
		if text = trimBefore(text, after, lineStart); text != "" {
			fmt.Fprintf(&b, "{{ %s(%d) }}", textName, len(texts))
			texts = append(texts, text)
		}
		text, before = "", after
	}
	for rest := source; ; {
		at := strings.IndexByte(rest, '{')
		if at < 0 || at+1 == len(rest) {
			text += rest
			emit("")
			return b.String(), texts, nil
		}
		closer, ok := map[byte]string{'{': "}}", '%': "%}", '#': "#}"}[rest[at+1]]
		if !ok {
			text += rest[:at+1]
			rest = rest[at+1:]
			continue
		}
		text += rest[:at]
		end := tagEnd(rest[at+2:], closer)
		if end < 0 {
			return "", nil, fmt.Errorf("the tag %q is not closed", shorten(rest[at:]))
		}
		tag := rest[at : at+2+end]
		rest = rest[at+2+end:]
		emit(tag)
		if closer == "#}" {
			continue
		}
		if err := checkTag(tag); err != nil {
			return "", nil, err
		}
		b.WriteString(watchTag(tag))
	}
}

const space = " \t\n\v\f\r"

// trimAfter removes what the tag before a text takes of it, and reports whether
// the rest begins a line.
func trimAfter(text, tag string, lineStart bool) (string, bool) {
	switch {
	case tag == "":
		return text, lineStart
	case tag[len(tag)-3] == '-':
		rest := strings.TrimLeft(text, space)
		return rest, strings.HasSuffix(text[:len(text)-len(rest)], "\n")
	case tag[1] != '{':
		return strings.CutPrefix(text, "\n")
	}
	return text, false
}

// trimBefore removes what the tag after a text takes of it.
func trimBefore(text, tag string, lineStart bool) string {
	switch {
	case tag == "":
	case tag[2] == '-':
		return strings.TrimRight(text, space)
	case tag[1] != '{':
		line := strings.LastIndexByte(text, '\n') + 1
		if (line > 0 || lineStart) && strings.Trim(text[line:], space) == "" {
			return text[:line]
		}
	}
	return text
}

// tagEnd returns the length of a tag's text with its closer, or -1. Closers in
// quotes do not count, except in comments.
func tagEnd(text, closer string) int {
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case closer != "#}" && (c == '\'' || c == '"'):
			quote = c
		case strings.HasPrefix(text[i:], closer):
			return i + len(closer)
		}
	}
	return -1
}

// unsure matches what the library reads but does not follow: marks that keep
// white space, and filter blocks with more than a name. Raw blocks are here
// because the watcher would be text in them.
var unsure = regexp.MustCompile(`^\{%\+|\+%\}$|^\{%-?\s*filter\s+\w+\s*[|(]|^\{%-?\s*raw\b`)

// checkTag refuses what could take all memory in one expression, and what the
// library gets wrong.
func checkTag(tag string) error {
	if unsure.MatchString(tag) {
		return fmt.Errorf("the tag %q is not supported", shorten(tag))
	}
	if strings.Trim(tag[2:len(tag)-2], "-\n\t ") == "" {
		return fmt.Errorf("the tag %q is empty", tag)
	}
	code := quoted.ReplaceAllString(tag, "''")
	if strings.Contains(code, "*") {
		return errors.New("it multiplies, which is not tried")
	}
	if n := bigNumber.FindString(code); n != "" {
		return fmt.Errorf("it has a number as large as %s…, which is not tried", n)
	}
	return nil
}

var quoted = regexp.MustCompile(`(?s)'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"`)

// watchTag returns the tag with its call of the watcher.
func watchTag(tag string) string {
	open, close := tag[:2], tag[len(tag)-2:]
	text := tag[2 : len(tag)-2]
	if strings.HasPrefix(text, "-") {
		open, text = open+"-", text[1:]
	}
	if strings.HasSuffix(text, "-") {
		close, text = "-"+close, text[:len(text)-1]
	}
	if tag[1] == '{' {
		return open + " " + writeName + "((" + text + ")) " + close
	}
	m := statement.FindStringSubmatch(text)
	call := func(f, arg string) string {
		return tag + "{% set " + prefix + " = " + f + "(" + arg + ") " + close
	}
	switch {
	case m == nil:
		return tag
	case m[1] == "for":
		return call(turnName, "")
	case m[1] == "macro":
		return call(callName, "")
	case m[1] == "set" && m[2] != "":
		return call(storeName, m[2])
	}
	return tag
}
