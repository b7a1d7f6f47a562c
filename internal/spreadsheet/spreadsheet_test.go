package spreadsheet

import "testing"

func TestCell(t *testing.T) {
	for _, tt := range []struct{ cell, want, reason string }{
		{`=HYPERLINK("http://x","y")`, `'=HYPERLINK("http://x","y")`, "a formula"},
		{"+1+1", "'+1+1", "a formula"},
		{"-5", "-5", "a number"},
		{"-5+A1", "'-5+A1", "no number"},
		{"@SUM(A1)", "'@SUM(A1)", "a formula of old"},
		{" \t\r\n=1", "' \t\r\n=1", "white space in front is cut by programs"},
		{"\ufeff=1", "'\ufeff=1", "so is a mark that does not show"},
		{"＝1", "'＝1", "full width"},
		{"a\x00=1", "a\ufffd=1", "NUL ends a cell"},
		{"2023", "2023", "text"},
		{"", "", "nothing"},
		{"a=b", "a=b", "inside"},
	} {
		if got := Cell(tt.cell); got != tt.want {
			t.Errorf("Cell(%q) = %q, want %q: %s", tt.cell, got, tt.want, tt.reason)
		}
	}
}
