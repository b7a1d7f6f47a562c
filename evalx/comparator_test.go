package evalx

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	v := mustParse(t, `{"a":{"b":null,"c":[{"d":1}],"":{"":2}},"x.y":3}`)
	tests := []struct {
		path   string
		want   Value
		reason string
	}{
		{"", v, "the whole value"},
		{"a.b", nil, "a null that is there"},
		{"a.z", Missing{}, "a key that is not there"},
		{"z.z", Missing{}, "nor its holder"},
		{"a.b.c", Missing{}, "null has no keys"},
		{"a.c.d", Missing{}, "an array has no keys"},
		{"a.c.0", Missing{}, "items have no path"},
		{"a..", json.Number("2"), "empty keys"},
		{"x.y", Missing{}, "a dot always separates"},
	}
	for _, tt := range tests {
		if got := Lookup(v, tt.path); !Exact(tt.want, got) {
			t.Errorf("Lookup(%q) = %v, want %v: %s", tt.path, got, tt.want, tt.reason)
		}
	}
	if got := Lookup(nil, "a"); got != (Value)(Missing{}) {
		t.Errorf("Lookup in null = %v, want Missing", got)
	}
}

// programmes returns the equivalent programmes of testdata.
func programmes(t testing.TB) func(string) string {
	t.Helper()
	var file struct {
		Sets [][]string `json:"equivalence_sets"`
	}
	if err := json.Unmarshal(readFile(t, "programme_equivalences.json"), &file); err != nil {
		t.Fatal(err)
	}
	return Equivalent(Fold, file.Sets...)
}

// missing is written for Missing{} in tables of JSON texts.
const missing = "missing"

func tableValue(t *testing.T, text string) Value {
	if text == missing {
		return Missing{}
	}
	return mustParse(t, text)
}

func TestComparators(t *testing.T) {
	programmes := Folded(programmes(t))
	organisation := Object(Field{Path: "name", Compare: Folded(Fold)}, Field{Path: "location"})
	tests := []struct {
		name      string
		compare   Comparator
		want, got string
		equal     bool
		reason    string
	}{
		{"exact text", Exact, `"a"`, `"a"`, true, ""},
		{"exact case", Exact, `"a"`, `"A"`, false, "case counts"},
		{"exact forms", Exact, `"é"`, `"e\u0301"`, false, "code points count"},
		{"exact null", Exact, `null`, `null`, true, ""},
		{"exact null and missing", Exact, `null`, missing, false, "a key left out is not null"},
		{"exact missing and null", Exact, missing, `null`, false, "nor the other way"},
		{"exact missing", Exact, missing, missing, true, "nothing was wanted or given"},
		{"exact null and empty", Exact, `null`, `""`, false, "empty text is text"},
		{"exact false and null", Exact, `false`, `null`, false, ""},
		{"exact numbers", Exact, `1`, `1.0`, true, "numbers by value"},
		{"exact exponents", Exact, `1500`, `1.5e3`, true, "numbers by value"},
		{"exact minus zero", Exact, `0`, `-0.0`, true, "numbers by value"},
		{"exact last digit", Exact, `12345678901234567890`, `12345678901234567891`, false, "float64 would call them equal"},
		{"exact decimal", Exact, `0.1`, `0.1000000000000000055511151231257827`, false, "float64 would call them equal"},
		{"exact number and text", Exact, `2023`, `"2023"`, false, "kinds differ"},
		{"exact number and bool", Exact, `1`, `true`, false, "kinds differ"},
		{"exact objects", Exact, `{"a":1,"b":[null]}`, `{"b":[null],"a":1e0}`, true, "order of keys does not count"},
		{"exact key too many", Exact, `{"a":1}`, `{"a":1,"b":null}`, false, "null is a value"},
		{"exact other key", Exact, `{"a":null}`, `{"b":null}`, false, "null is a value"},
		{"exact arrays", Exact, `[1,2]`, `[2,1]`, false, "order of items counts"},
		{"exact array length", Exact, `[1]`, `[1,1]`, false, ""},
		{"exact empty kinds", Exact, `{}`, `[]`, false, "kinds differ"},

		{"numeric within", Numeric(0.1), `1`, `1.1`, true, "the border belongs to it"},
		{"numeric beyond", Numeric(0.5), `1`, `1.5000000000000001`, false, "compared exactly"},
		{"numeric zero", Numeric(0), `1`, `1.0`, true, "equality"},
		{"numeric below", Numeric(2), `-1`, `-3`, true, "both directions"},
		{"numeric text", Numeric(1), `2023`, `"2023"`, false, "text is text"},
		{"numeric null", Numeric(1), `null`, `null`, true, "null for null"},
		{"numeric null given", Numeric(1), `0`, `null`, false, "null is no zero"},
		{"numeric negative", Numeric(-1), `1`, `1`, false, "accepts no number"},
		{"numeric NaN", Numeric(math.NaN()), `1`, `1`, false, "accepts no number"},
		{"numeric infinite", Numeric(math.Inf(1)), `1`, `1`, false, "accepts no number"},

		{"folded", Folded(Fold), `"  Energia   SOLAR "`, `"energia solar"`, true, "case and white space do not count"},
		{"folded accents", Folded(Fold), `"solar tèrmica"`, `"solar termica"`, false, "accents count"},
		{"folded without accents", Folded(FoldAccents), `"solar tèrmica"`, `"SOLAR TERMICA"`, true, "unless asked"},
		{"folded null", Folded(Fold), `null`, `null`, true, "null for null"},
		{"folded null given", Folded(Fold), `""`, `null`, false, "null is no text"},
		{"folded missing", Folded(Fold), `null`, missing, false, "missing is not null"},
		{"folded number", Folded(Fold), `2023`, `2023.0`, true, "what is no text is compared exactly"},

		{"overlap at threshold", TokenOverlap(Words, 0.5), `"energia solar"`, `"energia eòlica"`, true, "1 of 2, the border belongs to it"},
		{"overlap beyond", TokenOverlap(Words, 0.51), `"energia solar"`, `"energia eòlica"`, false, "1 of 2"},
		{"overlap longer", TokenOverlap(Words, 0.5), `"a b"`, `"a c d"`, false, "1 of 3: the longer text decides"},
		{"overlap order", TokenOverlap(Words, 1), `"a b a"`, `"B, a!"`, true, "order, repetition, case and punctuation do not count"},
		{"overlap empty", TokenOverlap(Words, 1), `""`, `" ."`, true, "no words on either side"},
		{"overlap one empty", TokenOverlap(Words, 0.1), `"a"`, `""`, false, "nothing in common"},

		{"equivalent", programmes, `"Horizon 2020"`, `"h2020"`, true, "one set"},
		{"equivalent in another set", programmes, `"Horizon 2020"`, `"Horizon Europe"`, false, "two sets"},
		{"equivalent in none", programmes, `"LIFE"`, `"life "`, true, "the normal form, then"},
		{"equivalent null", programmes, `null`, `null`, true, "null for null"},
		{"equivalent null given", programmes, `"ERC"`, `null`, false, ""},

		{"set order", Set(Exact), `[1,2]`, `[2,1]`, true, "order does not count"},
		{"set repetition", Set(Exact), `[1,2]`, `[2,1,1]`, true, "repetition does not count"},
		{"set too few", Set(Exact), `[1,2]`, `[2]`, false, "each wanted item is given"},
		{"set too many", Set(Exact), `[1]`, `[1,2]`, false, "each given item is wanted"},
		{"set empty", Set(Exact), `[]`, `[]`, true, ""},
		{"set null", Set(Exact), `[]`, `null`, false, "null is no array"},

		{"assignment order", Assignment(Exact), `[1,2,1]`, `[2,1,1]`, true, "order does not count"},
		{"assignment repetition", Assignment(Exact), `[1,2,2]`, `[2,1,1]`, false, "repetition does"},
		{"assignment length", Assignment(Exact), `[1]`, `[1,1]`, false, "one to one"},
		{"assignment not greedy", Assignment(TokenOverlap(Words, 0.5)), `["a b","a c"]`, `["a b","b d"]`, true, `"a b" must leave the first for "a c"`},
		{"assignment null", Assignment(Exact), `[]`, `null`, false, "null is no array"},

		{"object", organisation, `{"name":"UB","location":null,"type":"university"}`, `{"name":"ub","location":null}`, true, "keys outside the fields do not count"},
		{"object field", organisation, `{"name":"UB","location":null}`, `{"name":"UB","location":"Spain"}`, false, "every field counts"},
		{"object missing", organisation, `{"name":"UB","location":null}`, `{"name":"UB"}`, false, "missing is not null"},
		{"object null", organisation, `{"name":"UB"}`, `null`, false, ""},
		{"objects in any order", Assignment(organisation), `[{"name":"UB","location":null},{"name":"UPC","location":null}]`, `[{"name":"upc","location":null},{"name":"ub","location":null}]`, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.compare(tableValue(t, tt.want), tableValue(t, tt.got)); got != tt.equal {
				t.Errorf("want %s, got %s: %v, should be %v: %s", tt.want, tt.got, got, tt.equal, tt.reason)
			}
		})
	}
}

func TestExactForeignValues(t *testing.T) {
	equal := [][2]Value{{1, json.Number("1.0")}, {2.5, json.Number("25e-1")}, {int64(3), 3.0}}
	for _, pair := range equal {
		if !Exact(pair[0], pair[1]) || !Exact(pair[1], pair[0]) {
			t.Errorf("%v and %v differ", pair[0], pair[1])
		}
	}
	for _, v := range []Value{math.NaN(), math.Inf(1), struct{}{}, []string{"a"}, json.Number("x"), json.Number("1e999999999")} {
		if Exact(v, v) {
			t.Errorf("%#v, which is no JSON value of this package, equals itself", v)
		}
	}
}

// Match finds as many pairs as trying every order does.
func TestMatchAgainstAllOrders(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		n, m := rng.IntN(6), rng.IntN(6)
		fits := make([][]bool, n)
		var want, got []any
		for i := range n {
			want = append(want, i)
			for range m {
				fits[i] = append(fits[i], rng.IntN(3) == 0)
			}
		}
		for j := range m {
			got = append(got, j)
		}
		calls := 0
		match := match(want, got, func(w, g Value) bool {
			calls++
			return fits[w.(int)][g.(int)]
		})
		pairs := 0
		used := map[int]bool{}
		for i, j := range match {
			if j < 0 {
				continue
			}
			if used[j] || !fits[i][j] {
				t.Fatalf("%v pairs %d with %d: %v", match, i, j, fits)
			}
			used[j] = true
			pairs++
		}
		if best := mostPairs(fits, 0, make([]bool, m)); len(match) != n || pairs != best {
			t.Fatalf("%v has %d pairs, want %d: %v", match, pairs, best, fits)
		}
		if calls != n*m {
			t.Fatalf("%d comparisons of %d with %d items", calls, n, m)
		}
	}
}

func mostPairs(fits [][]bool, i int, used []bool) int {
	if i == len(fits) {
		return 0
	}
	best := mostPairs(fits, i+1, used)
	for j, fit := range fits[i] {
		if fit && !used[j] {
			used[j] = true
			best = max(best, 1+mostPairs(fits, i+1, used))
			used[j] = false
		}
	}
	return best
}

func TestOrderFreeLaws(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var items []any
		for range rng.IntN(8) {
			items = append(items, string(rune('a'+rng.IntN(4))))
		}
		shuffled := slices.Clone(items)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if !Set(Exact)(items, shuffled) || !Assignment(Exact)(items, shuffled) {
			t.Fatalf("%v and %v differ", items, shuffled)
		}
		if twice := append(shuffled, "a"); Assignment(Exact)(items, twice) {
			t.Fatalf("%v and %v are one to one", items, twice)
		}
	}
}

func TestFold(t *testing.T) {
	tests := []struct{ text, fold, bare, reason string }{
		{"", "", "", "nothing"},
		{"  Energia\t\nSOLAR\u00a0 tèrmica ", "energia solar tèrmica", "energia solar termica", "every kind of white space"},
		{"e\u0301", "é", "e", "composed and decomposed letters are one"},
		{"INTEL·LIGÈNCIA", "intel·ligència", "intel·ligencia", "the middle dot is no accent"},
		{"España, çedilla, Ångström", "españa, çedilla, ångström", "espana, cedilla, angstrom", "every mark goes, punctuation stays"},
		{"Łódź", "łódź", "łodz", "ł is a letter of its own"},
		{"ΣΑΣ σας", "σασ σασ", "σασ σασ", "the two small sigmas are one"},
		{"Αι", "αι", "αι", "iota stays a letter"},
		{"\u212a", "k", "k", "the Kelvin sign is a K"},
		{"Straße", "straße", "straße", "ß stays"},
	}
	for _, tt := range tests {
		if got := Fold(tt.text); got != tt.fold {
			t.Errorf("Fold(%q) = %q, want %q: %s", tt.text, got, tt.fold, tt.reason)
		}
		if got := FoldAccents(tt.text); got != tt.bare {
			t.Errorf("FoldAccents(%q) = %q, want %q: %s", tt.text, got, tt.bare, tt.reason)
		}
	}
}

func TestWords(t *testing.T) {
	got := Words(" «Energia», d'HIDROGEN (verd) - C++ 2018–2020 ... ")
	want := []string{"energia", "d'hidrogen", "verd", "c++", "2018–2020"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Every character by itself, and after a letter that it could combine with.
func TestFoldIsStable(t *testing.T) {
	for r := rune(0); r < 0x20000; r++ {
		for _, s := range []string{string(r), "a" + string(r), "Α" + string(r)} {
			if once := Fold(s); Fold(once) != once || Fold(strings.ToUpper(once)) != Fold(strings.ToUpper(s)) {
				t.Errorf("U+%04X: Fold(%q) = %+q, then %+q", r, s, once, Fold(once))
			}
		}
	}
}

// A normal form is its own normal form, and has no capitals or line breaks.
func FuzzFold(f *testing.F) {
	for _, seed := range []string{"Energia  SOLAR", "ΣΑΣ", "İIıi", "ǅ", "\u0345α", "각", "e\u0301\u0323", "\xff", "\xf0ȫ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, fold := range map[string]func(string) string{"Fold": Fold, "FoldAccents": FoldAccents} {
			once := fold(s)
			if twice := fold(once); twice != once {
				t.Errorf("%s(%q) = %+q, then %+q", name, s, once, twice)
			}
		}
		if strings.ContainsAny(Fold(s), "ABCDEFGHIJKLMNOPQRSTUVWXYZ\t\n") {
			t.Errorf("Fold(%q) = %q", s, Fold(s))
		}
	})
}
