package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// documents are those whose code and links are checked.
var documents = []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "examples/*/README.md"}

// imports are the packages that code in the documents may use without naming
// them.
var imports = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "io": "io", "log": "log",
	"net": "net", "os": "os", "time": "time", "tls": "crypto/tls",
	"geminio":  "github.com/singchia/geminio",
	"client":   "github.com/singchia/geminio/client",
	"server":   "github.com/singchia/geminio/server",
	"options":  "github.com/singchia/geminio/options",
	"delegate": "github.com/singchia/geminio/delegate",
}

var (
	goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```")
	comment = regexp.MustCompile(`//.*`)
	link    = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
)

func files(t *testing.T) []string {
	var all []string
	for _, pattern := range documents {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 4 {
		t.Fatalf("only %q found", all)
	}
	return all
}

// TestCode compiles the Go blocks of each document, together, as one package.
func TestCode(t *testing.T) {
	blocks := 0
	for _, file := range files(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var code strings.Builder
		for _, block := range goBlock.FindAllStringSubmatch(string(text), -1) {
			blocks++
			code.WriteString(block[1] + "\n")
		}
		if code.Len() > 0 {
			t.Run(filepath.Base(file), func(t *testing.T) { compile(t, code.String()) })
		}
	}
	if blocks == 0 {
		t.Fatal("no Go code was found")
	}
}

func compile(t *testing.T, code string) {
	var head strings.Builder
	head.WriteString("package snippets\n\n")
	used := comment.ReplaceAllString(code, "")
	for name, path := range imports {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(used) {
			fmt.Fprintf(&head, "import %s %q\n", name, path)
		}
	}
	// A directory whose name begins with an underscore is in the module, and in
	// no pattern.
	dir, err := os.MkdirTemp(".", "_snippets")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "snippets.go"), []byte(head.String()+"\n"+code), 0o666); err != nil {
		t.Fatal(err)
	}
	vet := exec.CommandContext(t.Context(), "go", "vet", ".")
	vet.Dir = dir
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestLinks looks for the files that the documents link.
func TestLinks(t *testing.T) {
	for _, file := range files(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links %s: %v", file, m[1], err)
			}
		}
	}
}
