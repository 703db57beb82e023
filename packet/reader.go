package packet

import "encoding/binary"

// reader parses fields from the front of a slice. After the first missing field its
// methods return zeros, and err reports the field.
type reader struct {
	b     []byte
	short bool
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

// rest returns the remaining bytes. It is a method because Go does not specify the
// order in which a statement reads a variable such as r.b and calls functions.
func (r *reader) rest() []byte {
	p := r.b
	r.b = nil
	return p
}

// err reports a field that was missing in a packet of size bytes.
func (r *reader) err(what string, size int) error {
	if r.short {
		return malformed(what, "a field goes beyond the end at %d bytes", size)
	}
	return nil
}
