package wire1

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// The streams that the peer does not answer are bounded.
func TestUnwantedSessionsAreBounded(t *testing.T) {
	p := newPair(t, geminio.InitiatorSide)
	for range 3 * maxUnwanted {
		number := p.open("", "")
		p.notice(packet.TypeReset, number, geminio.CodeCanceled, "")
	}
	assert.LessOrEqual(t, len(p.tr.asked), maxUnwanted)
	assert.Len(t, p.tr.streams, 1)
}

// Packets that follow the SessionAck for a client are delayed, because clients drop them.
func TestFirstBytesAreHeldBack(t *testing.T) {
	start := func(t *testing.T) (p *pair, number, session uint64) {
		p = newPair(t, geminio.RecipientSide)
		p.peer(Packet{Type: TypeSession, ID: 77, Negotiate: 1 << 61, Flags: FlagAcquireSession})
		number = p.wantFrame(packet.TypeOpen, "the peer opens a stream").stream
		p.hold = true
		p.accept(number)
		p.data(number, 0, "first")
		p.call(number, packet.Request{Method: []byte("m")})
		p.pass(time.Second)
		p.hold = false
		p.settle()
		session = p.want(TypeSessionAck, "the Conn has accepted").Session
		p.wantNone("the delay begins when the SessionAck was sent")
		return p, number, session
	}
	t.Run("for a moment", func(t *testing.T) {
		p, number, _ := start(t)
		p.pass(EarlyPause - 1)
		p.data(number, 0, "second")
		p.wantNone("packets are delayed after the SessionAck")
		p.pass(1)
		assert.Equal(t, "first", string(p.want(TypeStream, "20 ms have passed").Raw))
		p.want(TypeRequest, "delayed packets are sent in order")
		assert.Equal(t, "second", string(p.want(TypeStream, "in order").Raw))
		p.data(number, 0, "third")
		p.want(TypeStream, "packets are sent at once after the delay")
		p.check()
	})
	t.Run("until the peer has sent something", func(t *testing.T) {
		p, _, session := start(t)
		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("x")})
		assert.Equal(t, "first", string(p.want(TypeStream, "the peer knows the session").Raw))
		p.want(TypeRequest, "delayed packets are sent in order")
		p.pass(time.Minute / 2)
		p.check()
	})
	t.Run("and the end too", func(t *testing.T) {
		p, number, _ := start(t)
		p.data(number, packet.FlagFin|packet.FlagClose, "last")
		assert.Equal(t, packet.FlagFin|packet.FlagClose, p.wantFrame(packet.TypeData, "the Conn need not wait").flags)
		p.wantNone("packets are delayed after the SessionAck")
		p.check()
		p.pass(EarlyPause)
		p.want(TypeStream, "first")
		p.want(TypeRequest, "delayed packets are sent in order")
		assert.Equal(t, "last", string(p.want(TypeStream, "in order").Raw))
		p.want(TypeDismiss, "delayed packets are sent in order")
		assert.Len(t, p.tr.sessions, 1)
		assert.Empty(t, p.tr.delayed)
	})
	t.Run("until the end of the connection", func(t *testing.T) {
		p, _, session := start(t)
		p.notice(packet.TypeClose, 0, 0, "")
		p.want(TypeDismiss, "the default session is dismissed")
		p.pass(EarlyPause)
		p.want(TypeStream, "first")
		p.want(TypeRequest, "delayed packets are sent in order")
		assert.Equal(t, session, p.want(TypeDismiss, "of the stream").Session)
	})
	t.Run("not on those that the server opens", func(t *testing.T) {
		p := newPair(t, geminio.RecipientSide)
		number, _ := p.opened()
		p.data(number, 0, "first")
		p.want(TypeStream, "packets are sent at once when the peer uses the session")
	})
}

// A peer that does not answer the Dismiss delays the end of the stream by dismissPause.
func TestDismissWithoutAnswer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		_, session := p.opened()
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		p.pass(dismissPause - 1)
		p.wantQuiet("the stream waits for the DismissAck")
		p.pass(1)
		assert.NotZero(t, p.wantFrame(packet.TypeData, "the end of the stream after dismissPause").flags&packet.FlagClose)
	})
}

func TestDismissByBoth(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.hold = true
		p.data(number, packet.FlagFin|packet.FlagClose, "")
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		p.hold = false
		p.settle()
		own := p.want(TypeDismiss, "this side dismisses the session")
		p.want(TypeDismissAck, "the Dismiss of the peer is answered")
		p.peer(Packet{Type: TypeDismissAck, ID: own.ID, Session: session})
		p.wantNone("both sides have dismissed the session")
		assert.NotZero(t, p.wantFrame(packet.TypeData, "the Conn's answer").flags&packet.FlagClose)
		p.wantQuiet("once")
	})
}

// Operations that wait for an answer on a stream end with it.
func TestCallsEndWithTheirStream(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.call(number, packet.Request{ID: 11})
		p.register(number, "m")
		p.publish(number, packet.Message{ID: 12, Cnss: 2})
		p.peer(Packet{Type: TypeRequest, ID: 13, Session: session})
		e := p.wantFrame(packet.TypeRequest, "the request is passed")
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		p.peer(Packet{Type: TypeResponse, ID: 11, Session: session})
		p.wantFrame(packet.TypeResponse, "a response that arrived before the end is passed")
		p.peer(Packet{Type: TypeDismissAck, Session: session})
		p.wantFrame(packet.TypeData, "the close flag follows")
		p.sent = nil
		p.peer(Packet{Type: TypeMessageAck, ID: 12, Session: session})
		p.peer(Packet{Type: TypeMessageAck, ID: 12, Session: 1})
		p.wantQuiet("the stream has ended")
		p.frame(p.conn.release(e))
		p.data(number, packet.FlagFin|packet.FlagClose, "")
		assert.Empty(t, p.tr.calls)
		p.wantNone("no answer is sent after the end")
	})
}

// New operations of the Conn on a stream that the peer has dismissed fail at once, also before
// the Conn has taken all data of the stream.
func TestCallsOnADismissedStream(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.peer(Packet{Type: TypeStream, Session: session, Raw: make([]byte, 10<<10)})
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		p.sent = nil
		p.wantFrame(packet.TypeData, "a part of the data is passed")
		p.call(number, packet.Request{})
		assert.Equal(t, uint32(geminio.CodeClosed), p.wantFrame(packet.TypeResponse, "a call").resp.Code)
		p.publish(number, packet.Message{Cnss: 2})
		assert.Equal(t, uint32(geminio.CodeClosed), p.wantFrame(packet.TypeAck, "a message").answer.Code)
		p.register(number, "m")
		assert.Equal(t, uint32(geminio.CodeClosed), p.wantFrame(packet.TypeRegistered, "a registration").answer.Code)
		p.wantNone("nothing is sent on a dismissed session")
	})
}
