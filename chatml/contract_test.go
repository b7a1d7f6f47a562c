package chatml

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sample() Contract {
	return Contract{
		Date:            "2024-09-30",
		SystemPrompt:    "You turn questions into JSON: >=2018, «any» & <all>.\n",
		Schema:          json.RawMessage(`{"type":"object","properties":{"z":{"const":">"},"a":{}}}`),
		Layout:          Layout{Indent: 2},
		TokenizerSHA256: strings.Repeat("0a", 32),
		BaseSHA256:      strings.Repeat("1b", 32),
	}
}

func TestContractFile(t *testing.T) {
	// The last two hashes are what sha256sum says of the prompt and of the schema
	// without blanks.
	const want = `{
  "version": 2,
  "template": "chatml",
  "date": "2024-09-30",
  "default_system": false,
  "bos": false,
  "system_prompt": "You turn questions into JSON: >=2018, «any» & <all>.\n",
  "schema": {
    "type": "object",
    "properties": {
      "z": {
        "const": ">"
      },
      "a": {}
    }
  },
  "layout": {
    "indent": 2,
    "item_separator": ", ",
    "key_separator": ": "
  },
  "request_values": {},
  "end_tokens": [
    "<|im_end|>"
  ],
  "title": "",
  "description": "",
  "examples": [],
  "base_quantization": "",
  "tokenizer_sha256": "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
  "base_sha256": "1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b",
  "system_prompt_sha256": "f101a073792f8313e945ba8edad2d047813e3f60f59b06d407cd5e03358c8ce3",
  "schema_sha256": "d4e2cf902e5cd80d29abf0f47dcd256b38946ece2016826cca310bf13f301289"
}
`
	got, err := sample().encode()
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func TestContractRoundTrip(t *testing.T) {
	free := sample()
	free.Schema, free.BaseSHA256, free.BOS, free.DefaultSystem = nil, "", true, true
	spaced := sample()
	spaced.Schema = json.RawMessage("{\n \"type\":  \"object\",\"properties\":{\"z\":{\"const\":\">\"},\"a\":{}} }")
	task := sample()
	task.RequestValues, task.EndTokens = map[string]RequestValue{"z": Question}, []string{"<|im_end|>", "</s>"}
	task.Title, task.Description, task.Examples = "Tickets", "What a ticket is about", []string{"My screen is black"}
	task.Layout = Layout{ItemSeparator: ",", KeySeparator: ":"}
	for _, row := range []struct {
		name, reason string
		in, want     Contract
	}{
		{name: "another task", in: task, want: task},
		{name: "full", in: sample(), want: sample()},
		{name: "free text", in: free, want: free, reason: "no schema stays nil"},
		{name: "blanks in the schema", in: spaced, want: sample(), reason: "blanks carry no meaning, key order does"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), ContractFile)
			require.NoError(t, row.in.Write(path))
			require.NoError(t, row.in.Write(path), "a contract can be replaced")
			got, err := ReadContract(path)
			require.NoError(t, err)
			require.Equal(t, row.want.file().Contract, got, row.reason)
			require.NoError(t, got.Check(row.in))
			files, err := os.ReadDir(filepath.Dir(path))
			require.NoError(t, err)
			require.Len(t, files, 1, "no temporary file is left")
		})
	}
}

func TestContractTemplate(t *testing.T) {
	c := sample()
	require.Equal(t, Template{Date: "2024-09-30", NoDefaultSystem: true}, c.Template())
	c.DefaultSystem, c.BOS = true, true
	require.Equal(t, Template{Date: "2024-09-30", BOS: true}, c.Template())
}

func TestReadContractRefuses(t *testing.T) {
	data, err := sample().encode()
	require.NoError(t, err)
	good := string(data)
	for _, row := range []struct {
		name, old, new string
		says           []string
	}{
		{name: "syntax", old: "}\n", new: "", says: []string{"unexpected end of input"}},
		{name: "two values", old: good, new: good + good, says: []string{"after the top-level value"}},
		{name: "array", old: good, new: "[1]", says: []string{"want an object"}},
		{name: "invalid UTF-8", old: "«any»", new: "\xff", says: []string{"UTF-8"}},
		{name: "unknown field", old: `"bos"`, new: `"bso": true, "bos"`, says: []string{"bso: unknown field"}},
		{name: "key in other case", old: `"bos"`, new: `"BOS"`, says: []string{"BOS: unknown field", "bos: missing"}},
		{name: "field twice", old: `"bos"`, new: `"bos": true, "bos"`, says: []string{"bos: key given twice"}},
		{name: "unknown nested field", old: `"indent"`, new: `"tabs": 1, "indent"`, says: []string{"tabs"}},
		{name: "wrong type", old: `"bos": false`, new: `"bos": "no"`, says: []string{"bos"}},
		{name: "version", old: `"version": 2`, new: `"version": 3`, says: []string{"version is 3", "reads 1 to 2"}},
		{name: "template", old: `"chatml"`, new: `"llama3"`, says: []string{"llama3", "chatml"}},
		{name: "edited prompt", old: "You turn", new: "You bend", says: []string{"system_prompt: was changed"}},
		{name: "edited schema", old: `"const": ">"`, new: `"const": "<"`, says: []string{"schema: was changed"}},
		{name: "schema not an object", old: `"schema": {`, new: `"schema": 1, "x": {`, says: []string{"x: unknown field"}},
		{name: "date", old: "2024-09-30", new: "2024-9-30", says: []string{"date", "yyyy-mm-dd"}},
		{name: "short hash", old: "0a0a", new: "0a", says: []string{"tokenizer_sha256", "64"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.Contains(t, good, row.old)
			cut := strings.LastIndex(good, row.old)
			path := filepath.Join(t.TempDir(), ContractFile)
			require.NoError(t, os.WriteFile(path, []byte(good[:cut]+row.new+good[cut+len(row.old):]), 0o600))
			_, err := ReadContract(path)
			require.ErrorContains(t, err, "prompt contract: ")
			for _, s := range append(row.says, path) {
				require.ErrorContains(t, err, s)
			}
		})
	}
	_, err = ReadContract(filepath.Join(t.TempDir(), ContractFile))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestWriteRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), ContractFile)
	err := Contract{SystemPrompt: "\xff", Schema: json.RawMessage("[]"), Layout: Layout{Indent: -1}, BaseSHA256: "xyz"}.Write(path)
	require.Error(t, err)
	for _, field := range []string{"date", "system_prompt", "schema", "layout", "tokenizer_sha256", "base_sha256"} {
		require.ErrorContains(t, err, field, "all faults at once")
	}
	require.NoFileExists(t, path)
	require.Error(t, sample().Write(filepath.Join(path, "absent", ContractFile)))
}

func TestCheck(t *testing.T) {
	with := func(change func(*Contract)) Contract {
		c := sample()
		change(&c)
		return c
	}
	type difference struct{ field, trained, actual string }
	prompt := sample().SystemPrompt
	for _, row := range []struct {
		name, reason string
		actual       Contract
		want         []difference
	}{
		{name: "equal", actual: sample()},
		{name: "date", actual: with(func(c *Contract) { c.Date = "2026-01-02" }), want: []difference{{"date", `"2024-09-30"`, `"2026-01-02"`}}},
		{name: "default system", actual: with(func(c *Contract) { c.DefaultSystem = true }), want: []difference{{"default_system", "false", "true"}}},
		{name: "bos", actual: with(func(c *Contract) { c.BOS = true }), want: []difference{{"bos", "false", "true"}}},
		{
			name:   "prompt",
			actual: with(func(c *Contract) { c.SystemPrompt = strings.Replace(prompt, "«any»", "«all»", 1) }),
			want:   []difference{{"system_prompt", `… >=2018, «any» & <all>.\n"`, `… >=2018, «all» & <all>.\n"`}},
			reason: "shown around the first difference, in whole letters",
		},
		{
			name:   "newline at the end",
			actual: with(func(c *Contract) { c.SystemPrompt = strings.TrimSpace(prompt) }),
			want:   []difference{{"system_prompt", `…y» & <all>.\n"`, `…y» & <all>."`}},
			reason: "white space is part of the prompt, and visible",
		},
		{
			name:   "schema order",
			actual: with(func(c *Contract) { c.Schema = json.RawMessage(`{"properties":{},"type":"object"}`) }),
			want:   []difference{{"schema", `{"type":"object","properties":{"z":{"c…`, `{"properties":{},"type":"object"}`}},
			reason: "key order is the layout of answers",
		},
		{name: "no schema", actual: with(func(c *Contract) { c.Schema = nil }), want: []difference{{"schema", `{"type":"object","properties":{"z":{…`, "null"}}},
		{name: "schema blanks", actual: with(func(c *Contract) {
			c.Schema = json.RawMessage(strings.ReplaceAll(string(c.Schema), ":", " : "))
		}), reason: "blanks between tokens are not"},
		{name: "indent", actual: with(func(c *Contract) { c.Layout.Indent = 4 }), want: []difference{{"layout", `indent 2, separators ", " and ": "`, `indent 4, separators ", " and ": "`}}},
		{name: "separators spelt out", actual: with(func(c *Contract) { c.Layout = c.Layout.explicit() })},
		{
			name:   "hashes",
			actual: with(func(c *Contract) { c.TokenizerSHA256, c.BaseSHA256 = c.BaseSHA256, c.TokenizerSHA256 }),
			want: []difference{
				{"tokenizer_sha256", `"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a…`, `"1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b…`},
				{"base_sha256", `"1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b…`, `"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a…`},
			},
			reason: "all differences at once",
		},
		{name: "base unknown", actual: with(func(c *Contract) { c.BaseSHA256 = "" }), reason: "an unknown base is not compared"},
		{name: "tokenizer unknown", actual: with(func(c *Contract) { c.TokenizerSHA256 = "" }),
			want: []difference{{"tokenizer_sha256", `"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a…`, `""`}}, reason: "the tokenizer is always at hand"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := sample().Check(row.actual)
			if row.want == nil {
				require.NoError(t, err, row.reason)
				return
			}
			require.ErrorIs(t, err, ErrDrift)
			var want []string
			for _, d := range row.want {
				want = append(want, d.field+": trained with "+d.trained+", now "+d.actual)
			}
			require.Equal(t, ErrDrift.Error()+": "+strings.Join(want, "; "), err.Error(), row.reason)
		})
	}
}

func FuzzReadContract(f *testing.F) {
	good, err := sample().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(strings.Replace(string(good), `"date"`, `"date": 1, "date"`, 1)))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseContract(data)
		if err != nil {
			require.ErrorContains(t, err, "prompt contract: ")
			return
		}
		written, err := c.encode()
		require.NoError(t, err)
		again, err := parseContract(written)
		require.NoError(t, err)
		require.Equal(t, c, again, "what is accepted round-trips")
	})
}

// TestReadVersion1: what earlier versions wrote is read, with what it does not
// say left open.
func TestReadVersion1(t *testing.T) {
	data, err := sample().encode()
	require.NoError(t, err)
	old := regexp.MustCompile(`(?s)"request_values".*?"tokenizer_sha256"`).ReplaceAllString(string(data), `"tokenizer_sha256"`)
	old = strings.NewReplacer(`"version": 2`, `"version": 1`, `,
    "item_separator": ", ",
    "key_separator": ": "`, ``).Replace(old)
	path := filepath.Join(t.TempDir(), ContractFile)
	require.NoError(t, os.WriteFile(path, []byte(old), 0o644))
	got, err := ReadContract(path)
	require.NoError(t, err)
	require.Nil(t, got.RequestValues, "not known, which is not none")
	require.NoError(t, got.Check(sample()))
}
