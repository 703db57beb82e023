package docs

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`(Test[A-Za-z0-9_…]*)`")
	testFunc  = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// TestNamedTestsExist requires that the tests exist that the documents name. An ellipsis stands
// for any letters.
func TestNamedTestsExist(t *testing.T) {
	var all strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			for _, m := range testFunc.FindAllStringSubmatch(read(t, path), -1) {
				all.WriteString(m[1] + "\n")
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, file := range files(t) {
		for _, m := range namedTest.FindAllStringSubmatch(read(t, file), -1) {
			named++
			pattern := "(?m)^" + strings.ReplaceAll(m[1], "…", `\w*`) + "$"
			if !regexp.MustCompile(pattern).MatchString(all.String()) {
				t.Errorf("%s names %s, a test that does not exist", file, m[1])
			}
		}
	}
	if named == 0 {
		t.Fatal("the documents name no tests")
	}
}
