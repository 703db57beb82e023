package typed

import (
	"bufio"
	"encoding/binary"
	"io"

	"github.com/singchia/geminio"
)

const (
	// itemHeader is the length of the length of an item.
	itemHeader = 4
	// defaultMaxItem is the default of the field MaxItem.
	defaultMaxItem = 4 << 20
	// keptBuffer is the size up to which a buffer is kept for the next item.
	keptBuffer = 64 << 10
)

// itemWriter writes items to the raw bytes of a stream.
type itemWriter struct {
	w     io.Writer
	coder coder
	max   int // of the encoded value, in bytes
	buf   []byte
}

// write writes an item. If that is not possible for the value v, it writes nothing.
func (w *itemWriter) write(v any) error {
	b, err := w.coder.encode(append(w.buf[:0], 0, 0, 0, 0), "item", v)
	if err != nil {
		return err
	}
	if cap(b) <= keptBuffer {
		w.buf = b
	}
	n := len(b) - itemHeader
	if err := checkItem(n, w.max); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	_, err = w.w.Write(b)
	return err
}

// checkItem returns an error if an item of n bytes is too large.
func checkItem(n, limit int) error {
	if n > limit {
		return &geminio.LimitError{What: "item", Value: uint64(n), Limit: uint64(limit), Err: geminio.ErrTooLarge}
	}
	return nil
}

// itemReader reads items from the raw bytes of a stream.
type itemReader struct {
	r     *bufio.Reader
	coder coder
	max   int
	buf   []byte
}

// read reads an item into the value that v points to. It returns io.EOF after the last item. The
// memory that it uses grows with the bytes that arrive, and not with the announced length.
func (r *itemReader) read(v any) error {
	var head [itemHeader]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	n := int(min(size, 1<<31-1))
	if err := checkItem(n, r.max); err != nil {
		return err
	}
	b := r.buf[:0]
	for len(b) < n {
		if len(b) == cap(b) {
			b = append(b, make([]byte, min(n-len(b), max(len(b), keptBuffer)))...)[:len(b)]
		}
		part := b[len(b):min(n, cap(b))]
		if _, err := io.ReadFull(r.r, part); err != nil {
			return atEOF(err)
		}
		b = b[:len(b)+len(part)]
	}
	if cap(b) <= keptBuffer {
		r.buf = b
	}
	return r.coder.decode("item", b, v)
}

// atEOF returns the error of a reader that has ended within an item.
func atEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// maxItem returns the largest item, in bytes, by the field MaxItem.
func maxItem(field int) int {
	if field <= 0 {
		return defaultMaxItem
	}
	return min(field, 1<<31-1)
}
