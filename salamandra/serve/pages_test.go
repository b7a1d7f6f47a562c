package serve

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOpenAPI compares the description with the routes, both ways.
func TestOpenAPI(t *testing.T) {
	o := testOptions()
	o.Keys, o.AdaptersDir = []string{userKey}, t.TempDir()
	s := newTestServer(t, newFakeModel(1), o)
	text := do(s, "GET", "/openapi.yaml", "").Body.String()
	var described []string
	path := ""
	_, paths, ok := strings.Cut(text, "\npaths:\n")
	require.True(t, ok)
	paths, _, ok = strings.Cut(paths, "\ncomponents:\n")
	require.True(t, ok)
	for line := range strings.Lines(paths) {
		if m := regexp.MustCompile(`^  (/\S*):$`).FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			path = m[1]
		} else if m := regexp.MustCompile(`^    (\w+):$`).FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			described = append(described, strings.ToUpper(m[1])+" "+path)
		}
	}
	var routes []string
	for path, r := range s.routes {
		for method := range r.methods {
			routes = append(routes, method+" "+path)
		}
	}
	slices.Sort(described)
	slices.Sort(routes)
	require.Equal(t, routes, described)
	for _, ref := range regexp.MustCompile(`\$ref: '#/components/(\w+)/(\w+)'`).FindAllStringSubmatch(text, -1) {
		require.Regexp(t, `\n  `+ref[1]+`:\n(    .*\n)*?    `+ref[2]+`:\n`, text, "what is referred to is there")
	}
}

// TestPage: everything the page is made of is in it, and its policy allows
// nothing else.
func TestPage(t *testing.T) {
	s := newTestServer(t, newFakeModel(1), testOptions())
	w := do(s, "GET", "/", "")
	require.Equal(t, http.StatusOK, w.Code)
	policy := w.Header().Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.Contains(t, policy, "frame-ancestors 'none'")
	require.NotContains(t, policy, "unsafe")
	page := w.Body.String()
	for _, tag := range []string{"style", "script"} {
		parts := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(page, -1)
		require.Len(t, parts, 1, tag)
		require.Contains(t, policy, tag+"-src '"+contentHash(parts[0][1])+"'", "as the browser will compute it")
	}
	require.NotRegexp(t, `(src|href)="?(https?:)?//`, page, "nothing from elsewhere")
	require.NotRegexp(t, `\son\w+=|style="`, page, "nothing inline that the policy forbids")
	for _, unsafe := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("} {
		require.NotContains(t, page, unsafe, "text of models is put in as text")
	}
	require.Equal(t, http.StatusOK, do(s, "HEAD", "/", "").Code)
}

// TestPageElements: the elements that the script names are in the page.
func TestPageElements(t *testing.T) {
	named := regexp.MustCompile(`\bat\("(\w+)"\)`).FindAllStringSubmatch(pageScript, -1)
	if len(named) < 20 {
		t.Fatalf("%d elements found in the script", len(named))
	}
	for _, m := range named {
		if !strings.Contains(pageText, ` id="`+m[1]+`"`) {
			t.Errorf("no element %s", m[1])
		}
	}
}

// TestPageTexts: each text of the page exists in all three languages.
func TestPageTexts(t *testing.T) {
	var keys [][]string
	for _, block := range regexp.MustCompile(`(?s)\n  (ca|es|en): \{(.*?)\n  \}`).FindAllStringSubmatch(pageScript, -1) {
		var names []string
		for _, m := range regexp.MustCompile(`(?:^|[\s,])"?(\w+)"?: ["\[]`).FindAllStringSubmatch(block[2], -1) {
			names = append(names, m[1])
		}
		slices.Sort(names)
		keys = append(keys, names)
	}
	require.Len(t, keys, 3)
	require.Equal(t, keys[0], keys[1])
	require.Equal(t, keys[0], keys[2])
	for _, m := range regexp.MustCompile(`data-text="(\w+)"`).FindAllStringSubmatch(pageText, -1) {
		require.Contains(t, keys[0], m[1])
	}
}

func TestHealth(t *testing.T) {
	s := newTestServer(t, newFakeModel(1), testOptions())
	require.Equal(t, 200, do(s, "GET", "/healthz", "").Code)
	w := do(s, "GET", "/readyz", "")
	require.Equal(t, 503, w.Code)
	require.Equal(t, "warming_up", problem(t, w).Code)
	require.NoError(t, s.warm(t.Context()))
	require.Equal(t, 200, do(s, "GET", "/readyz", "").Code)
	s.Close()
	w = do(s, "GET", "/readyz", "")
	require.Equal(t, "shutting_down", problem(t, w).Code)
	require.Equal(t, 503, do(s, "POST", "/parse", `{"query": "a"}`).Code)
	require.Equal(t, 200, do(s, "GET", "/healthz", "").Code, "it lives")
}

// TestMetrics reads the text format back, line by line.
func TestMetrics(t *testing.T) {
	s := newTestServer(t, newFakeModel(1), testOptions())
	for range 3 {
		require.Equal(t, 200, do(s, "POST", "/parse", `{"query": "a"}`).Code)
	}
	do(s, "GET", "/parse", "")
	do(s, "GET", "/wp-admin.php", "")
	do(s, "GET", "/%22%0A{}", "")
	w := do(s, "GET", "/metrics", "")
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", w.Header().Get("Content-Type"))
	text := w.Body.String()
	sample := regexp.MustCompile(`^[a-z_]+(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? [0-9.e+-]+$`)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "# HELP ") && !strings.HasPrefix(line, "# TYPE ") {
			require.Regexp(t, sample, line)
		}
	}
	for _, line := range []string{
		`salamandra_requests_total{route="/parse",status="200"} 3`,
		`salamandra_requests_total{route="/parse",status="405"} 1`,
		`salamandra_requests_total{route="other",status="404"} 2`,
		`salamandra_request_seconds_count{route="/parse"} 4`,
		`salamandra_request_seconds_bucket{route="/parse",le="+Inf"} 4`,
		`salamandra_first_token_seconds_count 3`,
		`salamandra_in_flight 0`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Regexp(t, `salamandra_tokens_total\{kind="new"\} [1-9]`, text)
}
