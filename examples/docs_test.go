package examples_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedTests: every test and benchmark that a document names is there.
func TestDocumentedTests(t *testing.T) {
	defined := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			defined[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named, documents := regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[A-Z]\\w*)"), 0
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../*/*/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			documents++
			for _, m := range named.FindAllSubmatch(text, -1) {
				if !defined[string(m[1])] {
					t.Errorf("%s names %s, which is nowhere", path, m[1])
				}
			}
		}
	}
	if documents < 5 {
		t.Errorf("%d documents were read", documents)
	}
}
