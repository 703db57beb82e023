package packet

import (
	"encoding/binary"

	"github.com/singchia/geminio/internal/pairs"
)

// reader parses fields from the front of a slice. After the first missing field its
// methods return zeros, and err reports the field.
type reader struct {
	b        []byte
	short    bool
	unframed bool // the length of metadata is 0, or is not that of its pairs
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.short, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() uint8 {
	if p := r.bytes(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if p := r.bytes(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.bytes(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.bytes(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// lengths returns the lengths of custom bytes and of metadata, which appendLengths has
// appended.
func (r *reader) lengths() (custom, metadata uint64) {
	n := r.u32()
	if n&hasMetadata == 0 {
		return uint64(n), 0
	}
	metadata = uint64(r.u32())
	r.unframed = r.unframed || metadata == 0 && !r.short
	return uint64(n &^ hasMetadata), metadata
}

// metadata returns the next n bytes as metadata; nil if n is 0.
func (r *reader) metadata(n uint64) pairs.List {
	if n == 0 {
		return nil
	}
	l := pairs.List(r.bytes(n))
	r.unframed = r.unframed || !l.Framed()
	return l
}

// rest returns the remaining bytes. It is a method because Go does not specify the
// order in which a statement reads a variable such as r.b and calls functions.
func (r *reader) rest() []byte {
	p := r.b
	r.b = nil
	return p
}

// err reports a field that was missing in a packet of size bytes, or metadata with a wrong
// length.
func (r *reader) err(what string, size int) error {
	switch {
	case r.short:
		return malformed(what, "a field goes beyond the end at %d bytes", size)
	case r.unframed:
		return malformed(what, "the length of its metadata is not that of its pairs")
	}
	return nil
}
