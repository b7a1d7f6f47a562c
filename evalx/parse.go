package evalx

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// Limits of [Parse]. They bound the time and memory that an answer can cost
// here and in later arithmetic, far beyond what an answer is for.
const (
	maxDepth     = 1000 // arrays and objects open at once
	maxNumberLen = 1000 // bytes of a number
	maxExponent  = 9999 // absolute value of a number's exponent
)

// The causes of a [ParseError], which its Reason begins with.
const (
	emptyAnswer  = "empty answer"          // nothing but white space
	syntaxError  = "syntax error"          // a character where JSON does not allow it
	truncated    = "answer ends too early" // as where generation runs into its token limit
	duplicateKey = "duplicate key"         // JSON leaves open which one counts, and readers differ
	tooDeep      = "nested too deep"
	invalidText  = "invalid UTF-8" // bytes, or an escaped half of a surrogate pair
	badNumber    = "bad number"    // beyond the limits
	noObject     = "no object in braces"
)

// A ParseError says where and why an answer cannot be read.
type ParseError struct {
	Offset int    // bytes before the fault, from the start of the answer; -1 if not known
	Line   int    // 1 for the first; lines end with "\n"
	Column int    // 1 for the first character (code point) of the line
	Reason string // "answer ends too early: want a value"
}

// Error returns the place and the reason.
func (e *ParseError) Error() string {
	return fmt.Sprintf("answer, line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// parseError returns the error for a fault at an offset of answer.
func parseError(answer string, offset int, format string, args ...any) *ParseError {
	before := answer[:offset]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &ParseError{
		Offset: offset,
		Line:   1 + strings.Count(before, "\n"),
		Column: 1 + utf8.RuneCountInString(line),
		Reason: fmt.Sprintf(format, args...),
	}
}

// Parse reads an answer that is exactly one JSON value (RFC 8259), with nothing
// around it but the white space of JSON: blanks, tabs, "\n", "\r". Numbers are
// kept as written. Nesting beyond 1,000 levels, numbers longer than 1,000 bytes
// and exponents beyond 9,999 are refused.
//
// Any other answer is refused with a [*ParseError] for its first fault (bytes
// that are not UTF-8 are looked for first) and a nil value. What Parse accepts,
// encoding/json accepts with the same value.
func Parse(answer string) (Value, error) {
	if i := strictjson.InvalidUTF8(answer); i >= 0 {
		return nil, parseError(answer, i, "%s: byte 0x%02x", invalidText, answer[i])
	}
	if strings.Trim(answer, " \t\r\n") == "" {
		return nil, parseError(answer, len(answer), emptyAnswer)
	}
	root, faults, _ := strictjson.Parse([]byte(answer), 0, maxDepth)
	if faults != nil {
		return nil, answerFault(answer, faults[0])
	}
	value, far := valueOf(&root)
	if far != nil {
		return nil, parseError(answer, far.Offset, "%s: %s is longer than %d bytes or has an exponent beyond %d",
			badNumber, clip(far.Text), maxNumberLen, maxExponent)
	}
	return value, nil
}

// answerFault words a fault of the reader.
func answerFault(answer string, f strictjson.Fault) error {
	switch f.Cause {
	case strictjson.UTF8:
		return parseError(answer, f.Offset, "%s: %s", invalidText, f.Detail)
	case strictjson.Depth:
		return parseError(answer, f.Offset, "%s: %s", tooDeep, f.Detail)
	case strictjson.DuplicateKey:
		return parseError(answer, f.Offset, "%s %s", duplicateKey, clip(f.Path[len(f.Path)-1].Key))
	}
	if f.Offset == len(answer) {
		return parseError(answer, f.Offset, "%s: %s", truncated, strings.TrimPrefix(f.Detail, "unexpected end of input, "))
	}
	return parseError(answer, f.Offset, "%s: %s", syntaxError, f.Detail)
}

// valueOf returns the value of a tree, or the first number in it that is beyond
// the limits.
func valueOf(v *strictjson.Value) (value Value, far *strictjson.Value) {
	switch v.Kind {
	case strictjson.Object:
		object := make(map[string]any, len(v.Members))
		for i := range v.Members {
			if object[v.Members[i].Key], far = valueOf(&v.Members[i].Value); far != nil {
				return nil, far
			}
		}
		return object, nil
	case strictjson.Array:
		array := make([]any, len(v.Items))
		for i := range v.Items {
			if array[i], far = valueOf(&v.Items[i]); far != nil {
				return nil, far
			}
		}
		return array, nil
	case strictjson.String:
		return v.Text, nil
	case strictjson.Number:
		if !inLimits(v.Text) {
			return nil, v
		}
		return json.Number(v.Text), nil
	case strictjson.Boolean:
		return v.Text == "true", nil
	}
	return nil, nil
}

// Extract returns the text from the first { of answer to its last }, both
// included. It is the lenient reading: prose and code fences around an object
// do no harm, while a brace in the prose, or two objects, give text that is no
// JSON. Without braces it fails with a [*ParseError] at the first {, or at the
// start.
//
// Extract is not part of [Parse]. A service that passes answers on as they are
// has to be measured without it; a [Task] uses it only if its Read does.
func Extract(answer string) (string, error) {
	start := strings.IndexByte(answer, '{')
	end := strings.LastIndexByte(answer, '}')
	if start < 0 || end < start {
		return "", parseError(answer, max(start, 0), noObject)
	}
	return answer[start : end+1], nil
}

// inLimits reports whether a number of JSON's form is within maxNumberLen and
// maxExponent.
func inLimits(number string) bool {
	if len(number) > maxNumberLen {
		return false
	}
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[i+1:])
	return err == nil && -maxExponent <= exponent && exponent <= maxExponent
}

// clip quotes the beginning of a text for an error message.
func clip(s string) string {
	const most = 24 // characters
	n := 0
	for i := range s {
		if n == most {
			return strconv.QuoteToGraphic(s[:i]) + "..."
		}
		n++
	}
	return strconv.QuoteToGraphic(s)
}
