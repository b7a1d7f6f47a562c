package lora

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// mergedSmall merges the small adapter and returns base and output.
func mergedSmall(t *testing.T) (base, output string) {
	t.Helper()
	base = smallModel(t)
	require.NoError(t, os.WriteFile(filepath.Join(base, "tokenizer.json"), []byte("{}"), 0o666))
	output = filepath.Join(t.TempDir(), "merged")
	_, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: smallAdapter(t), Output: output})
	require.NoError(t, err)
	return base, output
}

func TestVerifyDir(t *testing.T) {
	_, output := mergedSmall(t)
	report, err := VerifyDir(t.Context(), output)
	require.NoError(t, err)
	require.Equal(t, report.Certificate.OutputFiles, report.Files)
	require.Len(t, report.Files, 3)

	for _, name := range names(t, output) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(output, name)
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			want, missing := errAltered, errFileMissing
			if name == mergeInfoFile {
				want, missing = errCertificate, errCertificate
			}
			for i := 0; i < len(content); i += max(1, len(content)/50) {
				flipped := append([]byte{}, content...)
				flipped[i] ^= 1
				require.NoError(t, os.WriteFile(path, flipped, 0o666))
				_, err := VerifyDir(t.Context(), output)
				require.ErrorIs(t, err, want, "bit of byte %d", i)
				require.ErrorContains(t, err, name)
			}
			require.NoError(t, os.WriteFile(path, append(content, ' '), 0o666))
			_, err = VerifyDir(t.Context(), output)
			require.ErrorIs(t, err, want, "one byte more")
			require.NoError(t, os.Remove(path))
			_, err = VerifyDir(t.Context(), output)
			require.ErrorIs(t, err, missing)
			require.NoError(t, os.WriteFile(path, content, 0o666))
		})
	}

	require.NoError(t, os.Mkdir(filepath.Join(output, "extra"), 0o777))
	require.NoError(t, os.Remove(filepath.Join(output, "config.json")))
	report, err = VerifyDir(t.Context(), output)
	require.ErrorIs(t, err, errExtraFile)
	require.ErrorIs(t, err, errFileMissing, "all at once")
	require.Len(t, report.Files, 2, "what is in order")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = VerifyDir(ctx, output)
	require.ErrorIs(t, err, context.Canceled)
}

// A certificate of a merge without a seal is none.
func TestVerifyDirRefusesCertificate(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "no object": "[]", "no seal": "{}", "another seal": `{"seal": "00"}`, "another key": `{"SEAL": "00"}`,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, mergeInfoFile), []byte(content), 0o666))
		_, err := VerifyDir(t.Context(), dir)
		require.ErrorIs(t, err, errCertificate, name)
	}
}

// A model that Verify refuses is kept, complete, under another name.
func TestMergeVerify(t *testing.T) {
	base, adapter, dir := smallModel(t), smallAdapter(t), t.TempDir()
	opts := MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(dir, "merged")}
	refusal := errors.New("answers differ")
	opts.Check = func(ctx context.Context, at string) error {
		_, err := VerifyDir(ctx, at)
		require.NoError(t, err, "the model is complete")
		require.NoDirExists(t, opts.Output)
		return refusal
	}
	_, err := Merge(t.Context(), opts)
	require.ErrorIs(t, err, errRejected)
	require.ErrorIs(t, err, refusal)
	require.Len(t, names(t, dir), 1)
	rejected := filepath.Join(dir, names(t, dir)[0])
	require.Contains(t, err.Error(), rejected)

	opts.Check = func(context.Context, string) error { return nil }
	report, err := Merge(t.Context(), opts)
	require.NoError(t, err)
	for _, at := range []string{rejected, opts.Output} {
		found, err := VerifyDir(t.Context(), at)
		require.NoError(t, err)
		require.Equal(t, report.OutputFiles, found.Files)
	}

	ctx, cancel := context.WithCancel(t.Context())
	opts.Output = filepath.Join(t.TempDir(), "merged")
	opts.Check = func(ctx context.Context, _ string) error { cancel(); return ctx.Err() }
	_, err = Merge(ctx, opts)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, names(t, filepath.Dir(opts.Output)), "as when cancelled at any other time")
}

func TestUnmerge(t *testing.T) {
	base, merged := mergedSmall(t)
	output := filepath.Join(t.TempDir(), "restored")
	require.NoError(t, Unmerge(t.Context(), UnmergeOptions{Merged: merged, Base: base, Output: output}))
	require.Equal(t, digest(t, base), digest(t, output), "byte for byte")

	dir := t.TempDir()
	again := UnmergeOptions{Merged: merged, Base: base, Output: filepath.Join(dir, "restored")}
	require.ErrorIs(t, Unmerge(t.Context(), UnmergeOptions{}), errOption)
	within := again
	within.Output = filepath.Join(base, "restored")
	require.ErrorIs(t, Unmerge(t.Context(), within), errOutput)

	require.NoError(t, os.WriteFile(filepath.Join(base, "tokenizer.json"), []byte("[]"), 0o666))
	require.NoError(t, os.Remove(filepath.Join(base, "config.json")))
	err := Unmerge(t.Context(), again)
	require.ErrorIs(t, err, errBase)
	require.ErrorIs(t, err, os.ErrNotExist, "all at once")
	require.Empty(t, names(t, dir))
	require.NoError(t, os.Remove(filepath.Join(merged, mergeInfoFile)))
	require.ErrorIs(t, Unmerge(t.Context(), again), errCertificate)
}
