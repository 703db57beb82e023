package cli

import (
	"bufio"
	"bytes"
)

// ReadLine reads a line, and returns it without its end, in newly allocated memory. It returns
// at most the first most bytes of the line; length is the number of all its bytes. The error is
// io.EOF for a last line without an end, and after the last line.
func ReadLine(in *bufio.Reader, most int) (line []byte, length int, err error) {
	ended := false
	for {
		part, err := in.ReadSlice('\n')
		if err == nil {
			ended = true
			part = bytes.TrimSuffix(part, []byte("\n"))
		}
		length += len(part)
		line = append(line, part[:min(len(part), most-len(line))]...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if ended && length == len(line) && bytes.HasSuffix(line, []byte("\r")) {
			line, length = line[:len(line)-1], length-1
		}
		return line, length, err
	}
}
