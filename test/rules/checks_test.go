package rules

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// maxLines is the most lines that a file other than a test may have.
const maxLines = 700

// layers are the layers of the module, the lowest first. Packages client and server are at the
// same level.
var layers = []string{"packet", "conn", "multiplexer", "application", "client", "server"}

// above are the packages above the layers: no layer imports them.
var above = []string{"typed", "geminiotest", "mock", "inspect"}

// forbidden has, for each top directory, the top directories that its packages must not import
// directly or through other packages.
var forbidden = map[string][]string{
	"packet":      slices.Concat(layers[1:], above),
	"conn":        slices.Concat(layers[2:], above),
	"multiplexer": slices.Concat(layers[3:], above),
	"application": slices.Concat(layers[4:], above),
	"client":      slices.Concat([]string{"server"}, above),
	"server":      slices.Concat([]string{"client"}, above),
	"options":     slices.Concat(layers, above),
	"delegate":    slices.Concat(layers, above),
	"pkg":         slices.Concat(layers, above),
	"metadata":    slices.Concat(layers, above),
	"middleware":  slices.Concat(layers, above),
	"typed":       {"client", "server", "conn", "multiplexer", "application", "geminiotest", "mock", "test"},
	"geminiotest": {"typed", "mock", "test"},
	"mock":        slices.Concat(layers, []string{"typed", "geminiotest", "test"}),
	"clusterinfo": slices.Concat(layers, above),
	"inspect":     slices.Concat(layers, []string{"typed", "geminiotest", "mock", "test"}),
}

// leakChecks are the calls by which a TestMain looks for leaked goroutines.
var leakChecks = []string{"leak.Main(", "leak.Run(", "goleak.VerifyTestMain("}

// top is the first element of a directory.
func top(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// sortedDirs returns the directories of t in order.
func (t *tree) sortedDirs() []string {
	return slices.Sorted(maps.Keys(t.pkgs))
}

// checkPresent reports top directories of the rules without a Go file, for which the rules would
// test nothing.
func checkPresent(t *tree) []string {
	var problems []string
	for _, want := range slices.Sorted(maps.Keys(forbidden)) {
		present := slices.ContainsFunc(t.sortedDirs(), func(dir string) bool {
			return top(dir) == want && len(t.pkgs[dir].files) > 0
		})
		if !present {
			problems = append(problems, fmt.Sprintf("%s: no Go files", want))
		}
	}
	return problems
}

// checkLayers reports imports against the direction of the layers.
func checkLayers(t *tree) []string {
	var problems []string
	for _, dir := range t.sortedDirs() {
		for _, banned := range forbidden[top(dir)] {
			if way := t.wayTo(banned, []string{dir}, make(map[string]bool)); way != nil {
				problems = append(problems, fmt.Sprintf("%s must not import %s: %s",
					dir, banned, strings.Join(way, " -> ")))
			}
		}
	}
	return problems
}

// wayTo returns a chain of imports that begins with way and ends in the top
// directory goal, nil if there is none.
func (t *tree) wayTo(goal string, way []string, seen map[string]bool) []string {
	last := way[len(way)-1]
	if seen[last] || t.pkgs[last] == nil {
		return nil
	}
	seen[last] = true
	for _, imported := range t.pkgs[last].imports() {
		longer := append(slices.Clone(way), imported)
		if top(imported) == goal {
			return longer
		}
		if found := t.wayTo(goal, longer, seen); found != nil {
			return found
		}
	}
	return nil
}

// rootImports are the packages that the root package may import. They have no logic.
var rootImports = []string{"options", "internal/ctxkey"}

// checkRoot reports other imports of the root package than rootImports.
func checkRoot(t *tree) []string {
	root := t.pkgs["."]
	if root == nil || len(root.files) == 0 {
		return []string{".: no Go files"}
	}
	var problems []string
	for _, imported := range root.imports() {
		if !slices.Contains(rootImports, imported) {
			problems = append(problems, fmt.Sprintf("the root package must not import %s", imported))
		}
	}
	return problems
}

// checkPackageDocs reports packages without a package comment in doc.go.
func checkPackageDocs(t *tree) []string {
	var problems []string
	for _, dir := range t.sortedDirs() {
		p := t.pkgs[dir]
		if len(p.files) == 0 {
			continue
		}
		i := slices.IndexFunc(p.files, func(f *file) bool {
			return f.name == "doc.go" || strings.HasSuffix(f.name, "/doc.go")
		})
		if i < 0 {
			problems = append(problems, fmt.Sprintf("%s: no doc.go", dir))
			continue
		}
		doc := p.files[i].ast
		start := "Package " + doc.Name.Name + " "
		if doc.Name.Name == "main" {
			start = "Command "
		}
		if !strings.HasPrefix(doc.Doc.Text(), start) {
			problems = append(problems, fmt.Sprintf("%s: no package comment that begins with %q", p.files[i].name, start))
		}
	}
	return problems
}

// checkExportedDocs reports exported functions, types, methods of exported types, constants and
// variables without a comment. One comment for a group of constants or variables is enough. The
// method Error and generated files need no comment.
func checkExportedDocs(t *tree) []string {
	var problems []string
	for _, dir := range t.sortedDirs() {
		for _, f := range t.pkgs[dir].files {
			if ast.IsGenerated(f.ast) {
				continue
			}
			for _, decl := range f.ast.Decls {
				for _, name := range undocumented(decl) {
					problems = append(problems, fmt.Sprintf("%s: %s has no comment", t.at(name), name.Name))
				}
			}
		}
	}
	return problems
}

// undocumented returns the names in decl that lack a comment.
func undocumented(decl ast.Decl) []*ast.Ident {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		exported := decl.Name.IsExported() && (decl.Recv == nil || receiver(decl).IsExported())
		exempt := decl.Recv != nil && decl.Name.Name == "Error"
		if exported && !exempt && decl.Doc.Text() == "" {
			return []*ast.Ident{decl.Name}
		}
	case *ast.GenDecl:
		var names []*ast.Ident
		for _, spec := range decl.Specs {
			names = append(names, undocumentedSpec(decl, spec)...)
		}
		return names
	}
	return nil
}

// undocumentedSpec is undocumented for one line of a group.
func undocumentedSpec(decl *ast.GenDecl, spec ast.Spec) []*ast.Ident {
	var names []*ast.Ident
	documented := decl.Doc.Text() != ""
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		// A comment on a group of types does not describe each type.
		documented = spec.Doc.Text() != "" || documented && !decl.Lparen.IsValid()
		names = []*ast.Ident{spec.Name}
	case *ast.ValueSpec:
		documented = documented || spec.Doc.Text() != "" || spec.Comment.Text() != ""
		names = slices.Clone(spec.Names)
	}
	if documented {
		return nil
	}
	return slices.DeleteFunc(names, func(name *ast.Ident) bool { return !name.IsExported() })
}

// receiver returns the name of the type that a method belongs to.
func receiver(method *ast.FuncDecl) *ast.Ident {
	expr := method.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.Ident:
			return e
		case *ast.StarExpr:
			expr = e.X
		case *ast.ParenExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		default:
			panic(fmt.Sprintf("BUG: a receiver of type %T", expr))
		}
	}
}

// checkSizes reports files with more than maxLines lines, other than generated ones.
func checkSizes(t *tree) []string {
	var problems []string
	for _, dir := range t.sortedDirs() {
		for _, f := range t.pkgs[dir].files {
			if f.lines > maxLines && !ast.IsGenerated(f.ast) {
				problems = append(problems, fmt.Sprintf("%s: %d lines, at most %d are allowed", f.name, f.lines, maxLines))
			}
		}
	}
	return problems
}

// checkLeaks reports packages whose tests do not look for leaked goroutines.
func checkLeaks(t *tree) []string {
	var problems []string
	for _, dir := range t.sortedDirs() {
		tests := t.pkgs[dir].tests
		checked := slices.ContainsFunc(tests, func(f *file) bool {
			text := string(f.text)
			return strings.Contains(text, "func TestMain(") && slices.ContainsFunc(leakChecks, func(call string) bool {
				return strings.Contains(text, call)
			})
		})
		if len(tests) > 0 && !checked {
			problems = append(problems, fmt.Sprintf("%s: no TestMain that looks for leaked goroutines", dir))
		}
	}
	return problems
}
