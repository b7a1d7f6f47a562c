package impulse

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/impulse-salamandra/finetune/evalx"
)

// years are the years from From to To, both included.
type years struct{ From, To int }

// yearSigns are other spellings of the signs that filters.year is written with.
var yearSigns = strings.NewReplacer(
	"≥", ">=", "⩾", ">=", "=>", ">=", "≤", "<=", "⩽", "<=", "=<", "<=",
	"‐", "-", "‑", "-", "‒", "-", "–", "-", "—", "-", "−", "-",
	" ", "", "\t", "", "\u00a0", "", "\u2009", "", "\u202f", "",
)

// parseYears reads a year of four digits as a number or text ("2023"), an open
// range (">=2020", ">2019", "≤ 2018", "<2015") or a closed one ("2018-2020",
// "2018 – 2020"). A range that runs backwards is none.
func parseYears(v evalx.Value) (years, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Float64()
		return years{int(n), int(n)}, err == nil && n == math.Trunc(n) && 1000 <= n && n <= 9999
	case string:
		return parseYearText(yearSigns.Replace(v))
	}
	return years{}, false
}

func parseYearText(text string) (years, bool) {
	digits := strings.TrimLeft(text, "<=>")
	sign := text[:len(text)-len(digits)]
	first, last, isRange := strings.Cut(digits, "-")
	from, ok := parseYear(first)
	if !ok {
		return years{}, false
	}
	if isRange {
		to, ok := parseYear(last)
		return years{from, to}, ok && sign == "" && from <= to
	}
	switch sign {
	case "", "=":
		return years{from, from}, true
	case ">=":
		return years{from, math.MaxInt}, true
	case ">":
		return years{from + 1, math.MaxInt}, true
	case "<=":
		return years{math.MinInt, from}, true
	case "<":
		return years{math.MinInt, from - 1}, true
	}
	return years{}, false
}

func parseYear(digits string) (int, bool) {
	year, err := strconv.Atoi(digits)
	return year, err == nil && len(digits) == 4 && year >= 1000
}

// sameYears compares years by what they mean, and other values exactly.
func sameYears(want, got evalx.Value) bool {
	w, ok1 := parseYears(want)
	g, ok2 := parseYears(got)
	if ok1 && ok2 {
		return w == g
	}
	return evalx.Exact(want, got)
}
