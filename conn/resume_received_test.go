package conn

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// loggedPacket is a packet frame in a log.
type loggedPacket struct {
	number, begin, end uint64
	last               bool
}

// The packets that a peer has not received are told after any reports of the peer: none of
// which it has received the last byte, and all from the next mark on.
func TestNotReceived(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		u := &fakeHandler{}
		c := &Conn{session: &session{}, upper: u}
		s := c.session
		var all []loggedPacket
		acked := uint64(0)
		for number := uint64(1); number < 200; number++ {
			s.mark()
			for range 1 + r.IntN(3) {
				p := loggedPacket{number: number, begin: s.logEnd, last: r.IntN(4) > 0}
				h := packet.Header{Type: packet.TypeRequest, Stream: 1}
				if !p.last {
					h.Flags = packet.FlagMore
				}
				body := make([]byte, r.IntN(2000))
				h.Length = uint32(packet.FragmentHeaderLen(h) + len(body))
				b := packet.AppendHeader(nil, h)
				b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Seq: number, Total: 1 << 20}, h.Flags)
				b = append(b, body...)
				s.log.Append(b)
				s.logEnd += uint64(len(b))
				p.end = s.logEnd
				all = append(all, p)
			}
			if r.IntN(10) == 0 {
				acked += r.Uint64N(s.logEnd - acked + 1)
				s.trim(acked)
			}
			assert.LessOrEqual(t, len(s.marks), s.log.Len()/markEvery+2)
		}
		received := acked + r.Uint64N(s.logEnd-acked+1)
		start, marked := s.logEnd-uint64(s.log.Len()), s.logEnd
		for i := len(s.marks) - 1; i >= 0 && s.marks[i] >= start; i-- {
			if marked = s.marks[i]; marked <= received {
				break
			}
		}
		c.tellNotReceived(received)
		var want []uint64
		for _, p := range all {
			if p.last && p.end > received && p.begin >= marked {
				want = append(want, p.number)
			}
		}
		require.Equal(t, want, u.notReceived, "seed %d", seed)
		s.log.Clear()
	}
}

// The first batch after everything was acknowledged has a mark.
func TestMarkOfASingleFrame(t *testing.T) {
	u := &fakeHandler{}
	c := &Conn{session: &session{}, upper: u}
	s := c.session
	for number := uint64(1); number < 100; number++ {
		s.mark()
		h := packet.Header{Type: packet.TypeRequest, Stream: 1, Length: 8}
		b := packet.AppendFragmentHeader(packet.AppendHeader(nil, h), packet.FragmentHeader{Seq: number}, 0)
		s.log.Append(b)
		before := s.logEnd
		s.logEnd += uint64(len(b))
		u.notReceived = nil
		c.tellNotReceived(before)
		require.Equal(t, []uint64{number}, u.notReceived)
		s.trim(s.logEnd)
	}
}
