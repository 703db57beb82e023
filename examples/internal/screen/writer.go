package screen

import (
	"io"
	"os"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// Writer writes to a terminal what is harmless there. Its Write is safe for concurrent use.
type Writer struct {
	file io.Writer

	mu   sync.Mutex
	rest []byte // the beginning of a code point that is not complete
}

// New returns a Writer for a file that is a terminal, and the file itself if it is none.
func New(file *os.File) io.Writer {
	if !term.IsTerminal(int(file.Fd())) {
		return file
	}
	return &Writer{file: file}
}

// Write writes text with escapes in the place of what is harmful. The beginning of a code
// point at its end waits for the rest. It returns the number of bytes of p that were taken:
// all, or none if the terminal did not take all.
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

// incomplete returns how many bytes at the end of a text are the beginning of a code point.
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
