package cli

import (
	"bufio"
	"bytes"
)

// ReadLine reads a line, and returns it without its end, in memory of its own. Of a line with
// more than most bytes it returns the beginning; length is how many it has. With the last
// line, if that has no end, and behind it comes io.EOF.
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
