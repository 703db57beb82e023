package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

const manual = root + "/docs/usage.md"

// TestManualNamesAllOptions requires that the manual names every setter of every options type.
func TestManualNamesAllOptions(t *testing.T) {
	text := read(t, manual)
	setters := 0
	for _, opt := range []any{
		client.NewEndOptions(), server.NewEndOptions(), options.Call(), options.Publish(), options.NewRequest(),
		options.NewMessage(), options.OpenStream(), options.Hijack(),
	} {
		typ := reflect.TypeOf(opt)
		for i := range typ.NumMethod() {
			name := typ.Method(i).Name
			if !strings.HasPrefix(name, "Set") {
				continue
			}
			setters++
			if !regexp.MustCompile(`\b` + name + `\b`).MatchString(text) {
				t.Errorf("%s does not name %s, a method of %v", manual, name, typ)
			}
		}
	}
	if setters < 50 {
		t.Fatalf("the options have %d setters, want more", setters)
	}
}

// TestManualNamesAllErrors requires that the manual names every error variable and error type of
// the root package.
func TestManualNamesAllErrors(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "errors.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, manual)
	names := 0
	for name, object := range file.Scope.Objects {
		isError := object.Kind == ast.Var && strings.HasPrefix(name, "Err") || strings.HasSuffix(name, "Error")
		if !isError || !ast.IsExported(name) {
			continue
		}
		names++
		if !strings.Contains(text, "`geminio."+name+"`") && !strings.Contains(text, "`*geminio."+name+"`") {
			t.Errorf("%s does not name geminio.%s", manual, name)
		}
	}
	if names < 15 {
		t.Fatalf("the root package has %d errors, want more", names)
	}
}
