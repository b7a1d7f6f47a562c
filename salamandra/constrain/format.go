package constrain

import (
	"strings"
	"sync"
)

// Parts of the patterns of formats, in the syntax of ECMA-262.
const (
	// days is RFC 3339's full-date, the 29th of February in leap years only, without
	// the year 0, which not all calendars have.
	days = `(` + years + `-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))` +
		`|([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29)`
	years = `([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])`
	// clock is full-time without leap seconds, of which only a table knows.
	clock   = `([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`
	period  = `([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S)`
	label   = `[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?`
	atom    = `[A-Za-z0-9!#$%&'*+/=?^_{|}~-]{1,20}`
	domain  = `[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?` // so that six are not too long
	words   = `[A-Za-z0-9]{1,12}(-[A-Za-z0-9]{1,12}){0,2}`  // "--" means more there
	octet   = `(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	ipv4    = octet + `(\.` + octet + `){3}`
	group16 = `[0-9A-Fa-f]{1,4}`
	hex4    = `[0-9A-Fa-f]{4}`
	pointer = `(/([^~/]|~[01])*)*`
	// template is without the letters that only some validators take, such as a colon
	// that is not behind a scheme.
	template = "([A-Za-z][A-Za-z0-9+.-]*:)?([!#$&()*+,./0-9;=?@A-Z_a-z~-]|%2[0-9A-F]|\\{[+.;&]?[A-Za-z0-9_]+(,[A-Za-z0-9_]+)*\\*?\\})*"
)

// formats are the patterns of those values of format that the specification
// defines. They hold strings that validators take for valid; some that only some
// validators take are left out, such as mail addresses with quoted parts.
var formats = map[string]string{
	"date":                  days,
	"time":                  clock,
	"date-time":             days + `T` + clock,
	"duration":              `P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)(T` + period + `)?|T` + period + `)`,
	"email":                 atom + `(\.` + atom + `){0,2}@` + domain + `(\.` + domain + `){0,5}`,
	"idn-email":             atom + `(\.` + atom + `){0,2}@` + domain + `(\.` + domain + `){0,5}`,
	"hostname":              label + `(\.` + domain + `){0,4}`,
	"idn-hostname":          words + `(\.` + words + `){0,4}`,
	"ipv4":                  ipv4,
	"ipv6":                  ipv6(),
	"uuid":                  hex4 + hex4 + `-` + hex4 + `-` + hex4 + `-` + hex4 + `-` + hex4 + hex4 + hex4,
	"uri":                   reference("", true),
	"uri-reference":         reference("", false),
	"iri":                   reference(`\u{A0}-\u{D7FF}`, true),
	"iri-reference":         reference(`\u{A0}-\u{D7FF}`, false),
	"uri-template":          template,
	"json-pointer":          pointer,
	"relative-json-pointer": `(0|[1-9][0-9]?)(#|` + pointer + `)`,
	"regex":                 regexes(2),
}

// notFormats are patterns of which every string of a format has one, by whatever
// validator: the others are certainly not of the format.
var notFormats = map[string]string{
	"date":                  `^\s*[+-]?[0-9]`,
	"time":                  `^\s*[Tt+-]?[0-9]`,
	"date-time":             `^\s*[+-]?[0-9]`,
	"duration":              `^\s*[+-]?[Pp]`,
	"email":                 `@`,
	"idn-email":             `@`,
	"hostname":              `^[^\s!@#$%^&*()=+{}\[\]|\\;'",<>?/:]*$`,
	"idn-hostname":          `^[^\s!@#$%^&*()=+{}\[\]|\\;'",<>?/:]*$`,
	"ipv4":                  `^[\s0-9A-Fa-fxX.]*$`,
	"ipv6":                  `:`,
	"uuid":                  `([0-9A-Fa-f][^0-9A-Fa-f]*){32}`,
	"uri":                   `:`,
	"uri-reference":         `^[^\0-\x1f\x7f#]*(#|$)`,
	"iri":                   `:`,
	"iri-reference":         `^[^\0-\x1f\x7f#]*(#|$)`,
	"uri-template":          `^[^\0-\x1f\x7f#{]*([#{]|$)`,
	"json-pointer":          `^(/|$)`,
	"relative-json-pointer": `^[0-9]`,
	"regex":                 `^([^*+]|$)`,
}

// formatPattern returns the pattern of a format, anchored.
func formatPattern(name string) (string, bool) {
	p, ok := formats[name]
	return "^(?:" + p + ")$", ok
}

// formatAutomata are those of formats, which have no limit but are made once.
var formatAutomata = func() map[string]func() (*automaton, error) {
	all := map[string]func() (*automaton, error){}
	for name := range formats {
		text, _ := formatPattern(name)
		all[text] = sync.OnceValues(func() (*automaton, error) {
			d, made, err := compileECMA(text, 50_000, nil)
			if err != nil {
				return nil, err
			}
			return newAutomaton(d, made), nil
		})
	}
	return all
}()

// reference is RFC 3986's URI, or also its relative references, with more letters
// where they may stand, and without IP literals in brackets.
func reference(letters string, absolute bool) string {
	char := func(also string) string {
		return `([A-Za-z0-9._~!$&'()*+,;=` + also + letters + `-]|%[0-9A-Fa-f]{2})`
	}
	path := char(`:@/`) + `*`
	authority := `//(` + char(`:`) + `*@)?` + char(``) + `*(:[0-9]{1,5})?(/` + path + `)?`
	rooted := `/(` + char(`:@`) + path + `)?`
	tail := `(\?` + char(`:@/?`) + `*)?(#` + char(`:@/?`) + `*)?`
	full := `[A-Za-z][A-Za-z0-9+.-]*:(` + authority + `|` + rooted + `|` + char(`:@`) + path + `|)` + tail
	if absolute {
		return full
	}
	return `(` + full + `|(` + authority + `|` + rooted + `|` + char(`@`) + `+(/` + path + `)?|)` + tail + `)`
}

// ipv6 is RFC 4291's text form without zone, "::" standing for at least one group.
func ipv6() string {
	list := []string{`(` + group16 + `:){7}` + group16, `(` + group16 + `:){6}` + ipv4}
	for before := range 8 {
		head := `::`
		if before > 0 {
			head = group16 + strings.Repeat(`:`+group16, before-1) + `::`
		}
		after := 7 - before
		if after == 0 {
			list = append(list, head)
			continue
		}
		list = append(list, head+`(`+group16+`(:`+group16+`){0,`+string(rune('0'+after-1))+`})?`)
		if after >= 2 {
			list = append(list, head+`(`+group16+`:){0,`+string(rune('0'+after-2))+`}`+ipv4)
		}
	}
	return `(` + strings.Join(list, `|`) + `)`
}

// regexes is regular expressions of ECMA-262 with groups nested up to a depth, of
// a kind that every engine reads.
func regexes(depth int) string {
	const escape = `\\[dDwWsStnrfv\\/^$.*+?()\[\]{}|]`
	const class = `\[\^?(a-z|A-Z|0-9|[A-Za-z0-9_ .,:;@#%&!/'"=+*?$()]|` + escape + `)+-?\]`
	one := `([A-Za-z0-9_ ,:;@#%&!/'"=<>~-]|\.|` + escape + `|` + class + `)`
	if depth > 0 {
		one = `(` + one + `|\((\?:)?` + regexes(depth-1) + `\))`
	}
	branch := `\^?(` + one + `([*+?]\??|\{[0-9]{1,2}(,)?\})?)*\$?`
	return branch + `(\|` + branch + `)*`
}
