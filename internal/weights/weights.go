// Package weights identifies the weights of a model, and other files, by hashes.
package weights

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Hash returns the SHA-256, in hexadecimal, that stands for the weights in a
// model's directory: the SHA-256 of the lines "<SHA-256>  <name>\n" of its
// *.safetensors files, sorted by name. It is what
//
//	sha256sum *.safetensors | sha256sum
//
// prints there in the C locale.
func Hash(ctx context.Context, dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("no *.safetensors in %s: it holds no weights that can be trained or served", dir)
	}
	sums := map[string]string{}
	for _, path := range files {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if sums[filepath.Base(path)], err = HashFile(path); err != nil {
			return "", err
		}
	}
	return HashSums(sums), nil
}

// HashSums is [Hash] of files whose SHA-256 are known, by name.
func HashSums(sums map[string]string) string {
	var lines bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&lines, "%s  %s\n", sums[name], name)
	}
	sum := sha256.Sum256(lines.Bytes())
	return hex.EncodeToString(sum[:])
}

// HashFile returns the SHA-256 of a file, in hexadecimal.
func HashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
