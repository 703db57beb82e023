package cli

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

func TestReadLine(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	in := bufio.NewReader(strings.NewReader("one\n\r\n" + long + "\n1234567890\r\n12345678\rx\nlast"))
	for _, want := range []struct {
		line   string
		length int
		err    error
	}{
		{"one", 3, nil},
		{"", 0, nil},
		{"xxxxxxxxxx", 10_000, nil},
		{"1234567890", 11, nil}, // one byte too long
		{"12345678\rx", 10, nil},
		{"last", 4, io.EOF},
		{"", 0, io.EOF},
	} {
		line, length, err := ReadLine(in, 10)
		if string(line) != want.line || length != want.length || err != want.err {
			t.Errorf("%q, %d, %v instead of %q, %d, %v", line, length, err, want.line, want.length, want.err)
		}
	}
}
