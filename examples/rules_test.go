// Package examples_test holds the rules that every package of the module keeps.
package examples_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/impulse-salamandra/finetune"

// pkg is a directory with Go files.
type pkg struct {
	dir     string
	name    string
	docs    []string // files with a package comment
	example bool
	imports map[string]string // path to the file that imports it, tests left out
	calls   map[string]string // "fmt.Print..." and such, to the file
}

// packages parses every package of the module but those in testdata.
func packages(t *testing.T) []*pkg {
	t.Helper()
	by := map[string]*pkg{}
	var list []*pkg
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		p := by[dir]
		if p == nil {
			p = &pkg{dir: dir, imports: map[string]string{}, calls: map[string]string{}}
			by[dir] = p
			list = append(list, p)
		}
		p.read(path, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (p *pkg) read(path string, file *ast.File) {
	if strings.HasSuffix(path, "_test.go") {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Example") {
				p.example = true
			}
		}
		return
	}
	p.name = file.Name.Name
	if file.Doc != nil {
		p.docs = append(p.docs, path)
	}
	for _, i := range file.Imports {
		p.imports[strings.Trim(i.Path.Value, `"`)] = path
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				p.calls[x.Name+"."+s.Sel.Name] = path
			}
		}
		return true
	})
}

// library tells whether the package is for import by other programs.
func (p *pkg) library() bool {
	return p.name != "main" && p.name != "" && !strings.HasSuffix(p.dir, "salamandratest")
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if p.name == "" {
			continue // tests alone
		}
		if len(p.docs) != 1 {
			t.Errorf("%s: package comment in %d files %v, want 1", p.dir, len(p.docs), p.docs)
		}
		if p.library() && p.dir != ".." && !p.example {
			t.Errorf("%s: no Example", p.dir)
		}
	}
}

// TestLibrariesStayQuiet checks that no library package imports a backend,
// prints, or reads flags.
func TestLibrariesStayQuiet(t *testing.T) {
	for _, p := range packages(t) {
		if !p.library() {
			continue
		}
		for path, file := range p.imports {
			if path == "flag" || path == "log" || strings.HasPrefix(path, "github.com/gomlx/go-xla") ||
				strings.HasPrefix(path, "github.com/gomlx/compute/gobackend") || strings.HasPrefix(path, "github.com/gomlx/gomlx/backends") {
				t.Errorf("%s imports %s", file, path)
			}
		}
		for call, file := range p.calls {
			if strings.HasPrefix(call, "fmt.Print") || call == "os.Stdout" || call == "os.Stderr" || call == "os.Exit" {
				t.Errorf("%s uses %s", file, call)
			}
		}
	}
}

// TestImportsPointOneWay checks the direction of the packages.
func TestImportsPointOneWay(t *testing.T) {
	allowed := map[string][]string{
		"chatml":                 nil,
		"evalx":                  {"evalx/page"},
		"evalx/page":             nil,
		"dataset":                {"chatml"},
		"dataset/inspect":        {"chatml", "dataset", "evalx/page"},
		"dataset/impulse":        {"chatml", "dataset", "evalx", "salamandra/safetensors"},
		"salamandra/safetensors": nil,
		"salamandra/tokenizer":   nil,
		"salamandra/constrain":   nil,
		"salamandra/hub":         nil,
		"salamandra":             {"salamandra/safetensors", "salamandra/constrain"},
		"lora":                   {"salamandra/safetensors", "chatml"},
		"salamandra/serve":       {"salamandra", "salamandra/constrain", "chatml", "lora"},
		"lora/train/tensorboard": nil,
		"lora/train":             {"lora", "salamandra", "dataset", "salamandra/safetensors"},
	}
	for _, p := range packages(t) {
		name := filepath.ToSlash(strings.TrimPrefix(p.dir, "../"))
		may, known := allowed[name]
		if !known {
			continue
		}
		for path, file := range p.imports {
			own, inside := strings.CutPrefix(path, module+"/")
			if !inside {
				continue
			}
			ok := false
			for _, m := range may {
				ok = ok || m == own
			}
			if !ok {
				t.Errorf("%s imports %s, which %s must not", file, own, name)
			}
		}
	}
}

// TestNoPathsOfOneMachine checks that nothing in the module names a directory
// that its users do not have.
func TestNoPathsOfOneMachine(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil || home == "/" {
		t.Fatalf("no home directory: %v", err)
	}
	for _, p := range packages(t) {
		files, err := filepath.Glob(filepath.Join(p.dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), home+"/") {
				t.Errorf("%s names %s", file, home)
			}
		}
	}
}
