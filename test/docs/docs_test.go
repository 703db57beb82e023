package docs

import (
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

// documents returns the files whose code and links are tested.
var documents = []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "examples/README.md", "examples/*/README.md"}

// imports are the packages that code in the documents may use without an import.
var imports = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "io": "io", "log": "log",
	"net": "net", "os": "os", "slog": "log/slog", "sync": "sync", "atomic": "sync/atomic", "time": "time",
	"signal": "os/signal", "syscall": "syscall",
	"tls":        "crypto/tls",
	"geminio":    "github.com/singchia/geminio",
	"client":     "github.com/singchia/geminio/client",
	"server":     "github.com/singchia/geminio/server",
	"options":    "github.com/singchia/geminio/options",
	"delegate":   "github.com/singchia/geminio/delegate",
	"middleware": "github.com/singchia/geminio/middleware",
	"metadata":   "github.com/singchia/geminio/metadata",
	"inspect":    "github.com/singchia/geminio/inspect",

	"testing": "testing", "synctest": "testing/synctest",
	"iter":        "iter",
	"typed":       "github.com/singchia/geminio/typed",
	"geminiotest": "github.com/singchia/geminio/geminiotest",
	"mock":        "github.com/singchia/geminio/mock",
	"gomock":      "go.uber.org/mock/gomock",
}

var (
	goBlock  = regexp.MustCompile("(?ms)^```go\n(.*?)^```")
	anyBlock = regexp.MustCompile("(?ms)^```.*?^```")
	comment  = regexp.MustCompile(`//.*`)
	link     = regexp.MustCompile(`\]\(([^)#:\s]*)(#[^)\s]*)?\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
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
		t.Fatalf("the documents are %q, want more", all)
	}
	return all
}

func read(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// builtElsewhere is a block that a nested module compiles: TestQuotes requires that it is in the file that
// it names.
var builtElsewhere = regexp.MustCompile("(?ms)^<!-- built in \\S+ -->\n```go\n.*?^```\n")

// TestCode compiles the Go blocks of each document as one package, without those that a nested module
// compiles. Each block must be formatted by gofmt.
func TestCode(t *testing.T) {
	blocks := 0
	for _, file := range files(t) {
		var code strings.Builder
		text := read(t, file)
		elsewhere := strings.Join(builtElsewhere.FindAllString(text, -1), "")
		for _, block := range goBlock.FindAllStringSubmatch(text, -1) {
			blocks++
			if !isProgram(block[1]) && !strings.Contains(elsewhere, block[0]) {
				code.WriteString(block[1] + "\n")
			}
			if tidy, err := format.Source([]byte(block[1])); err != nil || string(tidy) != block[1] {
				t.Errorf("%s: this block is not formatted by gofmt (error %v):\n%s", file, err, block[1])
			}
		}
		if code.Len() > 0 {
			t.Run(filepath.Base(file), func(t *testing.T) { compile(t, code.String()) })
		}
	}
	if blocks == 0 {
		t.Fatal("the documents have no Go code")
	}
}

// isProgram reports whether a block is a complete program, which TestPrograms runs.
func isProgram(block string) bool { return strings.HasPrefix(block, "package main\n") }

func compile(t *testing.T, code string) {
	var head strings.Builder
	head.WriteString("package snippets\n\n")
	used := comment.ReplaceAllString(code, "")
	for name, path := range imports {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(used) {
			fmt.Fprintf(&head, "import %s %q\n", name, path)
		}
	}
	runGo(t, head.String()+"\n"+code, "vet")
}

// runGo runs a command of go on a package with the given source, and returns the output.
func runGo(t *testing.T, source, command string) string {
	// A directory whose name begins with an underscore is in the module, but matches no
	// pattern.
	dir, err := os.MkdirTemp(".", "_snippets")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "snippets.go"), []byte(source), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", command, ".")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("go %s: %v\n%s", command, err, out)
	}
	return string(out)
}

// maxProgram is the most lines that a complete program in a document may have.
const maxProgram = 25

var program = regexp.MustCompile("(?ms)It prints `([^`]*)`:\n\n```go\n(package main\n.*?)^```")

// TestPrograms runs the complete programs of the documents. Each must print what the sentence before
// it says.
func TestPrograms(t *testing.T) {
	programs := 0
	for _, file := range files(t) {
		text := read(t, file)
		introduced := program.FindAllStringSubmatch(text, -1)
		programs += len(introduced)
		for _, m := range introduced {
			if got := strings.TrimSpace(runGo(t, m[2], "run")); got != m[1] {
				t.Errorf("%s: the program prints %q, want %q", file, got, m[1])
			}
			if n := strings.Count(m[2], "\n"); n > maxProgram {
				t.Errorf("%s: the program has %d lines, at most %d are allowed", file, n, maxProgram)
			}
		}
		if n := strings.Count(text, "```go\npackage main\n"); n != len(introduced) {
			t.Errorf("%s: of %d programs, %d follow a sentence that says what they print", file, n, len(introduced))
		}
	}
	if programs == 0 {
		t.Fatal("the documents have no complete program")
	}
}

// TestLinks requires that the files and headings exist to which the documents link.
func TestLinks(t *testing.T) {
	links := 0
	for _, file := range files(t) {
		for _, m := range link.FindAllStringSubmatch(anyBlock.ReplaceAllString(read(t, file), ""), -1) {
			links++
			target := file
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(file), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
				continue
			}
			if m[2] != "" && !anchors(read(t, target))[m[2]] {
				t.Errorf("%s links to %s%s, a heading that does not exist", file, m[1], m[2])
			}
		}
	}
	if links == 0 {
		t.Fatal("the documents have no links")
	}
}

// anchors returns the anchors of the headings of a document.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(anyBlock.ReplaceAllString(text, ""), -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		all["#"+anchor] = true
	}
	return all
}

var quote = regexp.MustCompile("(?m)^<!-- (?:from|built in) (\\S+) -->\n```go\n((?s).*?)^```")

// TestQuotes requires that code that a document quotes is in the file that it names.
func TestQuotes(t *testing.T) {
	quotes := 0
	for _, file := range files(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quote.FindAllStringSubmatch(string(text), -1) {
			quotes++
			source, err := os.ReadFile(filepath.Join(root, m[1]))
			if err != nil {
				t.Fatal(err)
			}
			for function := range strings.SplitSeq(strings.TrimSpace(m[2]), "\n\nfunc ") {
				if !strings.Contains(string(source), strings.TrimPrefix(function, "func ")) {
					t.Errorf("%s quotes code that is not in %s:\n%s", file, m[1], function)
				}
			}
		}
	}
	if quotes == 0 {
		t.Fatal("the documents quote no code")
	}
}
