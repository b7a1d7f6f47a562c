// Package spreadsheet writes text that spreadsheets show and do not run.
package spreadsheet

import (
	"strconv"
	"strings"
)

// Cell returns text as a spreadsheet shows it without running it: with an
// apostrophe in front if, after white space and marks that do not print, it
// begins with =, +, - or @ or one of their full-width forms. A number with a sign
// stays one. NUL, which ends a cell in some programs, becomes U+FFFD.
func Cell(s string) string {
	s = strings.ReplaceAll(s, "\x00", "\ufffd")
	first := strings.TrimLeftFunc(s, func(r rune) bool { return r <= ' ' || !strconv.IsPrint(r) })
	if first == "" || !strings.ContainsRune("=+-@＝＋－＠", []rune(first)[0]) {
		return s
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return s
	}
	return "'" + s
}
