package evalx

import (
	"strings"
	"testing"
)

// TestPatterns: patterns mean what they mean in ECMA-262 with the unicode flag. The
// verdicts are those of Node 18.
func TestPatterns(t *testing.T) {
	for _, row := range []struct {
		pattern string
		yes, no []string
	}{
		{`^\S$`, []string{"x", "é", "\u180e"}, []string{"\u00a0", "\ufeff", "\v", " "}},
		{`^\s$`, []string{"\u00a0", "\ufeff", "\v", "\u2028"}, []string{"x", "\u0085"}},
		{`^a.c$`, []string{"abc", "a\u0085c", "a😀c"}, []string{"a\nc", "a\rc", "a\u2028c", "a\u2029c"}},
		{`^[.]\.$`, []string{".."}, []string{"a.", ".a"}},
		{`^[^\].]$`, []string{"a"}, []string{".", "]"}},
		{`^\d\w$`, []string{"1a"}, []string{"٣a", "1é"}},
		{`^a$`, []string{"a"}, []string{"a\n"}},
		{`^\u00e9\x41\cJ\/$`, []string{"éA\n/"}, []string{"éA/"}},
		{`^[\u{1F600}-\u{1F64F}]$`, []string{"😀"}, []string{"a"}},
		{`^\p{Letter}\p{L}$`, []string{"éα"}, []string{"1a"}},
		{`^(?!x)(?:[a-z]+)(?<=b)$`, []string{"ab"}, []string{"xb", "ac"}},
		{`^(a|b)\1$`, []string{"aa"}, []string{"ab"}},
	} {
		s, err := patterned(row.pattern)
		if err != nil {
			t.Errorf("%s: %v", row.pattern, err)
			continue
		}
		for _, text := range row.yes {
			if bad := s.Validate(text); bad != nil {
				t.Errorf("%s, %q: %v", row.pattern, text, bad)
			}
		}
		for _, text := range row.no {
			if bad := s.Validate(text); len(bad) != 1 || bad[0].Keyword != "pattern" || !strings.Contains(bad[0].Message, row.pattern) {
				t.Errorf("%s, %q: %v, want one violation of the pattern as it is written", row.pattern, text, bad)
			}
		}
	}
	for pattern, want := range map[string]string{"(": "missing closing", `\p{Klingon}`: "unknown unicode category"} {
		_, err := patterned(pattern)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", pattern, err, want)
		}
	}
}

func patterned(pattern string) (*Schema, error) {
	return CompileSchema("s", []byte(`{"pattern": "`+strings.ReplaceAll(pattern, `\`, `\\`)+`"}`))
}

// TestSlowPattern: a pattern that takes for ever is a violation.
func TestSlowPattern(t *testing.T) {
	s, err := CompileSchema("s", []byte(`{"properties": {"a": {"pattern": "^(a+)+$"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	bad := s.Validate(map[string]any{"a": strings.Repeat("a", 100) + "b"})
	if len(bad) != 1 || !strings.Contains(bad[0].Message, `the pattern "^(a+)+$" takes more than 1s to match`) {
		t.Error(bad)
	}
}
