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
	"github.com/impulse-salamandra/finetune/internal/templatecheck"
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
	lines := strings.Split(strings.TrimSpace(read(t, "../../chatml/testdata/chat_cases.jsonl")), "\n")
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
	const other, unknown = "other prompts (", "cannot be compared"
	rows := []struct {
		name     string
		template any
		t        chatml.Template
		want     string   // beginning of the fault, "" for none
		text     []string // of the report
	}{
		{"published", salamandra, chatml.Template{}, "", nil},
		{"published, line ends of Windows", salamandra + "\r\n", chatml.Template{}, "", nil},
		{"in a list", []map[string]string{{"name": "rag", "template": "x"}, {"name": "default", "template": salamandra}}, chatml.Template{}, "", nil},
		{"list without a default", []map[string]string{{"name": "rag", "template": "x"}}, chatml.Template{}, unknown, []string{"no template named default"}},
		{"neither text nor list", 7, chatml.Template{}, unknown, []string{"neither a text nor a list"}},
		{"null is none", nil, chatml.Template{}, "", nil},
		{"date is given on", salamandra, dated, "but", []string{"writes the date 2026-01-02 only if it is given as date_string"}},
		{"date is in the text", strings.Replace(salamandra, "2024-09-30", "2026-01-02", 1), dated, "", nil},
		{"other fixed date", strings.Replace(salamandra, "2024-09-30", "2025-01-01", 1), chatml.Template{}, other,
			[]string{`(question without system message): line 2 is "system message. Today Date: 2025-01-01<|im_end|>\n", not "system message. Today Date: 2024-09-30<|im_end|>\n"`}},
		{"chatml puts no default system text", salamandra, noSystem, other, []string{`line 1 is "<|im_start|>system\n", not "<|im_start|>user\n"`}},
		{"other default system text", smollm2, noSystem, other,
			[]string{`line 1 is "<|im_start|>system\n", not "<|im_start|>user\n"`}},
		{"plain ChatML", plain, noSystem, "", nil},
		{"BOS by variable", "{{ bos_token }}" + plain, noSystem, other, []string{`line 1 is "<s><|im_start|>system\n", not "<|im_start|>system\n"`}},
		{"BOS that chatml puts too", "{{ bos_token }}" + plain, chatml.Template{NoDefaultSystem: true, BOS: true}, "", nil},
		{"no BOS, chatml puts one", plain, chatml.Template{NoDefaultSystem: true, BOS: true}, other, []string{`line 1 is "<|im_start|>system\n", not "<s><|im_start|>system\n"`}},
		{"clock", strings.Replace(salamandra, `"2024-09-30"`, `strftime_now("%Y-%m-%d")`, 1), chatml.Template{}, "but", []string{"it reads the clock"}},
		{"clock in the turns", plain + `{{ strftime_now("%d %B %Y") }}`, noSystem, other, []string{"30 September 2024", "it reads the clock"}},
		{"strips white space", strings.Replace(plain, "m.content", "m.content | trim", 1), noSystem, other, []string{"(white space and marks): line 2"}},
		{"raises on system messages", `{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}` + plain, noSystem,
			"refuses a conversation", []string{`(system message and question): "System role not supported"`}},
		{"forgets the generation prompt", plain[:strings.Index(plain, "{% if")], noSystem, other, []string{`is nothing, not "<|im_start|>assistant\n"`}},

		{"syntax error", "{% for m in %}", noSystem, unknown, nil},
		{"tag not closed", "{{ messages", noSystem, unknown, []string{"not closed"}},
		{"end missing", "{% if true %}", noSystem, unknown, nil},
		{"unknown filter", "{{ messages | frobnicate }}", noSystem, unknown, []string{`unknown filter "frobnicate"`}},
		{"include of a file", `{% include "/etc/passwd" %}`, noSystem, unknown, []string{"include"}},
		{"import of a file", `{% import "/etc/passwd" as x %}`, noSystem, unknown, []string{"import"}},
		{"power of ten", "{% for i in range(10**9) %}{% endfor %}", noSystem, unknown, []string{"multiplies"}},
		{"long range", "{% for i in range(1000000000) %}{% endfor %}", noSystem, unknown, []string{"a number as large"}},
		{"long range, by sums", "{% set n = 9999 %}" + strings.Repeat("{% set n = n + n %}", 6) + "{% for i in range(n) %}{% endfor %}", noSystem, unknown, []string{"more than 100000 numbers"}},
		{"loops in loops", nest("{% for i in range(9999) %}", 4, "{% endfor %}"), noSystem, unknown, nil},
		{"huge output", "{% for i in range(9999) %}{{ '" + strings.Repeat("x", 500) + "' }}{% endfor %}", noSystem, unknown, []string{"more than 1048576 bytes"}},
		{"huge text", "{% for i in range(2000) %}" + strings.Repeat("x", 600) + "{% endfor %}", noSystem, unknown, []string{"more than 1048576 bytes"}},
		{"doubling text", "{% set s = 'xx' %}" + strings.Repeat("{% set s = s ~ s %}", 60), noSystem, unknown, []string{"too large"}},
		{"doubling number", "{% set n = 2 %}" + strings.Repeat("{% set n = n + n %}", 60), noSystem, unknown, []string{"too large"}},
		{"macro that calls itself", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", noSystem, unknown, []string{"macros are called more than"}},
		{"marks that keep white space", "{%+ if true %}a{% endif %}", noSystem, unknown, []string{"not supported"}},
		{"raw block", "{% raw %}{{ x }}{% endraw %}", noSystem, unknown, []string{"not supported"}},
		{"filter block", "{% filter upper | trim %}a{% endfilter %}", noSystem, unknown, []string{"not supported"}},
		{"very long", strings.Repeat(" ", 70_000), noSystem, unknown, []string{"at most 65536"}},
		{"uses the watcher's name", "{{ __watch_turn }}", noSystem, unknown, []string{"uses the name"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			start := time.Now()
			warning, err := templatecheck.Check(modelDir(t, map[string]any{
				"chat_template": row.template, "bos_token": map[string]any{"content": "<s>"}, "eos_token": "</s>"}), row.t)
			require.NoError(t, err)
			require.Equal(t, row.want == "", warning == "", "%s", warning)
			for _, text := range append(row.text, row.want) {
				require.Contains(t, warning, text)
			}
			require.NotContains(t, warning, "\n")
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func nest(open string, n int, end string) string {
	return strings.Repeat(open, n) + strings.Repeat(end, n)
}

func TestFiles(t *testing.T) {
	salamandra := read(t, "testdata/salamandra.jinja")
	write := func(dir, name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	warning := func(dir string, tmpl chatml.Template) string {
		w, err := templatecheck.Check(dir, tmpl)
		require.NoError(t, err)
		return w
	}
	dir, other := t.TempDir(), t.TempDir()
	require.Empty(t, warning(dir, chatml.Template{}), "no files, no template")
	text, err := json.Marshal(map[string]string{"chat_template": salamandra})
	require.NoError(t, err)
	write(dir, "chat_template.json", string(text))
	require.Empty(t, warning(dir, chatml.Template{}))
	write(dir, "chat_template.jinja", salamandra+"\n")
	require.Empty(t, warning(dir, chatml.Template{}), "the same text twice")
	got, err := templatecheck.Read(dir)
	require.NoError(t, err)
	require.Equal(t, salamandra+"\n", got)

	for _, row := range []struct{ template, want string }{
		{salamandra, ""},
		{"{# the same #}" + salamandra + "\r\n", ""},
		{plain, "chat_template.jinja: the chat template writes other prompts (question without system message): line 1"},
		{"{{ raise_exception('no') }}", "refuses a conversation"},
		{"{{ messages", "cannot be rendered"},
	} {
		write(other, "chat_template.jinja", row.template)
		w, err := templatecheck.Compare(dir, other)
		require.NoError(t, err)
		require.Equal(t, row.want == "", w == "", w)
		if back, err := templatecheck.Compare(other, dir); true {
			require.NoError(t, err)
			require.Equal(t, row.want == "", back == "", back)
		}
	}
	w, err := templatecheck.Compare(t.TempDir(), dir)
	require.NoError(t, err)
	require.Empty(t, w, "nothing to compare")

	write(dir, "chat_template.jinja", plain)
	require.Equal(t, "chat_template.jinja: the chat template writes the prompts of training, but chat_template.json holds another template than chat_template.jinja, which Transformers prefers",
		warning(dir, chatml.Template{NoDefaultSystem: true}))

	_, err = templatecheck.Check(dir, chatml.Template{Date: "today"})
	require.ErrorContains(t, err, "yyyy-mm-dd")
	write(dir, "tokenizer_config.json", "[]")
	_, err = templatecheck.Check(dir, chatml.Template{})
	require.ErrorContains(t, err, "tokenizer_config.json: the file holds a JSON array, want an object")
	write(dir, "tokenizer_config.json", `{"a": 1,}`)
	_, err = templatecheck.Check(dir, chatml.Template{})
	require.ErrorContains(t, err, "tokenizer_config.json: line 1, column 9: unexpected '}'")
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
