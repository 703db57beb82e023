package wire1

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// The messages that the peer does not answer are bounded. The oldest ones fail at the Conn.
func TestUnansweredMessagesAreBounded(t *testing.T) {
	p := newPair(t, geminio.RecipientSide)
	fill := func(from uint64) {
		for n := from; len(p.tr.messages.young) < maxUnanswered; n++ {
			p.tr.messages.add(n, call{p.tr.main, n})
		}
	}
	fill(1 << 50)
	p.publish(1, packet.Message{Cnss: 2})
	q := p.want(TypeMessage, "the first of the next generation")
	p.wantQuiet("nothing is forgotten yet")
	fill(1 << 51)
	p.peer(Packet{Type: TypeMessageAck, ID: 1 << 50, Session: 1})
	p.wantFrame(packet.TypeAck, "an old one is known")
	p.publish(1, packet.Message{Cnss: 2})
	for range maxUnanswered - 1 {
		e := p.wantFrame(packet.TypeAck, "the oldest are forgotten")
		require.Equal(t, uint32(geminio.CodeLimit), e.answer.Code)
	}
	p.peer(Packet{Type: TypeMessageAck, ID: q.ID, Session: 1})
	p.wantFrame(packet.TypeAck, "this one is not")
	p.wantQuiet("that is all")
	p.check()
}
