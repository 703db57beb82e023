package screen

import (
	"io"
	"os"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// Writer writes text to a terminal, with escapes as Text makes them. Write is safe for concurrent
// use.
type Writer struct {
	file io.Writer

	mu   sync.Mutex
	rest []byte // the beginning of an incomplete code point
}

// New returns a Writer if the file is a terminal, and otherwise the file itself.
func New(file *os.File) io.Writer {
	if !term.IsTerminal(int(file.Fd())) {
		return file
	}
	return &Writer{file: file}
}

// Write writes p with escapes. An incomplete code point at the end waits for its other bytes.
// Write returns len(p), or 0 with an error if the terminal has not taken the whole text.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := append(w.rest, p...)
	whole := len(text) - incomplete(text)
	if _, err := io.WriteString(w.file, Text(string(text[:whole]))); err != nil {
		return 0, err
	}
	w.rest = append([]byte(nil), text[whole:]...)
	return len(p), nil
}

// incomplete returns the length of the incomplete code point at the end of a text.
func incomplete(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if b := text[len(text)-n]; utf8.RuneStart(b) {
			if utf8.FullRune(text[len(text)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}
