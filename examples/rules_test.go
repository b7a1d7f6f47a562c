// Package examples_test holds the rules that every package of the module keeps.
package examples_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// path returns the package's path within the module, "" for the root.
func (p *pkg) path() string {
	return filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p.dir, ".."), string(filepath.Separator)))
}

// library reports whether the package is for import by other programs.
func (p *pkg) library() bool {
	return p.name != "main" && p.name != "" && !strings.HasSuffix(p.dir, "salamandratest")
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if p.name == "" {
			continue // only tests
		}
		if len(p.docs) != 1 {
			t.Errorf("%s: package comment in %d files %v, want 1", p.dir, len(p.docs), p.docs)
		}
		if p.library() && p.dir != ".." && !strings.Contains(p.dir, "/internal/") && !p.example {
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

// ground are the packages that all others may import.
var ground = []string{
	"internal/answerfile",
	"internal/atomicfile",
	"internal/donation",
	"internal/faults",
	"internal/hub",
	"internal/jsonpointer",
	"internal/lang",
	"internal/mpi",
	"internal/page",
	"internal/products",
	"internal/pyrandom",
	"internal/ranks",
	"internal/safetensors",
	"internal/simd",
	"internal/spreadsheet",
	"internal/strictjson",
	"internal/tensorboard",
	"internal/tokenizerjson",
	"internal/wandb",
	"internal/weights",
	"internal/wrongfile",
}

// mayImport says which packages of the module each package may import, beside the
// ground. It has a row for every package but programs, which may import all, and the
// root, the door, which may import all but the server that stands before it.
var mayImport = map[string][]string{
	"internal/safetensors":   {"internal/atomicfile", "internal/faults", "internal/wrongfile"},
	"internal/runlog":        {"dataset", "dataset/inspect", "evalx", "internal/lengths", "lora/train"},
	"internal/strictjson":    {"internal/faults"},
	"internal/templatecheck": {"chatml"},
	"internal/tokenizerjson": {"internal/faults", "internal/strictjson", "internal/wrongfile"},
	"internal/wrongfile":     {"internal/faults"},
	"internal/answers":       {"chatml", "dataset", "evalx", "salamandra/constrain"},
	"internal/gobackend":     nil,
	"internal/hub":           {"internal/atomicfile", "internal/wrongfile"},
	"internal/lengths":       {"dataset"},
	"internal/modelfiles":    {"internal/quantize", "salamandra/llama"},
	"internal/prompt":        {"chatml", "salamandra/constrain", "salamandra/generate"},
	"internal/quantize":      nil,

	"chatml": nil,

	"evalx":         nil,
	"evalx/report":  {"evalx"},
	"evalx/impulse": {"dataset/impulse", "evalx", "evalx/report"},

	"dataset":         {"chatml"},
	"dataset/augment": {"chatml", "dataset"},
	"dataset/inspect": {"chatml", "dataset", "internal/lengths"},
	"dataset/impulse": {"chatml", "dataset", "evalx"},

	"salamandra/tokenizer":      nil,
	"salamandra/constrain":      nil,
	"salamandra/llama":          nil,
	"salamandra":                {"internal/modelfiles", "internal/quantize", "salamandra/llama"},
	"salamandra/salamandratest": {"internal/gobackend", "internal/modelfiles", "internal/quantize", "salamandra", "salamandra/llama", "salamandra/xlaplugin"},
	"salamandra/device":         {"internal/gobackend", "salamandra", "salamandra/xlaplugin"},
	"salamandra/xlaplugin":      nil,
	"salamandra/generate":       {"salamandra", "salamandra/constrain", "salamandra/llama"},
	"salamandra/gguf":           {"chatml", "internal/modelfiles", "internal/templatecheck", "lora", "salamandra/llama"},
	"salamandra/serve":          {"", "chatml", "lora", "salamandra/constrain", "salamandra/generate"},

	"lora/internal/update": nil,
	"lora": {"chatml", "internal/modelfiles", "internal/quantize", "internal/templatecheck", "lora/internal/update", "salamandra", "salamandra/device",
		"salamandra/llama", "salamandra/tokenizer"},
	"lora/train": {"dataset", "internal/quantize", "lora", "salamandra", "salamandra/llama"},
}

// importFault says why the package called name must not import another of the
// module, "" if it may.
func importFault(name, imported string) string {
	may, listed := mayImport[name]
	switch {
	case strings.HasPrefix(imported, "examples"):
		return "nothing imports a program"
	case slices.Contains(may, imported):
		return ""
	case slices.Contains(ground, imported) && !slices.Contains(ground, name):
		return ""
	case name == "" && imported != "salamandra/serve":
		return ""
	case !listed && !slices.Contains(ground, name) && name != "":
		return "the package is in no table of examples/rules_test.go"
	}
	return "see the table in examples/rules_test.go"
}

// TestImportsPointOneWay checks the direction of the packages, of which every one
// has its place.
func TestImportsPointOneWay(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		if p.name == "" || p.name == "main" {
			continue // tests or a program
		}
		name := p.path()
		seen[name] = true
		if _, listed := mayImport[name]; !listed && !slices.Contains(ground, name) && name != "" {
			t.Errorf("%s has no row in the tables of examples/rules_test.go", name)
		}
		for path, file := range p.imports {
			if own, inside := strings.CutPrefix(path, module); inside {
				if why := importFault(name, strings.TrimPrefix(own, "/")); why != "" {
					t.Errorf("%s imports %s: %s", file, path, why)
				}
			}
		}
	}
	for _, name := range append(slices.Sorted(maps.Keys(mayImport)), ground...) {
		if !seen[name] {
			t.Errorf("%s is in a table of examples/rules_test.go and is no package", name)
		}
	}
}

// TestImportRules: the rules that the tables stand for.
func TestImportRules(t *testing.T) {
	for _, row := range []struct {
		name, imported string
		allowed        bool
	}{
		{"", "salamandra/serve", false},
		{"", "lora/train", true},
		{"", "internal/faults", true},
		{"", "examples/impulse", false},
		{"salamandra/serve", "", true},
		{"lora", "", false},
		{"lora", "lora/train", false},
		{"chatml", "internal/strictjson", true},
		{"chatml", "dataset", false},
		{"internal/faults", "internal/strictjson", false},
		{"internal/strictjson", "internal/faults", true},
		{"no/such", "internal/faults", true},
		{"no/such", "chatml", false},
	} {
		if why := importFault(row.name, row.imported); (why == "") != row.allowed {
			t.Errorf("%q imports %q: %q, want allowed %v", row.name, row.imported, why, row.allowed)
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
