package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx/report"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

const (
	heldTickets  = "testdata/tickets/held.jsonl"
	ticketSchema = "testdata/tickets/schema.json"
)

// contracted copies the tiny model and gives it a contract with a schema.
func contracted(t *testing.T, schema []byte) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(tinyModel)))
	tok, err := tokenizer.Load(dir)
	require.NoError(t, err)
	c := chatml.Contract{Date: chatml.DefaultDate, DefaultSystem: true, SystemPrompt: "Sort the ticket.", Schema: schema, Layout: chatml.Layout{Indent: 2}, TokenizerSHA256: tok.Hash()}
	require.NoError(t, c.Write(filepath.Join(dir, chatml.ContractFile)))
	return dir
}

func ticketModel(t *testing.T) string {
	t.Helper()
	schema, err := os.ReadFile(ticketSchema)
	require.NoError(t, err)
	return contracted(t, schema)
}

// What is scored, shown and saved of a task that is not IMPULSE's speaks of that
// task only.
func TestValidateOtherTask(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	comparators := path("comparators.json")
	require.NoError(t, os.WriteFile(comparators, []byte(`{"amount": {"numeric": 0.5}, "tags": "ordered"}`), 0o600))
	args := []string{"validate", "--model-path", ticketModel(t), "--test-file", heldTickets, "--limit", "4", "--constrained=both", "--by", "channel,priority",
		"--comparators", comparators, "--max-new-tokens", "80", "--save-results", path("r.json"), "--tsv", path("r.tsv"), "--report", path("r.html")}
	status, out, errs := impulseMain(t, args...)
	require.Zero(t, status, errs)
	for _, part := range []string{
		"held.jsonl: 4 questions, format prompt/completion; scored by the rules generic", "kept to the schema", "free", "By language:", "By channel:", "By priority:", "By field:", "customer.lang",
	} {
		require.Contains(t, out, part)
	}
	for file, constrained := range map[string]bool{"r.json": true, "r.unconstrained.json": false} {
		data, err := os.ReadFile(path(file))
		require.NoError(t, err)
		run, err := report.ReadJSON(file, data)
		require.NoError(t, err)
		require.Len(t, run.Results, 4)
		require.Equal(t, constrained, *run.Constrained)
		require.Equal(t, map[string]string{"product": "folded", "priority": "exact", "amount": "numeric 0.5", "tags": "ordered of exact", "customer.lang": "exact"}, run.Comparators)
		require.NotEmpty(t, run.Results[0].Question)
		for _, r := range run.Results {
			require.True(t, r.Compliant() || !constrained, r.Answer)
		}
	}
	page, err := os.ReadFile(path("r.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "kept to the schema while they were generated")
	for _, name := range []string{"r.tsv", "r.unconstrained.tsv"} {
		require.FileExists(t, path(name))
	}

	status, out, errs = impulseMain(t, "compare", path("r.unconstrained.json"), path("r.json"), "--report", path("c.html"))
	require.Zero(t, status, errs)
	require.Contains(t, out, "r.unconstrained.json (answers as the model gave them)")
	require.Contains(t, out, "field customer.lang")
	require.FileExists(t, path("c.html"))

	other := path("other.json")
	status, _, errs = impulseMain(t, append(args[:7:7], "--max-new-tokens", "80", "--save-results", other)...)
	require.Zero(t, status, errs)
	status, _, errs = impulseMain(t, "compare", path("r.json"), other)
	require.Equal(t, 1, status)
	require.Contains(t, errs, `were scored by different rules: amount is compared "numeric 0.5" and "numeric"`)
}

// Of right answers to tickets, what is shown has nothing of IMPULSE.
func TestValidateOtherTaskPages(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(heldTickets)
	require.NoError(t, err)
	given := strings.ReplaceAll(string(data), `"completion"`, `"response"`)
	answers, page, table := filepath.Join(dir, "answers.jsonl"), filepath.Join(dir, "page.html"), filepath.Join(dir, "table.tsv")
	require.NoError(t, os.WriteFile(answers, []byte(given), 0o600))
	status, out, errs := impulseMain(t, "validate", "--predictions", answers, "--test-file", heldTickets, "--schema", ticketSchema, "--verbose", "--report", page, "--tsv", table)
	require.Zero(t, status, errs)
	require.Contains(t, out, "Passed: 12 (100.0%)")
	for _, path := range []string{page, table} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		out += string(text)
	}
	for _, word := range []string{"hydrogen", "hidrogen", "programme", "funding", "IMPULSE", "impulse", "meta.", "filters", "organisation"} {
		require.NotContains(t, out, word)
	}
}

// A model is not asked questions of another task.
func TestValidateRefusesOtherTasks(t *testing.T) {
	model := ticketModel(t)
	older := contracted(t, impulse.Schema(impulse.V1))
	for _, row := range []struct {
		name string
		args []string
		want []string
	}{
		{"built-in questions", []string{"--model-path", model}, []string{"the built-in questions are for IMPULSE's current schema", "give questions with --test-file"}},
		{"built-in questions of another variant", []string{"--model-path", older}, []string{"the built-in questions are for IMPULSE's current schema"}},
		{"file of another task", []string{"--model-path", model, "--test-file", "demo/data/test_set.json"}, []string{
			"test_set.json is not for this model: 20 of 20 wanted answers do not comply with the schema", " and 17 more", "--test-file, or another --schema"}},
		{"file of another variant", []string{"--model-path", older, "--test-file", "demo/data/test_set.json"}, []string{"is not for this model: 20 of 20"}},
		{"rules of another task", []string{"--model-path", model, "--test-file", heldTickets, "--rules", "standard"}, []string{"the rules standard are for IMPULSE's answers", "use generic"}},
		{"field", []string{"--model-path", model, "--test-file", heldTickets, "--by", "chanel"}, []string{"no record has a field chanel; there are amount, channel, customer, priority, product, tags"}},
		{"no schema to keep to", []string{"--model-path", tinyModel, "--test-file", heldTickets}, []string{"has no schema to keep answers to: give one with --schema, or say --constrained=false"}},
		{"constrained", []string{"--model-path", model, "--constrained=maybe"}, []string{`--constrained "maybe", want true, false or both`}},
		{"nothing to resume", []string{"--model-path", model, "--resume"}, []string{"--resume goes on with the answers kept by --save-results"}},
	} {
		status, out, errs := impulseMain(t, append([]string{"validate"}, row.args...)...)
		require.Equal(t, 1, status, row.name)
		for _, want := range row.want {
			require.Contains(t, errs, want, row.name)
		}
		require.NotContains(t, out, "backend", "%s: before the model is loaded", row.name)
	}
}

// A run that is interrupted and resumed saves the same results as one that was not.
func TestValidateResumes(t *testing.T) {
	t.Setenv("GOMLX_BACKEND", "go")
	dir := t.TempDir()
	o := validateOptions{
		modelOptions: modelOptions{ModelPath: ticketModel(t), Dtype: "auto"}, TestFile: heldTickets, Rules: "auto", Constrained: "true", Backend: "auto", BatchSize: 1, Limit: 6,
		SaveResults: filepath.Join(dir, "whole.json"),
	}
	o.Generate.MaxNewTokens, o.Generate.TopP, o.Generate.RepetitionPenalty = 80, 1, 1
	var out bytes.Buffer
	require.NoError(t, runValidate(t.Context(), o, &out, &out))
	whole, err := os.ReadFile(o.SaveResults)
	require.NoError(t, err)
	require.NoFileExists(t, o.journal(true))

	o.SaveResults = filepath.Join(dir, "parts.json")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if data, err := os.ReadFile(o.journal(true)); err == nil && strings.Count(string(data), "\n") > 2 {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	out.Reset()
	err = runValidate(ctx, o, &out, &out)
	require.ErrorContains(t, err, "kept in "+o.journal(true)+": the same command with --resume goes on")
	require.Contains(t, out.String(), "TEST RESULTS SUMMARY")
	require.NoFileExists(t, o.SaveResults)
	require.ErrorContains(t, runValidate(t.Context(), o, &out, &out), "add --resume to go on with them, or --overwrite")

	// What was kept can be scored as it is.
	kept := validateOptions{Predictions: o.journal(true), TestFile: heldTickets, Rules: "auto", Constrained: "true", BatchSize: 1, Generate: o.Generate}
	kept.Schema = ticketSchema
	out.Reset()
	require.NoError(t, runValidate(t.Context(), kept, &out, &out))
	require.Contains(t, out.String(), "Answers: kept to the schema")

	o.Resume = true
	other := o
	other.Generate.MaxNewTokens = 90
	require.ErrorContains(t, runValidate(t.Context(), other, &out, &out), "in another way, which cannot be resumed: other max_new_tokens")
	require.NoError(t, runValidate(t.Context(), o, &out, &out))
	parts, err := os.ReadFile(o.SaveResults)
	require.NoError(t, err)
	require.Equal(t, string(whole), string(parts))
	require.NoFileExists(t, o.journal(true))
}

// The test file can have any format that training data has.
func TestValidateFormats(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(heldTickets)
	require.NoError(t, err)
	var array, messages []any
	for line := range bytes.Lines(data) {
		var r struct{ ID, Prompt, Completion, Lang string }
		require.NoError(t, json.Unmarshal(line, &r))
		array = append(array, map[string]string{"id": r.ID, "instruction": r.Prompt, "output": r.Completion})
		messages = append(messages, map[string]any{"id": r.ID, "messages": []chatml.Message{
			{Role: chatml.System, Content: "Sort the ticket."}, {Role: chatml.User, Content: r.Prompt}, {Role: chatml.Assistant, Content: r.Completion}}})
	}
	model := ticketModel(t)
	o := validateOptions{modelOptions: modelOptions{ModelPath: model}, Rules: "auto"}
	for name, records := range map[string][]any{"alpaca.json": array, "messages.json": messages} {
		text, err := json.Marshal(records)
		require.NoError(t, err)
		o.TestFile = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(o.TestFile, text, 0o600))
		got, err := o.readTest(t.Context(), io.Discard, io.Discard)
		require.NoError(t, err, name)
		require.Len(t, got.cases, 12, name)
		require.Equal(t, "T11", got.cases[11].ID)
		require.Len(t, got.task.Fields, 5)
	}

	messages = append(messages[:1:1], map[string]any{"id": "other", "messages": []chatml.Message{
		{Role: chatml.System, Content: "Be brief."}, {Role: chatml.User, Content: "a"}, {Role: chatml.Assistant, Content: `{"product": "", "priority": "low", "amount": 1, "tags": [], "customer": {"lang": "ca"}}`}}})
	text, err := json.Marshal(messages)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(o.TestFile, text, 0o600))
	status, _, errs := impulseMain(t, "validate", "--model-path", model, "--test-file", o.TestFile)
	require.Equal(t, 1, status)
	const drift = "1 of 2 questions have another system prompt than the model was trained with: other"
	require.Contains(t, errs, drift+" (--allow-drift asks them with theirs)")
	status, out, errs := impulseMain(t, "validate", "--model-path", model, "--test-file", o.TestFile, "--allow-drift", "--max-new-tokens", "80")
	require.Zero(t, status, errs)
	require.Contains(t, out, "warning: "+drift)
	require.Contains(t, out, "Total tests: 2")
}
