package examples_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestContributing checks that CONTRIBUTING.md gives every package a line in the
// tree of rooms, lists no other, and names only files that are there.
func TestContributing(t *testing.T) {
	data, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z./]+)  +\S`).FindAllStringSubmatch(text, -1) {
		listed[strings.TrimPrefix(m[1], ".")] = true
	}
	var files []string
	sources(t, func(path string, _ []byte) { files = append(files, path) })
	for _, p := range packages(t) {
		if p.name == "" || strings.HasPrefix(p.path(), ".") {
			continue // tests or a tool of the gate
		}
		if !listed[p.path()] {
			t.Errorf("CONTRIBUTING.md has no line for %s", p.path())
		}
		delete(listed, p.path())
	}
	for path := range listed {
		t.Errorf("CONTRIBUTING.md has a line for %s, which is no package", path)
	}
	for _, m := range regexp.MustCompile("`([a-z_0-9/]+\\.go)`").FindAllStringSubmatch(text, -1) {
		found := false
		for _, path := range files {
			found = found || strings.HasSuffix(path, "/"+m[1])
		}
		if !found {
			t.Errorf("CONTRIBUTING.md names %s, which is not there", m[1])
		}
	}
}
