package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora"
)

// referenceModel is a tiny model with adapters.
const referenceModel = "../../salamandra/testdata/reference/models/tiny-gqa"

func TestVerify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "merged")
	_, err := lora.Merge(t.Context(), lora.MergeOptions{
		Base: referenceModel, Adapter: filepath.Join(referenceModel, "golden", "adapter-lora"), Output: dir,
	})
	require.NoError(t, err)
	run := func() (status int, out, errs string) {
		var o, e bytes.Buffer
		cmd := newVerifyCommand()
		status = execute(cmd, []string{dir}, &o, &e)
		return status, o.String(), e.String()
	}
	status, out, errs := run()
	require.Zero(t, status, errs)
	require.Contains(t, out, dir+" is as it was merged: 6 files")
	require.Contains(t, out, "28 merged (linear), 11 untouched")
	require.Contains(t, out, "adapter-lora, weight 1\n")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "extra"), nil, 0o666))
	status, out, errs = run()
	require.Equal(t, 1, status)
	require.Empty(t, out)
	require.Contains(t, errs, "config.json: file differs from its certificate")
	require.Contains(t, errs, "extra: not in the certificate", "all at once")
}

// An adapter is checked for servers.
func TestVerifyAdapter(t *testing.T) {
	golden := filepath.Join(referenceModel, "golden")
	for _, row := range []struct {
		name, dir string
		args      []string
		out, errs []string // parts; no errs for success
	}{
		{name: "plain", dir: "adapter-lora", out: []string{"vllm: takes ", "llama.cpp: takes "}},
		{name: "DoRA, for information", dir: "adapter-dora", out: []string{"vllm: use_dora: ", "llama.cpp: use_dora: ", "merge the adapter"}},
		{name: "DoRA for vLLM", dir: "adapter-dora", args: []string{"--server", "vllm"}, errs: []string{"impulse: vllm: use_dora: "}},
		{name: "another server", dir: "adapter-lora", args: []string{"--server", "ollama"}, errs: []string{`"ollama", want "vllm" or "llama.cpp"`}},
		{name: "no adapter", dir: ".", args: []string{"--server", "vllm"}, errs: []string{"no adapter directory"}},
		{name: "nothing", dir: ".", errs: []string{"no valid certificate", "no directory that Merge wrote"}},
		{name: "two", dir: ".", args: []string{"x"}, errs: []string{"verify wants one directory, not 2: impulse verify DIR"}},
	} {
		var out, errs bytes.Buffer
		status := execute(newVerifyCommand(), append(row.args, filepath.Join(golden, row.dir)), &out, &errs)
		require.Equal(t, row.errs != nil, status == 1, "%s: %s", row.name, errs.String())
		for _, part := range row.out {
			require.Contains(t, out.String(), part, row.name)
		}
		for _, part := range row.errs {
			require.Contains(t, errs.String(), part, row.name)
		}
	}
}
