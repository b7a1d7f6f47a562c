// Package donation says which arguments of a program are given up by every call, so
// that results may lie in their memory.
//
// go-xla hands over at a call what is given up, but says nothing of it when a program
// is compiled, which is when XLA decides where results lie. What does reach the text of
// a program is its name, [Name]; from it [Alias] writes XLA's attribute into the text
// on its way to the compiler, in package salamandra/xlaplugin. Without that package the
// name says nothing to anybody, and results get memory of their own.
package donation

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// Name is that of a program every call of which gives up n of its arguments, from
// number first on, or all from there on if n is 0.
func Name(program string, first, n int) string {
	if n == 0 {
		return fmt.Sprintf("%s gives %d on", program, first)
	}
	return fmt.Sprintf("%s gives %d to %d", program, first, first+n)
}

// named finds the name in a text: go-xla writes _ for what is no letter or digit, and
// gomlx a number behind it.
var named = regexp.MustCompile(`^module @\w+_gives_(\d+)_(?:to_(\d+)|on)_\d+ `)

// Alias says in the StableHLO text of a program in which results' memory lie the
// arguments that its name says are given up: each in that of the first result of the
// same type and sharding that no other has. Where an argument is not given up at a
// call, XLA copies it. The text of any other program is returned as it is.
func Alias(text []byte) []byte {
	of := named.FindSubmatch(text)
	if of == nil {
		return text
	}
	head, rest, ok := bytes.Cut(text, []byte("func.func @main("))
	if !ok {
		return text
	}
	arguments, rest := split(rest)
	rest, ok = bytes.CutPrefix(rest, []byte(" -> "))
	first, end := number(of[1], 0), number(of[2], len(arguments))
	if !ok || first > end || end > len(arguments) {
		return text
	}
	results := [][]byte{rest[:max(0, bytes.Index(rest, []byte(" {\n")))]}
	if bytes.HasPrefix(rest, []byte("(")) {
		results, _ = split(rest[1:])
	}
	taken := make([]bool, len(results))
	for i := first; i < end; i++ {
		_, kind, _ := bytes.Cut(arguments[i], []byte(": "))
		for j, result := range results {
			if !taken[j] && bytes.Equal(kind, result) {
				taken[j], arguments[i] = true, withAlias(arguments[i], j)
				break
			}
		}
	}
	return bytes.Join([][]byte{head, []byte("func.func @main("), bytes.Join(arguments, []byte(", ")), []byte(") -> "), rest}, nil)
}

// number reads a number, or takes another if there is none.
func number(text []byte, other int) int {
	if len(text) == 0 {
		return other
	}
	n, err := strconv.Atoi(string(text))
	if err != nil { // it has too many digits
		return math.MaxInt
	}
	return n
}

// withAlias adds the attribute to an argument.
func withAlias(argument []byte, result int) []byte {
	if others, ok := bytes.CutSuffix(argument, []byte("}")); ok {
		return fmt.Appendf(nil, "%s, tf.aliasing_output = %d : i32 }", bytes.TrimRight(others, " \n"), result)
	}
	return fmt.Appendf(nil, "%s {tf.aliasing_output = %d : i32}", argument, result)
}

// split cuts a list at its commas, up to the bracket that ends it; rest is what follows.
func split(text []byte) (list [][]byte, rest []byte) {
	depth, start := 0, 0
	for i, c := range text {
		switch {
		case c == '(' || c == '<' || c == '[' || c == '{':
			depth++
		case c == ')' && depth == 0:
			if i > 0 {
				list = append(list, text[start:i])
			}
			return list, text[i+1:]
		case c == ')' || c == '>' || c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			list, start = append(list, text[start:i]), i+len(", ")
		}
	}
	return nil, nil
}
