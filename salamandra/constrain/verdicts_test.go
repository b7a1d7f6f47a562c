package constrain

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// verdict is a schema with values that are valid under it and values that are not.
type verdict struct {
	Name           string
	Schema         json.RawMessage
	Valid, Invalid []json.RawMessage
}

func readVerdicts(t *testing.T, path string) []verdict {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	var list []verdict
	for in.Scan() {
		var v verdict
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// check compares a grammar with the verdicts.
func (v verdict) check(t *testing.T, g *Grammar) {
	t.Helper()
	for _, x := range v.Valid {
		// Names that no schema lists count once, as they could be the same; see differ.
		if !written(g, string(x)) && !bytes.Contains(v.Schema, []byte(`xProperties":`)) && !bytes.Contains(v.Schema, []byte(`nProperties":`)) {
			t.Errorf("%s: %s is valid and not written", v.Name, x)
		}
	}
	for _, x := range v.Invalid {
		if written(g, string(x)) {
			t.Errorf("%s: %s is written and not valid", v.Name, x)
		}
	}
}

// TestVerdicts: schemas of people's bug reports, and those that Pydantic, zod and
// OpenAI's helper for Node make, with verdicts of Python's jsonschema and, for
// patterns, of Node.
func TestVerdicts(t *testing.T) {
	for _, v := range readVerdicts(t, "testdata/verdicts.jsonl") {
		g, err := Compile(v.Schema, DefaultOptions())
		if errors.Is(err, errUnsatisfiable) && len(v.Valid) == 0 {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		flat := *g
		flat.opts.Indent = 0
		if g, err = Compile(v.Schema, flat.opts); err != nil {
			t.Fatal(err)
		}
		v.check(t, g)
	}
}

// TestPythonVerdicts: random schemas and values, with the verdicts of Python's
// jsonschema; scripts in testdata recorded them. Those of the second file are of all
// drafts, with lookarounds and opposites of maps.
func TestPythonVerdicts(t *testing.T) {
	refused := 0
	list := readVerdicts(t, "testdata/python_verdicts.jsonl")
	more := readGzip[verdict](t, "testdata/wild_verdicts.jsonl.gz")
	if testing.Short() {
		more = more[:300]
	}
	list = append(list, more...)
	for _, v := range list {
		g, err := Compile(v.Schema, Options{MaxStates: 20_000})
		switch {
		case errors.Is(err, errUnsatisfiable) && len(v.Valid) == 0:
		case errors.Is(err, ErrUnsupported):
			refused++
		case err != nil:
			t.Errorf("%s: %v", v.Name, err)
		default:
			v.check(t, g)
		}
	}
	if len(list) < 500 || refused > len(list)/10 {
		t.Errorf("%d of %d schemas are refused", refused, len(list))
	}
}

// TestPatterns: patterns and strings with the verdicts of an engine of ECMA-262,
// which testdata/patterns.mjs recorded. What cannot be enforced is refused.
func TestPatterns(t *testing.T) {
	b, refused, list := newBuilder(400), 0, readGzip[struct {
		Pattern string
		Yes, No []string
	}](t, "testdata/patterns.jsonl.gz")
	for _, row := range list {
		d, err := b.patternOf(row.Pattern)
		if err != nil {
			refused++
			t.Logf("%s: %v", row.Pattern, err)
			continue
		}
		for want, texts := range map[bool][]string{true: row.Yes, false: row.No} {
			for _, text := range texts {
				if got := d.matches(text); got != want {
					t.Errorf("%s on %q: %v", row.Pattern, text, got)
				}
			}
		}
	}
	if len(list) < 500 || refused > len(list)/8 {
		t.Errorf("%d of %d patterns are refused", refused, len(list))
	}
}

// readGzip reads a file of JSON lines.
func readGzip[T any](t *testing.T, path string) (list []T) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(in); d.More(); {
		var row T
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		list = append(list, row)
	}
	return list
}
