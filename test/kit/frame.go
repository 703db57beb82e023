package kit

import (
	"io"
	"math/rand/v2"

	"github.com/singchia/geminio/packet"
)

// AnyFrame is the limit of ReadFrame for tests that do not test the sizes of frames.
const AnyFrame = 1 << 24

// ReadFrame reads one frame, whose payload has at most maxFrame bytes. A malformed or larger
// frame is a *packet.Error.
func ReadFrame(r io.Reader, maxFrame uint32) (packet.Header, []byte, error) {
	var b [packet.HeaderLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return packet.Header{}, nil, err
	}
	h, err := packet.ParseHeader(b[:], maxFrame)
	if err != nil {
		return h, nil, err
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(r, payload)
	return h, payload, err
}

// ReadConn reads the handshake packet of a client.
func ReadConn(r io.Reader) (packet.Conn, error) {
	id, body, err := readHandshake(r, true)
	if err != nil {
		return packet.Conn{}, err
	}
	return packet.ParseConn(id, body)
}

// ReadConnAck reads the handshake packet of a server.
func ReadConnAck(r io.Reader) (packet.ConnAck, error) {
	id, body, err := readHandshake(r, false)
	if err != nil {
		return packet.ConnAck{}, err
	}
	return packet.ParseConnAck(id, body)
}

// readHandshake reads a handshake packet as the server or the client reads it.
func readHandshake(r io.Reader, server bool) (id uint64, body []byte, err error) {
	var b [packet.HandshakeHeaderLen]byte
	if _, err = io.ReadFull(r, b[:]); err != nil {
		return 0, nil, err
	}
	id, n, err := packet.ParseHandshakeHeader(b[:], server)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return id, body, err
}

// AppendFrame appends a frame to b. The length of h is set to that of the payload.
func AppendFrame(b []byte, h packet.Header, payload []byte) []byte {
	h.Length = uint32(len(payload))
	return append(packet.AppendHeader(b, h), payload...)
}

// AppendPacket appends a packet in one frame to b. The body is the head of the packet and
// its data.
func AppendPacket(b []byte, typ packet.Type, stream, seq uint64, body []byte) []byte {
	return AppendFragment(b, typ, 0, stream, packet.FragmentHeader{Seq: seq}, body)
}

// AppendFragment appends a fragment of a packet to b. The total of f is written only with
// the flags of a first fragment that others follow.
func AppendFragment(b []byte, typ packet.Type, flags packet.Flags, stream uint64, f packet.FragmentHeader, body []byte) []byte {
	start := len(b)
	b = packet.AppendHeader(b, packet.Header{Type: typ, Flags: flags, Stream: stream})
	b = packet.AppendFragmentHeader(b, f, flags)
	b = append(b, body...)
	packet.PutLength(b[start:])
	return b
}

// BytesOf returns n bytes that look random and depend on the seed alone.
func BytesOf(n int, seed uint64) []byte {
	p := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	src.Read(p)
	return p
}
