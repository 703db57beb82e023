package multiplexer

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// A peer that breaks the rules for raw bytes and for the end of streams loses the connection.
func TestDataViolations(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(p *peer)
		want  []string
	}{
		{"beyond the window", func(p *peer) {
			p.writeData(1, 0, 4000, "data within the window")
			p.writeData(1, 0, 97, "data beyond the window")
		}, []string{"raw bytes", "97 sent with credit for 96"}},
		{"more than the window at once", func(p *peer) {
			p.writeData(1, 0, 4097, "data beyond the window")
		}, []string{"4097 sent with credit for 4096"}},
		{"more than the window of a new stream", func(p *peer) {
			p.write(append(packet.AppendOpen(nil, 3, packet.Open{Windows: p.windows}),
				frameBytes(packet.TypeData, 0, 3, make([]byte, 5000))...), "open and data")
			p.want(packet.TypeAccept, 0, 3, "an accept")
		}, []string{"5000 sent with credit for 4096"}},
		{"a stream that was never opened", func(p *peer) { p.writeData(5, 0, 1, "") }, []string{"stream 5 was never opened"}},
		{"a stream that this side never opened", func(p *peer) { p.writeData(2, 0, 1, "") }, []string{"stream 2 was never opened"}},
		{"a packet for a stream that was never opened", func(p *peer) { p.writePacket(packet.TypeRequest, 5, 1, 0, "") }, []string{"stream 5 was never opened"}},
		{"a stop for a stream that was never opened", func(p *peer) { p.writeReason(packet.TypeStop, 5, 1, "", "") }, []string{"stream 5 was never opened"}},
		{"a reset for a stream that was never opened", func(p *peer) { p.writeReason(packet.TypeReset, 5, 1, "", "") }, []string{"stream 5 was never opened"}},
		{"data behind the fin", func(p *peer) {
			p.writeData(1, packet.FlagFin, 10, "data with a fin")
			p.writeData(1, 0, 10, "data behind the fin")
		}, []string{"10 bytes behind the end of stream 1"}},
		{"fin twice", func(p *peer) {
			p.writeData(1, packet.FlagFin, 10, "data with a fin")
			p.writeData(1, packet.FlagFin, 0, "a second fin")
		}, []string{"0 bytes behind the end of stream 1"}},
		{"close without fin", func(p *peer) { p.writeData(1, packet.FlagClose, 0, "") }, []string{"close without fin"}},
		{"a short reset", func(p *peer) { p.writeFrame(packet.TypeReset, 0, 1, make([]byte, 7), "") }, []string{"reset", "7 bytes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				test.write(p)
				p.wantViolation(test.name, test.want...)
				assert.ErrorIs(t, m.c.Cause(), geminio.ErrProtocol)
				var bad *packet.Error
				assert.ErrorAs(t, m.c.Cause(), &bad)
			})
		})
	}
}

// frameBytes returns a frame.
func frameBytes(typ packet.Type, flags packet.Flags, stream uint64, payload []byte) []byte {
	b := packet.AppendHeader(nil, packet.Header{Type: typ, Flags: flags, Stream: stream, Length: uint32(len(payload))})
	return append(b, payload...)
}

// Frames for streams that this side has reset are ignored.
func TestFramesOfClosedStreamsAreIgnored(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		theirs, mine := openFrom(t, m, p, 3), openTo(t, m, p)
		for _, d := range []*Dialogue{theirs, mine} {
			d.Reset(packet.Reason{Code: 9})
			p.wantReason(packet.TypeReset, d.DialogueID(), 9, "the reset of this side")
			id := d.DialogueID()
			p.writeData(id, 0, 50000, "data without credit")
			p.writeData(id, packet.FlagFin, 10, "data with a fin")
			p.writeData(id, packet.FlagFin|packet.FlagClose, 0, "a close")
			p.writeReason(packet.TypeStop, id, 1, "", "a stop")
			p.writeReason(packet.TypeReset, id, 1, "", "a reset")
			p.writePacket(packet.TypeMessage, id, 1, 100, "a message")
			p.writePacket(packet.TypeResponse, id, 1, 100, "a response")
			p.writePacket(packet.TypeCancel, id, 1, 4, "a cancel")
			n, cause := h.closings(d)
			assert.Equal(t, 1, n)
			assert.Equal(t, io.EOF, cause)
		}
		p.wantIdle("no answer to frames of streams that are gone")
		assert.NoError(t, m.c.Cause())
		assert.Empty(t, h.got())
	})
}
