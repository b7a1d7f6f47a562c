package chatml

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// HashFiles returns the SHA-256, in hexadecimal, that stands for a set of
// files such as the shards of a model: that of the lines "<SHA-256>  <name>\n"
// of all files, sorted by name without directory. It is what
//
//	sha256sum *.safetensors | sha256sum
//
// prints in the model's directory in the C locale.
func HashFiles(ctx context.Context, paths ...string) (string, error) {
	paths = slices.Clone(paths)
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	var lines bytes.Buffer
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		sum, err := hashFile(p)
		if err != nil {
			return "", fmt.Errorf("chatml: hash: %w", err)
		}
		fmt.Fprintf(&lines, "%s  %s\n", sum, filepath.Base(p))
	}
	return hash(lines.Bytes()), nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
