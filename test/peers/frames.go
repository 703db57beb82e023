package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Calls and acknowledged messages for libraries that have only streams: a request and its
// answer are each a length and that many bytes, on a stream that a caller keeps; an ack
// is one byte. This is the minimum for a user of such a library. Each frame is one Write.

const (
	lengthSize = 4
	ackByte    = 6
)

// frameBuffer is the size of read buffers: a frame of 4 KiB is one Read.
const frameBuffer = 8 << 10

// frameReader reads frames from a stream into reused memory.
type frameReader struct {
	r    *bufio.Reader
	body []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, frameBuffer)}
}

// next returns the next frame, which is valid until the next call.
func (f *frameReader) next() ([]byte, error) {
	head, err := f.r.Peek(lengthSize)
	if err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head))
	f.r.Discard(lengthSize)
	if cap(f.body) < n {
		f.body = make([]byte, n)
	}
	f.body = f.body[:n]
	_, err = io.ReadFull(f.r, f.body)
	return f.body, err
}

// appendFrame appends data as a frame.
func appendFrame(b, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// framedCaller makes a call from a stream.
func framedCaller(s io.ReadWriter) call {
	in, out := newFrameReader(s), []byte(nil)
	return func(request []byte) ([]byte, error) {
		out = appendFrame(out[:0], request)
		if _, err := s.Write(out); err != nil {
			return nil, err
		}
		return in.next()
	}
}

// framedPublisher makes a publish from a stream.
func framedPublisher(s io.ReadWriter) publish {
	out, ack := []byte(nil), make([]byte, 1)
	return func(data []byte) error {
		out = appendFrame(out[:0], data)
		if _, err := s.Write(out); err != nil {
			return err
		}
		if _, err := io.ReadFull(s, ack); err != nil {
			return err
		}
		if ack[0] != ackByte {
			return fmt.Errorf("an ack of %#x", ack[0])
		}
		return nil
	}
}

// serveFramedCalls answers the requests of a stream until it ends.
func serveFramedCalls(s io.ReadWriteCloser, answer func([]byte) []byte) {
	defer s.Close()
	in, out := newFrameReader(s), []byte(nil)
	for {
		request, err := in.next()
		if err != nil {
			return
		}
		out = appendFrame(out[:0], answer(request))
		if _, err := s.Write(out); err != nil {
			return
		}
	}
}

// serveFramedMessages acknowledges the messages of a stream until it ends.
func serveFramedMessages(s io.ReadWriteCloser, message func([]byte)) {
	defer s.Close()
	in, ack := newFrameReader(s), []byte{ackByte}
	for {
		data, err := in.next()
		if err != nil {
			return
		}
		message(data)
		if _, err := s.Write(ack); err != nil {
			return
		}
	}
}
