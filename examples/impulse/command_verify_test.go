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
