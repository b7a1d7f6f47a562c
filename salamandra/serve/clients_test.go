package serve

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pythonVariable names the Python of the test below; without it, python3 of the
// PATH.
const pythonVariable = "SALAMANDRA_PYTHON"

// TestOpenAIClient drives the server with OpenAI's Python package.
func TestOpenAIClient(t *testing.T) {
	python := cmp.Or(os.Getenv(pythonVariable), "python3")
	out, status := runClient(t, python, filepath.Join("testdata", "openai_client.py"))
	if status == 3 && os.Getenv(pythonVariable) == "" {
		t.Skipf("%s (the client of OpenAI; %s names a Python that has it)", strings.TrimSpace(out), pythonVariable)
	}
	require.Zero(t, status, out)
	require.Equal(t, "models\nanswer\nstream\nseed\npydantic model\njson_object\nfunction\ninstructor\nrefusals\n16 at once\nleft early\n", out)
}

// TestCurl runs the lines of the documentation with curl, and looks at what it
// prints.
func TestCurl(t *testing.T) {
	out, status := runClient(t, "sh", filepath.Join("testdata", "curl.sh"))
	if status == 3 {
		t.Skip("no curl on the PATH")
	}
	require.Zero(t, status, out)
	require.Equal(t, "200\n200\n200\n401\n415\n404\n413\n[DONE]\n", out)
}

// runClient runs a program with the address and a key of a server, and returns
// its output and exit status.
func runClient(t *testing.T, program, script string) (out string, status int) {
	t.Helper()
	found, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no %s: %v", program, err)
	}
	r := newRealServer(t, 0)
	url, _ := start(t, r.Server)
	require.Eventually(t, r.isReady, time.Minute, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	data, err := exec.CommandContext(ctx, found, script, url, adminKey).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(data), exit.ExitCode()
	}
	require.NoError(t, err)
	return string(data), 0
}
