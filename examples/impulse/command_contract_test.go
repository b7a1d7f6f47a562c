package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/chatml"
)

// contractModel is a directory with a tokenizer, a system prompt and a schema.
func contractModel(t *testing.T) (dir, prompt, schema string) {
	t.Helper()
	dir = t.TempDir()
	text, err := os.ReadFile(filepath.Join(tinyModel, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	prompt, schema = filepath.Join(dir, "p.txt"), filepath.Join(dir, "s.json")
	for path, data := range map[string][]byte{
		filepath.Join(dir, "tokenizer.json"): text, prompt: []byte("File the ticket.\x1b[31m"),
		schema: []byte(`{"type": "object", "properties": {"priority": {"enum": ["low", "high"]}, "lang": {"type": "string"}, "question": {"type": "string"}},
			"required": ["priority", "lang", "question"], "additionalProperties": false}`),
	} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, prompt, schema
}

// TestContract makes a contract, shows it and checks it, also against answers.
func TestContract(t *testing.T) {
	dir, prompt, schema := contractModel(t)
	status, out, errs := impulseMain(t, "contract", "new", "--model-path", dir, "--prompt-file", prompt, "--schema", schema, "--indent", "0",
		"--request-values", "question=question,lang=language", "--title", "Tickets", "--examples", "late, order 3")
	path := filepath.Join(dir, chatml.ContractFile)
	if status != 0 || out != "wrote "+path+"\n" {
		t.Fatalf("status %d, %s%s", status, out, errs)
	}
	c, err := chatml.ReadContract(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Title != "Tickets" || c.Examples[0] != "late, order 3" || c.RequestValues["lang"] != chatml.Language || c.Layout.Indent != 0 || !c.DefaultSystem {
		t.Errorf("contract %+v", c)
	}

	_, out, _ = impulseMain(t, "contract", "show", dir)
	for _, part := range []string{
		"title             Tickets\n", "example           late, order 3\n", `JSON by the schema below, indent 0, separators ", " and ": "`, "ends with         <|im_end|>\n",
		"repeats           the language of the request in lang\n", "\nsystem prompt\n  File the ticket.\\x1b[31m\n", "lines more (--whole)", "base              (not recorded)\n",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("show has no %q: %s", part, out)
		}
	}
	if _, whole, _ := impulseMain(t, "contract", "show", "--whole", path); !strings.Contains(whole, `"additionalProperties": false`) || strings.Contains(whole, "lines more") {
		t.Errorf("show --whole: %s", whole)
	}

	data := filepath.Join(dir, "held.jsonl")
	record := func(answer string) string {
		return `{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ` + quoted(answer) + "}]}\n"
	}
	good := record(`{"priority": "low", "lang": "en", "question": "a"}`)
	if err := os.WriteFile(data, []byte(good), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out, errs = impulseMain(t, "contract", "check", dir, "--data", data)
	if status != 0 || !strings.Contains(out, "as in training") || !strings.Contains(out, "the answers of 1 records") || !strings.Contains(out, path+" is in order\n") {
		t.Errorf("check: status %d, %s%s", status, out, errs)
	}
	if err := os.WriteFile(data, []byte(good+record(`{"priority": "soon", "lang": "en", "question": "a"}`)), 0o644); err != nil {
		t.Fatal(err)
	}
	status, _, errs = impulseMain(t, "contract", "check", path, "--data", data)
	if status != 1 || !strings.Contains(errs, "held.jsonl:2") || !strings.Contains(errs, "priority") {
		t.Errorf("check of a wrong answer: status %d, %s", status, errs)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(strings.Replace(string(read(t, filepath.Join(dir, "tokenizer.json"))), "{", "{ ", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	status, _, errs = impulseMain(t, "contract", "check", dir)
	if status != 1 || !strings.Contains(errs, "tokenizer_sha256: trained with tokenizer.json of SHA-256 ") {
		t.Errorf("check of another tokenizer: status %d, %s", status, errs)
	}
}

func quoted(text string) string { return string(reply{text: text}.line(true)) }

// TestContractRefusals: what a contract cannot say is refused before it is written.
func TestContractRefusals(t *testing.T) {
	dir, prompt, schema := contractModel(t)
	other := filepath.Join(dir, "other.json")
	if err := os.WriteFile(other, []byte(`{"type": "array", "uniqueItems": true, "items": {"type": "strin"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"contract new":                  "--model-path is required",
		"contract new --model-path a/b": "--output is required: a/b is no directory",
		"contract new --model-path " + dir + " --schema " + other:                                           "strin",
		"contract new --model-path " + dir + " --request-values a=question":                                 "request_values: a, and there is no schema",
		"contract new --model-path " + dir + " --schema " + schema + " --request-values nowhere=question":   "the schema has no place nowhere",
		"contract new --model-path " + dir + " --schema " + schema + " --request-values question=question2": "want PATH=question or PATH=language",
		"contract new --model-path " + dir + " --end-tokens <end>":                                          `no token "<end>"`,
		"contract new --model-path " + dir + " --date today":                                                "want yyyy-mm-dd",
		"contract new --model-path " + dir + " --output " + prompt:                                          "exists already; add --overwrite",
		"contract show":                      "contract show wants one model directory or prompt.json, not 0",
		"contract check " + dir:              chatml.ContractFile,
		"contract make":                      "contract has no command make: new, show or check",
		"contract check --weights " + prompt: "p.txt",
	} {
		status, _, errs := impulseMain(t, strings.Fields(line)...)
		if status != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d, %s", line, status, errs)
		}
	}
	if exists(filepath.Join(dir, chatml.ContractFile)) {
		t.Error("a contract was written all the same")
	}
}
