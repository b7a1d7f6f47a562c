package weights

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestHash(t *testing.T) {
	dir := t.TempDir()
	if _, err := Hash(t.Context(), dir); err == nil {
		t.Error("a directory without weights has a hash")
	}
	for name, text := range map[string]string{"a.safetensors": "abc", "b.safetensors": "", "config.json": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// printf abc >a.safetensors; : >b.safetensors; sha256sum *.safetensors | sha256sum
	const want = "d2d04e7d28b904f67fba46ec8a63649be04d39b956a8383039d8798ffd8ae516"
	if got, err := Hash(t.Context(), dir); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Hash(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
