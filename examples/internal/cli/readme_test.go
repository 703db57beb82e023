package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The README of each example begins with three commands, refers to the common exit codes, and
// ends with its limits.
func TestReadmes(t *testing.T) {
	files, err := filepath.Glob("../../*/README.md")
	if err != nil || len(files) < 7 {
		t.Fatal(files, err)
	}
	all := readme(t, "../../README.md")
	for code, meaning := range map[int]string{
		ExitOK: "the program has done its work", ExitFailed: "something has failed", ExitUsage: "the command line is invalid",
	} {
		if !strings.Contains(all, fmt.Sprintf("\n| %d | %s", code, meaning)) {
			t.Errorf("the README of the examples does not say that %d means: %s", code, meaning)
		}
	}
	for _, file := range files {
		text := readme(t, file)
		name := filepath.Base(filepath.Dir(file))
		if !strings.Contains(strings.Join(strings.Fields(text), " "), "[exit codes](../README.md#exit-codes) are those of all examples") {
			t.Errorf("%s: it does not refer to the exit codes", name)
		}
		headings := strings.Split(text, "\n## ")
		if last := headings[len(headings)-1]; !strings.HasPrefix(last, "Limits\n\n- ") {
			t.Errorf("%s: it does not end with its limits", name)
		}
		if n := len(firstBlock(text)); n != 3 {
			t.Errorf("%s: it begins with %d commands, and not with 3", name, n)
		}
		if !strings.Contains(all, "\n| ["+name+"]("+name+") | ") {
			t.Errorf("%s: the README of the examples does not list it", name)
		}
	}
}

func readme(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// firstBlock returns the lines of the first block of code.
func firstBlock(text string) (lines []string) {
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "    "):
			lines = append(lines, line)
		case len(lines) > 0:
			return lines
		}
	}
	return lines
}
