package examples_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxLines is how long a file may be: one idea, read from top to bottom.
const maxLines = 500

// sources calls visit for every Go file of the module but those in testdata.
func sources(t *testing.T, visit func(path string, text []byte)) {
	t.Helper()
	for _, p := range packages(t) {
		files, err := filepath.Glob(filepath.Join(p.dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			visit(path, text)
		}
	}
}

// TestFilesAreShort: those that a program of the module wrote may be as long as they are.
func TestFilesAreShort(t *testing.T) {
	sources(t, func(path string, text []byte) {
		if bytes.HasPrefix(text, []byte("// Made by gen.go")) {
			return
		}
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, want at most %d", path, n, maxLines)
		}
	})
}

// TestExportedNamesAreExplained checks that every exported function, type, method,
// constant and variable has a comment: its own, that of its group or the one at the
// end of its line.
func TestExportedNamesAreExplained(t *testing.T) {
	sources(t, func(path string, text []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range unexplained(file) {
			t.Errorf("%s: %s has no comment", set.Position(name.Pos()), name.Name)
		}
	})
}

// unexplained returns the exported names of a file that have no comment.
func unexplained(file *ast.File) []*ast.Ident {
	var names []*ast.Ident
	note := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		for _, c := range comments {
			if c != nil {
				return
			}
		}
		if name.IsExported() {
			names = append(names, name)
		}
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || ast.IsExported(receiver(d)) {
				note(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					note(s.Name, s.Doc, d.Doc)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						note(name, s.Doc, d.Doc, s.Comment)
					}
				}
			}
		}
	}
	return names
}

// receiver returns the name of a method's type.
func receiver(method *ast.FuncDecl) string {
	t := method.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func TestUnexplained(t *testing.T) {
	const text = `package p

// A has one.
type A int

type B int

func (B) M() {}
func (b) M() {}
func (*G[T]) N() {}

// C and D have that of the group.
const (
	C = 1
	D = 2
)

var (
	E = 1
	F = 2 // at the end of the line
	// G has its own.
	G = 3
	h = 4
)
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range unexplained(file) {
		got = append(got, name.Name)
	}
	if want := "B M N E"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestSentinelsAreTestedFor checks that an error value is exported only where
// another package, or a test of one, asks for it.
func TestSentinelsAreTestedFor(t *testing.T) {
	declared, named := map[string]string{}, map[string]bool{} // such as "train.ErrMemory"; by file
	for _, p := range packages(t) {
		files, err := filepath.Glob(filepath.Join(p.dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if p.library() && !strings.Contains(p.dir, "internal") && !strings.HasSuffix(path, "_test.go") {
				for _, name := range sentinels(file) {
					declared[p.name+"."+name] = path
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name != p.name {
						named[x.Name+"."+s.Sel.Name] = true
					}
				}
				return true
			})
		}
	}
	if len(declared) == 0 {
		t.Fatal("no error values were found")
	}
	for name, path := range declared {
		if !named[name] {
			t.Errorf("%s: nobody outside the package asks for %s: begin its name with err", path, name)
		}
	}
}

// sentinels returns the exported variables of a file that are called Err.
func sentinels(file *ast.File) []string {
	var names []string
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.VAR {
			continue
		}
		for _, spec := range d.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				if strings.HasPrefix(name.Name, "Err") {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}
