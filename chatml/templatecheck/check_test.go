package templatecheck_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/chatml/templatecheck"
)

func read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

// modelDir makes a directory with a tokenizer_config.json of these fields.
func modelDir(t testing.TB, fields map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(fields)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), data, 0o644))
	return dir
}

// TestLibrary compares the Jinja library, watched, with conversations rendered
// by Transformers.
func TestLibrary(t *testing.T) {
	source := read(t, "testdata/salamandra.jinja")
	lines := strings.Split(strings.TrimSpace(read(t, "../testdata/chat_cases.jsonl")), "\n")
	require.Len(t, lines, 158)
	for i, line := range lines {
		var row struct {
			Messages []chatml.Message
			Prompt   bool   `json:"add_generation_prompt"`
			Date     string `json:"date_string"`
			Rendered string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		got, err := templatecheck.Render(source, nil, row.Messages, row.Prompt, row.Date)
		require.NoError(t, err, "row %d", i+1)
		require.Equal(t, row.Rendered, got, "row %d", i+1)
	}
}

const plain = `{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

func TestCheck(t *testing.T) {
	salamandra, smollm2 := read(t, "testdata/salamandra.jinja"), read(t, "testdata/smollm2.jinja")
	noSystem := chatml.Template{NoDefaultSystem: true}
	dated := chatml.Template{Date: "2026-01-02"}
	rows := []struct {
		name     string
		template any
		t        chatml.Template
		want     templatecheck.Verdict
		text     []string // of the report
	}{
		{"published", salamandra, chatml.Template{}, templatecheck.Same, nil},
		{"published, line ends of Windows", salamandra + "\r\n", chatml.Template{}, templatecheck.Same, nil},
		{"in a list", []map[string]string{{"name": "rag", "template": "x"}, {"name": "default", "template": salamandra}}, chatml.Template{}, templatecheck.Same, nil},
		{"list without a default", []map[string]string{{"name": "rag", "template": "x"}}, chatml.Template{}, templatecheck.Unknown, []string{"no template named default"}},
		{"neither text nor list", 7, chatml.Template{}, templatecheck.Unknown, []string{"neither a text nor a list"}},
		{"null is none", nil, chatml.Template{}, templatecheck.None, nil},
		{"date is given on", salamandra, dated, templatecheck.Same, []string{"writes the date 2026-01-02 only if it is given as date_string"}},
		{"date is in the text", strings.Replace(salamandra, "2024-09-30", "2026-01-02", 1), dated, templatecheck.Same, nil},
		{"other fixed date", strings.Replace(salamandra, "2024-09-30", "2025-01-01", 1), chatml.Template{}, templatecheck.Different,
			[]string{"question without system message: its system turn is \"system message. Today Date: 2025-01-01\", chatml's is \"system message. Today Date: 2024-09-30\""}},
		{"chatml puts no default system text", salamandra, noSystem, templatecheck.Different, []string{"chatml's is none"}},
		{"other default system text", smollm2, noSystem, templatecheck.Different,
			[]string{"named SmolLM, trained by Hugging Face\", chatml's is none", "line 1\n- chatml:   \"<|im_start|>user\\n\"\n+ template: \"<|im_start|>system\\n\""}},
		{"plain ChatML", plain, noSystem, templatecheck.Same, nil},
		{"BOS by variable", "{{ bos_token }}" + plain, noSystem, templatecheck.Different, []string{"it puts <s> before the first turn, chatml puts nothing"}},
		{"BOS that chatml puts too", "{{ bos_token }}" + plain, chatml.Template{NoDefaultSystem: true, BOS: true}, templatecheck.Same, nil},
		{"no BOS, chatml puts one", plain, chatml.Template{NoDefaultSystem: true, BOS: true}, templatecheck.Different, []string{"it puts nothing before the first turn, chatml puts <s>"}},
		{"clock", strings.Replace(salamandra, `"2024-09-30"`, `strftime_now("%Y-%m-%d")`, 1), chatml.Template{}, templatecheck.Same, []string{"note: it reads the clock"}},
		{"clock in the turns", plain + `{{ strftime_now("%d %B %Y") }}`, noSystem, templatecheck.Different, []string{"30 September 2024", "note: it reads the clock"}},
		{"strips white space", strings.Replace(plain, "m.content", "m.content | trim", 1), noSystem, templatecheck.Different, []string{"white space and marks: its system turn"}},
		{"raises on system messages", `{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}` + plain, noSystem,
			templatecheck.Different, []string{`it refuses the conversation: "System role not supported"`}},
		{"forgets the generation prompt", plain[:strings.Index(plain, "{% if")], noSystem, templatecheck.Different, []string{"- chatml:   \"<|im_start|>assistant\\n\"\n+ template: \"\""}},

		{"syntax error", "{% for m in %}", noSystem, templatecheck.Unknown, nil},
		{"tag not closed", "{{ messages", noSystem, templatecheck.Unknown, []string{"not closed"}},
		{"end missing", "{% if true %}", noSystem, templatecheck.Unknown, nil},
		{"unknown filter", "{{ messages | frobnicate }}", noSystem, templatecheck.Unknown, []string{`unknown filter "frobnicate"`}},
		{"include of a file", `{% include "/etc/passwd" %}`, noSystem, templatecheck.Unknown, []string{"include"}},
		{"import of a file", `{% import "/etc/passwd" as x %}`, noSystem, templatecheck.Unknown, []string{"import"}},
		{"power of ten", "{% for i in range(10**9) %}{% endfor %}", noSystem, templatecheck.Unknown, []string{"multiplies"}},
		{"long range", "{% for i in range(1000000000) %}{% endfor %}", noSystem, templatecheck.Unknown, []string{"a number as large"}},
		{"long range, by sums", "{% set n = 9999 %}" + strings.Repeat("{% set n = n + n %}", 6) + "{% for i in range(n) %}{% endfor %}", noSystem, templatecheck.Unknown, []string{"more than 100000 numbers"}},
		{"loops in loops", nest("{% for i in range(9999) %}", 4, "{% endfor %}"), noSystem, templatecheck.Unknown, nil},
		{"huge output", "{% for i in range(9999) %}{{ '" + strings.Repeat("x", 500) + "' }}{% endfor %}", noSystem, templatecheck.Unknown, []string{"more than 1048576 bytes"}},
		{"huge text", "{% for i in range(2000) %}" + strings.Repeat("x", 600) + "{% endfor %}", noSystem, templatecheck.Unknown, []string{"more than 1048576 bytes"}},
		{"doubling text", "{% set s = 'xx' %}" + strings.Repeat("{% set s = s ~ s %}", 60), noSystem, templatecheck.Unknown, []string{"too large"}},
		{"doubling number", "{% set n = 2 %}" + strings.Repeat("{% set n = n + n %}", 60), noSystem, templatecheck.Unknown, []string{"too large"}},
		{"macro that calls itself", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", noSystem, templatecheck.Unknown, []string{"macros are called more than"}},
		{"marks that keep white space", "{%+ if true %}a{% endif %}", noSystem, templatecheck.Unknown, []string{"not supported"}},
		{"raw block", "{% raw %}{{ x }}{% endraw %}", noSystem, templatecheck.Unknown, []string{"not supported"}},
		{"filter block", "{% filter upper | trim %}a{% endfilter %}", noSystem, templatecheck.Unknown, []string{"not supported"}},
		{"very long", strings.Repeat(" ", 70_000), noSystem, templatecheck.Unknown, []string{"at most 65536"}},
		{"uses the watcher's name", "{{ __watch_turn }}", noSystem, templatecheck.Unknown, []string{"uses the name"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			start := time.Now()
			r, err := templatecheck.Check(modelDir(t, map[string]any{
				"chat_template": row.template, "bos_token": map[string]any{"content": "<s>"}, "eos_token": "</s>"}), row.t)
			require.NoError(t, err)
			require.Equal(t, row.want, r.Verdict, "%s", r)
			for _, text := range row.text {
				require.Contains(t, r.String(), text)
			}
			require.Equal(t, row.want == templatecheck.Different || row.want == templatecheck.Unknown || r.Notes != nil, r.Warn())
			require.Equal(t, r.Warn() && row.want != templatecheck.Same, r.Reason != "")
			require.NotContains(t, r.Reason, "\n")
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func nest(open string, n int, end string) string {
	return strings.Repeat(open, n) + strings.Repeat(end, n)
}

func TestCheckFiles(t *testing.T) {
	salamandra := read(t, "testdata/salamandra.jinja")
	write := func(dir, name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	dir := t.TempDir()
	r, err := templatecheck.Check(dir, chatml.Template{})
	require.NoError(t, err)
	require.Equal(t, templatecheck.Report{}, r, "no files, no template")

	text, err := json.Marshal(map[string]string{"chat_template": salamandra})
	require.NoError(t, err)
	write(dir, "chat_template.json", string(text))
	r, err = templatecheck.Check(dir, chatml.Template{})
	require.NoError(t, err)
	require.Equal(t, templatecheck.Report{Verdict: templatecheck.Same, Source: "chat_template.json", Known: "Salamandra instructed models"}, r)

	write(dir, "chat_template.jinja", salamandra+"\n")
	r, err = templatecheck.Check(dir, chatml.Template{})
	require.NoError(t, err)
	require.Equal(t, "chat_template.jinja", r.Source)
	require.Equal(t, "Salamandra instructed models", r.Known)
	require.Empty(t, r.Notes, "the same text twice")

	write(dir, "chat_template.jinja", plain)
	r, err = templatecheck.Check(dir, chatml.Template{NoDefaultSystem: true})
	require.NoError(t, err)
	require.Equal(t, templatecheck.Same, r.Verdict)
	require.Equal(t, []string{"chat_template.json holds another template than chat_template.jinja, which Transformers prefers"}, r.Notes)

	_, err = templatecheck.Check(dir, chatml.Template{Date: "today"})
	require.ErrorIs(t, err, chatml.ErrTemplate)
	write(dir, "tokenizer_config.json", "[]")
	_, err = templatecheck.Check(dir, chatml.Template{})
	require.ErrorContains(t, err, "tokenizer_config.json: want a JSON object")
}

func TestTime(t *testing.T) {
	for name, source := range map[string]string{
		"loop":  "{% for i in range(9999) %}{% endfor %}",
		"macro": "{% macro f() %}{% endmacro %}{% set x = f() %}",
		"write": "{{ 1 }}",
	} {
		require.ErrorContains(t, templatecheck.RenderWithin(source, 0), "takes longer than", name)
		require.NoError(t, templatecheck.RenderWithin(source, time.Minute), name)
	}
}

func TestLineBreaks(t *testing.T) {
	for source, want := range map[string]string{
		"x\n\n":                "x\n",
		"{{ 1 }}\r\n":          "1",
		"a\r\nb{{ 'c\r\nd' }}": "a\nbc\nd",
		"a\rb":                 "a\nb",
	} {
		got, err := templatecheck.Render(source, nil, nil, false, "")
		require.NoError(t, err)
		require.Equal(t, want, got, "%q, as Jinja writes it", source)
	}
}

// TestWhiteSpace: as Jinja 3.1.6 with trim_blocks and lstrip_blocks writes it.
func TestWhiteSpace(t *testing.T) {
	for source, want := range map[string]string{
		"{% if true %}{{ 'a' }}\n{% endif %}b":                     "a\nb",
		"{% if true %}{% if true %}\n\na{% endif %}{% endif %}":    "\na",
		"  {% if true %}\n  {% set a = 1 %}\n x\n  {% endif %}\ny": " x\ny",
		"a  {% if true %}b{% endif %}":                             "a  b",
		"a \n {%- if true -%} \n b {% endif %}":                    "ab ",
		"{{ 'a' -}} \n {{- 'b' }} \n c":                            "ab \n c",
		"a{# x #}\nb\n  {#- y -#}  c":                              "abc",
		"{ {{ '{%' }} } {":                                         "{ {% } {",
	} {
		got, err := templatecheck.Render(source, nil, nil, false, "")
		require.NoError(t, err, "%q", source)
		require.Equal(t, want, got, "%q", source)
	}
}

// FuzzCheck: any template gives a report in time.
func FuzzCheck(f *testing.F) {
	for _, name := range []string{"testdata/salamandra.jinja", "testdata/smollm2.jinja"} {
		f.Add(read(f, name))
	}
	f.Add("{%- macro f(x, y=2) -%}\n {{ x }}\n{%- endmacro -%}{{ f(1) -}}\n x")
	f.Add("{# {% for #}{{ '}}' }}{{ \"{%\" }}{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}\n{{ ns.a if ns.a == 2 }}")
	messages := []chatml.Message{{Role: chatml.User, Content: "Hola\n"}}
	f.Fuzz(func(t *testing.T, source string) {
		start := time.Now()
		text, err := templatecheck.Render(source, nil, messages, true, "")
		require.Less(t, time.Since(start), 3*time.Second)
		if err == nil && !strings.ContainsAny(source, "{\r") {
			require.Equal(t, strings.TrimSuffix(source, "\n"), text, "without tags a template is its text")
		}
	})
}
