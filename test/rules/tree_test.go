package rules

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

const modulePath = "github.com/singchia/geminio"

// file is one parsed Go file.
type file struct {
	name  string // path below the root of the module
	text  []byte
	lines int
	ast   *ast.File
}

// pkg has the Go files of one directory.
type pkg struct {
	dir   string // path below the root of the module, "." for the root
	files []*file
	tests []*file
}

// tree has the packages of a module by directory, without nested modules. It includes all files,
// whatever their build tags.
type tree struct {
	fset *token.FileSet
	pkgs map[string]*pkg
}

// readTree parses all Go files below the root of a module.
func readTree(root fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet(), pkgs: make(map[string]*pkg)}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return t.enter(root, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		return t.add(root, name)
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// enter reports whether the go command looks for packages in a directory.
func (t *tree) enter(root fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// add parses one file.
func (t *tree) add(root fs.FS, name string) error {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := &file{name: name, text: text, lines: bytes.Count(text, []byte("\n")), ast: parsed}

	dir := path.Dir(name)
	p := t.pkgs[dir]
	if p == nil {
		p = &pkg{dir: dir}
		t.pkgs[dir] = p
	}
	if strings.HasSuffix(name, "_test.go") {
		p.tests = append(p.tests, f)
	} else {
		p.files = append(p.files, f)
	}
	return nil
}

// at returns the position of a node, for messages.
func (t *tree) at(node ast.Node) string {
	position := t.fset.Position(node.Pos())
	return fmt.Sprintf("%s:%d", position.Filename, position.Line)
}

// imports returns the directories of the packages of this module that the
// non-test files of p import, without those that p imports for tests only.
func (p *pkg) imports() []string {
	var dirs []string
	for _, f := range p.files {
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				panic("BUG: the parser let through an import of " + spec.Path.Value)
			}
			if imported == modulePath {
				dirs = append(dirs, ".")
			} else if dir, ok := strings.CutPrefix(imported, modulePath+"/"); ok {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}
