package main

// The input of the sender: lines, or pieces of files.

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// longest is the longest line that is sent as one message, in bytes. A longer line is sent
// as several messages.
const longest = 1 << 20

// input reads the data of all messages from files, one file after the other. Only one
// goroutine uses it.
type input struct {
	files []string // "-" is stdin
	chunk int      // the size of pieces; 0: lines
}

// total returns the number of bytes of all files, or -1 if it is not known.
func (in *input) total() int64 {
	var total int64
	for _, name := range in.files {
		info, err := os.Stat(name)
		if name == "-" {
			info, err = os.Stdin.Stat()
		}
		if err != nil || !info.Mode().IsRegular() {
			return -1
		}
		total += info.Size()
	}
	return total
}

// each calls do with the data of one message after the other, until it returns false.
func (in *input) each(do func([]byte) bool) error {
	for _, name := range in.files {
		if err := in.file(name, do); err != nil {
			return err
		}
	}
	return nil
}

func (in *input) file(name string, do func([]byte) bool) error {
	file := os.Stdin
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return err
		}
		defer file.Close()
	}
	next := line
	buffer := longest
	if in.chunk > 0 {
		next, buffer = in.piece, in.chunk
	}
	r := bufio.NewReaderSize(file, buffer)
	for {
		data, err := next(r)
		if len(data) > 0 && !do(data) {
			return nil
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
}

// line reads a line, with its end, into newly allocated memory: the data of a message must not
// change until the message is answered.
func line(r *bufio.Reader) ([]byte, error) {
	data, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	return bytes.Clone(data), err
}

// piece reads the next piece, which may be shorter at the end of the file.
func (in *input) piece(r *bufio.Reader) ([]byte, error) {
	data := make([]byte, in.chunk)
	n, err := io.ReadFull(r, data)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return data[:n], err
}
