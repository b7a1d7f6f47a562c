package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fetchPage gets a page by its address, the first in a text.
func fetchPage(t *testing.T, text string) string {
	t.Helper()
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(text)
	require.NotEmpty(t, url, text)
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, string(body))
	return string(body)
}

// TestTrainWatch: a run can be watched from its beginning, and its copy later.
func TestTrainWatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	var out strings.Builder
	stop, err := serveWatch(dir, 0, false, &out)
	require.NoError(t, err)
	defer stop()
	require.Contains(t, fetchPage(t, out.String()), "no run yet in "+dir)

	status, said, errs := impulseMain(t, "train", "--model", tinyModel, "--data", prepared(t, 12), "--output-dir", dir, "--overwrite", "--watch",
		"--max-steps", "2", "--batch-size", "2", "--lora-r", "2", "--eval-split", "0", "--report-samples", "0")
	require.Zero(t, status, errs)
	require.Regexp(t, `(?m)^watch the run: http://127\.0\.0\.1:\d+$`, said)
	page := fetchPage(t, out.String())
	for _, part := range []string{"finished: 2 of 2 steps", "training, smoothed", "connect-src"} {
		require.Contains(t, page, part)
	}
}

func TestWatch(t *testing.T) {
	status, _, errs := impulseMain(t, "watch", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, 1, status)
	require.Contains(t, errs, "no such file")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out strings.Builder
	root := newRootCommand()
	root.SetArgs([]string{"watch", "--port", "0", t.TempDir()})
	root.SetOut(&out)
	require.ErrorIs(t, root.ExecuteContext(ctx), context.DeadlineExceeded)
	require.Contains(t, out.String(), "watch the run: http://127.0.0.1:")
}
