package report

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/evalx"
)

// evilAnswers try to run in a page, a terminal or a spreadsheet.
var evilAnswers = []string{
	`{"year": "<script>alert(1)</script>", "x": "</style><img src=x onerror=alert(1)>"}`,
	`</pre></details><script>alert(1)</script>`,
	"=HYPERLINK(\"http://example.com\",\"x\")",
	"{\"year\": \"\\u001b[2J\", \"\\\"><b\": 1}",
	"\x1b[2J\u202e\x00\xff",
	`{"year": "javascript:alert(1)", "{{.}}": {"a/b~c": [1, {"d": []}]}}`,
}

func evilResults(t *testing.T) []evalx.Result {
	t.Helper()
	const evil = `<script>alert("q")</script>`
	task := evalx.Task{
		Schema:  mustSchema(t, `{"properties":{"year":{"pattern":"^[0-9]+$"}}}`),
		Fields:  []evalx.Field{{Path: "year"}, {Name: "<b>" + evil, Path: "x"}},
		Groups:  []evalx.Group{{Name: evil, Of: func(evalx.Value) string { return evil }}},
		Classes: []evalx.Class{{Name: evil, Severity: "critical", Find: wrongYear}},
	}
	var results []evalx.Result
	for i, answer := range append(evilAnswers, `{"year":"2023","x":null}`) {
		r := task.Score(map[string]any{"year": "2023", "x": nil}, answer)
		r.ID, r.Question = fmt.Sprintf("%s%d", evil, i), evil
		results = append(results, r)
	}
	return results
}

// checkPage checks that a page has no script, loads nothing, and that its policy
// allows its style and nothing else.
func checkPage(t *testing.T, page string) {
	t.Helper()
	lower := strings.ToLower(page)
	for _, bad := range []string{"<script", "<img", "<link", "<iframe", "url(", "@import", "zgotmplz", "\x1b", "\u202e", "\x00"} {
		if strings.Contains(lower, bad) {
			at := strings.Index(lower, bad)
			t.Errorf("the page has %q: ...%s...", bad, page[max(0, at-40):min(len(page), at+60)])
		}
	}
	if bad := regexp.MustCompile(`<[a-z]+ [^>]*\b(src|href|style|on[a-z]+)=`).FindString(lower); bad != "" {
		t.Errorf("the page has %s", bad)
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)
	policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)
	if style == nil || policy == nil {
		t.Fatal("no style or no policy")
	}
	hash := sha256.Sum256([]byte(style[1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; base-uri 'none'; form-action 'none'"
	if got := html.UnescapeString(policy[1]); got != want {
		t.Errorf("policy %s, want %s", got, want)
	}
	// Every element that is opened is closed.
	for _, name := range []string{"details", "table", "summary", "pre", "div", "tr", "td", "th", "ul", "li", "body", "html"} {
		opened := len(regexp.MustCompile(`<`+name+`[ >]`).FindAllString(page, -1))
		if closed := strings.Count(page, "</"+name+">"); opened != closed {
			t.Errorf("%d <%s>, %d closed", opened, name, closed)
		}
	}
}

func TestWriteHTML(t *testing.T) {
	var b strings.Builder
	const title = "</title><script>"
	run := Run{Task: "<script>", Results: evilResults(t)}
	if err := WriteHTML(&b, title, run); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	checkPage(t, page)
	for _, want := range []string{
		`<details class="query passed">`, `<details class="query failed unreadable">`, `<details class="query failed violating">`,
		`failed (6)`, `passed (1)`, `not readable (3)`, `against the schema (3)`,
		`class="wrong" data-of="given">&#34;&lt;script&gt;alert(1)&lt;/script&gt;&#34;`,
		`<tr><td>year</td><td class="n">1/7 (14.3%)</td><td class="n">1</td><td class="n">0</td><td class="n">3</td><td class="n">3</td><td class="n">0</td><td class="n">0</td>`,
		`<td class="n">1/7</td>`, `<pre>=HYPERLINK(&#34;`, `\x1b[2J\u202e\x00\xff`,
		`<th>{{.}}.a/b~c.1.d</th><td data-of="expected"></td><td class="free" data-of="given">[]</td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not in the page", want)
		}
	}
	var again strings.Builder
	if err := WriteHTML(&again, title, run); err != nil || again.String() != page {
		t.Errorf("a second time differs, %v", err)
	}
	if err := WriteHTML(brokenWriter{}, title, run); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}

// Two runs are on one page, line under line, answer beside answer.
func TestWriteHTMLOfRuns(t *testing.T) {
	kept, free := evilResults(t), evilResults(t)
	free[6] = evalx.Task{Fields: []evalx.Field{{Path: "year"}}}.Score(kept[6].Want, "no")
	free[6].ID = kept[6].ID
	var b strings.Builder
	comparators := map[string]string{"year": "exact"}
	if err := WriteHTML(&b, "x", Run{Constrained: new(true), Comparators: comparators, Results: kept}, Run{Constrained: new(false), Comparators: comparators, Results: free}); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	checkPage(t, page)
	for _, want := range []string{
		"Answers: 7, kept to the schema while they were generated, as the model gave them.", "<th>run</th>", "<td>year</td><td>exact</td><td>free</td>",
		`kept to the schema: <span class="pass">passed</span> free: <span class="fail">failed</span>`, `data-of="kept to the schema"`, `data-of="free"`, "The filter goes by the first run.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not in the page", want)
		}
	}
	if before, after := strings.Index(page, "<td>Passed</td><td>free</td>"), strings.Index(page, "<td>JSON validity</td><td>kept"); before < 0 || after < before {
		t.Error("the lines of one rate are not together")
	}
}

// Runs by other rules are not compared, and the field that differs is named.
func TestCompareRules(t *testing.T) {
	results := passes("CA", 1, 2)
	results[0].ID, results[1].ID = "a", "b"
	a := Run{Name: "a", Task: "generic", Comparators: map[string]string{"year": "exact"}, Results: results}
	others := []Run{a, a, a, a}
	others[1].Task, others[2].Comparators, others[3].Results = "standard", map[string]string{"year": "numeric 1"}, results[:1]
	comparisons, err := Compare(a, others[:1], 42)
	if err != nil || len(comparisons) != 1 || comparisons[0].Measures[0].P != 1 {
		t.Errorf("%+v, %v", comparisons, err)
	}
	_, err = Compare(a, others, 42)
	for _, want := range []string{`different rules: "generic" and "standard"`, `different rules: year is compared "exact" and "numeric 1"`, `only the first has "b"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
}

// A value that differs and counts as right all the same is not marked as wrong.
func TestAlignedTable(t *testing.T) {
	task := evalx.Task{Fields: []evalx.Field{
		{Path: "programme", Compare: evalx.Folded(evalx.Fold)}, {Path: "organisations", Compare: evalx.Assignment(evalx.Exact)}, {Path: "year"},
		{Name: "language", Path: "lang", Given: func(evalx.Value) evalx.Value { return "EN" }},
	}}
	want := mustParse(t, `{"programme":"ERC","organisations":["a","b"],"year":null,"lang":"CA","note":"x"}`)
	r := task.Score(want, `{"programme":"erc","organisations":["b","a"],"year":2023,"lang":"CA"}`)
	got := map[string]string{}
	for _, row := range alignedTable(want, []string{"given"}, r).Rows {
		got[row.Place] = row.Given[0].Mark
	}
	for place, mark := range map[string]string{
		"programme": "accepted", "organisations.0": "accepted", "organisations.1": "accepted", "year": "wrong", "lang": "", "note": "free",
	} {
		if got[place] != mark {
			t.Errorf("%s is marked %q, want %q", place, got[place], mark)
		}
	}
	large := alignedTable(nil, []string{"given"}, evalx.Task{}.Score(nil, "["+strings.Repeat("1,", 999)+"1]"))
	if len(large.Rows) != 300 || large.Cut != 701 {
		t.Errorf("%d rows, %d cut; want 300 of 1001", len(large.Rows), large.Cut)
	}
}

func TestWriteComparisonHTML(t *testing.T) {
	a, b := evilResults(t), evilResults(t)
	b[0].Passed, a[1].Passed = true, true
	comparisons, err := Compare(Run{Name: "<script>a", Results: a}, []Run{{Name: "<script>b", Results: b, Constrained: new(false)}}, 42)
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := WriteComparisonHTML(&page, "x", comparisons...); err != nil {
		t.Fatal(err)
	}
	checkPage(t, page.String())
	for _, want := range []string{"B wins: passed (1)", "B loses: passed (1)", "B: &lt;script&gt;b", "Answers as the model gave them.", `data-of="B"`} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("%s is not in the page", want)
		}
	}
}
