package evalx

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// patternTime is how long a pattern may take for one text.
const patternTime = time.Second

// pattern is a regular expression with the meaning of ECMA-262, which JSON Schema
// gives its patterns, lookaround included.
type pattern struct {
	text     string
	compiled *regexp2.Regexp
}

// compilePattern is the engine of the schemas. What it does not know and Go's does,
// such as \p{Letter}, is left to that.
func compilePattern(text string) (jsonschema.Regexp, error) {
	compiled, err := regexp2.Compile(withoutLineEnds(text), regexp2.ECMAScript|regexp2.Unicode)
	if err != nil {
		if plain, err := regexp.Compile(text); err == nil {
			return plain, nil
		}
		return nil, err
	}
	compiled.MatchTimeout = patternTime
	return pattern{text, compiled}, nil
}

// withoutLineEnds writes the class that . is out: regexp2 leaves two of its four
// line ends in.
func withoutLineEnds(text string) string {
	var b strings.Builder
	class := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			b.WriteByte(c)
			i++
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '.' && !class:
			b.WriteString(`[^\n\r\u2028\u2029]`)
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// slowPattern is the panic of a pattern that takes too long, as the library knows
// no error of a match.
type slowPattern string

func (p pattern) MatchString(s string) bool {
	matches, err := p.compiled.MatchString(s)
	if err != nil {
		panic(slowPattern(p.text))
	}
	return matches
}

func (p pattern) String() string { return p.text }

// tooSlow turns the panic of a slow pattern into a violation of the whole value.
func tooSlow(bad *[]Violation) {
	switch fault := recover().(type) {
	case nil:
	case slowPattern:
		*bad = []Violation{{Message: fmt.Sprintf("the pattern %s takes more than %v to match", clip(string(fault)), patternTime)}}
	default:
		panic(fault)
	}
}
