package main

// What is sent: lines, or pieces of files.

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// longest is the longest line that is one message. A longer one is several: the
// receiver writes them one behind the other.
const longest = 1 << 20

// input is the data of all messages to send, which come from files one after the
// other. It belongs to one goroutine.
type input struct {
	files []string // "-" is stdin
	chunk int      // pieces of that size; 0: lines
}

// total returns how many bytes there are to be sent, -1 if that is not known.
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

// line reads a line, with its end, into memory of its own: a message's data must not
// change until it is answered.
func line(r *bufio.Reader) ([]byte, error) {
	data, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	return bytes.Clone(data), err
}

// piece reads so many bytes, or what is left.
func (in *input) piece(r *bufio.Reader) ([]byte, error) {
	data := make([]byte, in.chunk)
	n, err := io.ReadFull(r, data)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return data[:n], err
}
