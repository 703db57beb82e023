package mock_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/mock/gomock"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/mock"
)

// The mocks of the interfaces that contain others have all methods.
var (
	_ geminio.End    = (*mock.MockEnd)(nil)
	_ geminio.Stream = (*mock.MockStream)(nil)
	_ geminio.Raw    = (*mock.MockRaw)(nil)
)

// typesOf returns the exported types of files: all, and those that are interfaces.
func typesOf(t *testing.T, files ...string) (all, interfaces []string) {
	t.Helper()
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			group, _ := decl.(*ast.GenDecl)
			if group == nil {
				continue
			}
			for _, spec := range group.Specs {
				typ, _ := spec.(*ast.TypeSpec)
				if typ == nil || !typ.Name.IsExported() {
					continue
				}
				all = append(all, typ.Name.Name)
				_, written := typ.Type.(*ast.InterfaceType)
				if other, _ := typ.Type.(*ast.SelectorExpr); written || other != nil && other.Sel.Name == "Conn" {
					interfaces = append(interfaces, typ.Name.Name)
				}
			}
		}
	}
	return all, interfaces
}

// Each interface of the root package has a mock, and each mock an interface.
func TestInterfacesHaveMocks(t *testing.T) {
	files, err := filepath.Glob("../*.go")
	require.NoError(t, err)
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	_, interfaces := typesOf(t, files...)
	require.Contains(t, interfaces, "End")
	require.Contains(t, interfaces, "Raw")
	types, _ := typesOf(t, "mock.go")
	var mocked []string
	for _, name := range types {
		if name, ok := strings.CutPrefix(name, "Mock"); ok && !strings.HasSuffix(name, "MockRecorder") {
			mocked = append(mocked, name)
		}
	}
	assert.ElementsMatch(t, interfaces, mocked, "the list of go:generate in doc.go is not that of the interfaces")
}

func TestOptionalMethods(t *testing.T) {
	end := mock.NewMockEnd(gomock.NewController(t))
	require.Error(t, geminio.Shutdown(t.Context(), end))
	require.Nil(t, geminio.Done(end))
}

func TestExample(t *testing.T) { testReboot(t) }
