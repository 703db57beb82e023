package wire1

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// bothSides runs a test with the Conn of a client, and with that of a server.
func bothSides(t *testing.T, f func(t *testing.T, p *pair)) {
	t.Run("client", func(t *testing.T) {
		p := newPair(t, geminio.InitiatorSide)
		f(t, p)
		p.check()
	})
	t.Run("server", func(t *testing.T) {
		p := newPair(t, geminio.RecipientSide)
		f(t, p)
		p.check()
	})
}

func TestRegistrations(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		n := p.register(number, "echo")
		q := p.want(TypeRegister, "the registration of the Conn is sent")
		assert.Equal(t, session, q.Session)
		assert.Equal(t, "echo", string(q.Raw))
		p.peer(Packet{Type: TypeRegisterAck, ID: q.ID, Session: session})
		assert.Equal(t, n, p.wantFrame(packet.TypeRegistered, "the peer has taken note").number)

		p.peer(Packet{Type: TypeRegister, ID: 99, Session: session, Raw: []byte("back")})
		e := p.wantFrame(packet.TypeRegister, "the registration of the peer is passed")
		assert.Equal(t, "back", string(e.data))
		p.answer(number, packet.TypeRegistered, e.number, packet.Answer{})
		assert.Equal(t, Packet{Type: TypeRegisterAck, ID: 99, Session: session}, p.want(TypeRegisterAck, "the Conn has taken note"))
	})
}

func TestHeartbeats(t *testing.T) {
	t.Run("the client sends", func(t *testing.T) {
		p := newPair(t, geminio.InitiatorSide)
		for range 5 {
			p.pass(testPeriod - 1)
			p.wantNone("the heartbeat is not due")
			p.pass(1)
			p.peer(Packet{Type: TypeHeartbeatAck, ID: p.want(TypeHeartbeat, "every 20 s").ID})
		}
		p.wantQuiet("the Conn gets no frames for the heartbeats of the translator")
		assert.ErrorContains(t, p.peerErr(Packet{Type: TypeHeartbeat}), "malformed heartbeat: from a server")
	})
	t.Run("the server answers", func(t *testing.T) {
		p := newPair(t, geminio.RecipientSide)
		p.peer(Packet{Type: TypeHeartbeat, ID: 99})
		assert.Equal(t, Packet{Type: TypeHeartbeatAck, ID: 99}, p.want(TypeHeartbeatAck, "with the same id"))
		p.wantFrame(packet.TypePing, "the delegate is told")
		p.frame(packet.AppendPing(nil, packet.TypePong, 0))
		p.wantNone("that is all")
		p.notice(packet.TypeClose, 0, 0, "")
		p.want(TypeDismiss, "the Conn closes")
		p.peer(Packet{Type: TypeHeartbeat, ID: 100})
		p.wantNone("a client that closes expects no answer")
		assert.ErrorContains(t, p.peerErr(Packet{Type: TypeHeartbeatAck}), "malformed heartbeatack: from a client")
	})
	bothSides(t, func(t *testing.T, p *pair) {
		p.frame(packet.AppendPing(nil, packet.TypePing, 42))
		p.wantFrame(packet.TypePong, "the transport lives")
		p.pass(2*testPeriod - 1)
		assert.NoError(t, p.tr.Err())
		p.pass(1)
		assert.Equal(t, geminio.ErrSilent, p.tr.Err())
	})
}

// A peer is not considered silent while nothing is read from it.
func TestSilenceWhileNotReading(t *testing.T) {
	p := newPair(t, geminio.RecipientSide, func(c *Config) { c.Budget = 1 << 20 })
	p.peer(Packet{Type: TypeStream, Session: 1, Raw: make([]byte, 2<<20)})
	assert.False(t, p.tr.Reading())
	p.pass(time.Hour)
	assert.NoError(t, p.tr.Err())
	p.pass(2*testPeriod - time.Second)
	p.notice(packet.TypeStop, 1, 0, "")
	assert.True(t, p.tr.Reading())
	p.pass(2*testPeriod - 1)
	assert.NoError(t, p.tr.Err(), "the time begins with the listening")
	p.pass(1)
	assert.Equal(t, geminio.ErrSilent, p.tr.Err())
}

func TestCloseByBoth(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		p.notice(packet.TypeClose, 0, 0, "")
		p.want(TypeDismiss, "the Conn closes")
		p.peer(Packet{Type: TypeDisConn, ID: 99})
		p.want(TypeDisConnAck, "so does the peer")
		own := p.want(TypeDisConn, "there is nothing to wait for any more")
		p.peer(Packet{Type: TypeDisConnAck, ID: own.ID})
		p.wantEnd("both are done")
	})
}

// Data that the peer has sent before it disconnects is passed as the Conn grants credit.
func TestWhatCameIsDeliveredAfterDisConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		p.peer(Packet{Type: TypeStream, Session: 1, Raw: make([]byte, 10<<10)})
		p.peer(Packet{Type: TypeDisConn, ID: 99})
		p.want(TypeDisConnAck, "the answer")
		own := p.want(TypeDisConn, "and the own")
		p.peer(Packet{Type: TypeDisConnAck, ID: own.ID})
		p.tr.Broken(p.now, io.ErrUnexpectedEOF)
		p.settle()
		total := 0
		for total < 10<<10 {
			e := p.conn.events[p.seen]
			p.seen++
			if e.typ == packet.TypeData {
				total += len(e.data)
				p.release(e)
			}
		}
		p.wantEnd("it has all")
		assert.Equal(t, packet.TypeGoAway, p.conn.events[1].typ, "meanwhile nothing new begins")
	})
	bothSides(t, func(t *testing.T, p *pair) {
		p.peer(Packet{Type: TypeStream, Session: 1, Raw: make([]byte, 10<<10)})
		p.peer(Packet{Type: TypeDisConn, ID: 99})
		p.pass(testLinger)
		p.wantFrame(packet.TypeData, "what there is credit for")
		p.wantFrame(packet.TypeGoAway, "nothing new begins")
		p.wantQuiet("the rest was not read in time, so it is not complete")
		assert.Equal(t, errNotConsumed, p.tr.Err())
	})
}

func TestBrokenTransport(t *testing.T) {
	broken := errors.New("connection reset")
	bothSides(t, func(t *testing.T, p *pair) {
		p.tr.Broken(p.now, broken)
		p.settle()
		assert.Equal(t, broken, p.tr.Err())
		p.wantQuiet("the Conn sees it as it is")
		assert.False(t, p.tr.Reading())
	})
	bothSides(t, func(t *testing.T, p *pair) {
		p.notice(packet.TypeClose, 0, 0, "")
		p.tr.Broken(p.now, broken)
		p.settle()
		p.wantEnd("the Conn closes anyway")
	})
}

func TestGoAway(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.offered()
		var last event
		for id := range uint64(4) {
			p.peer(Packet{Type: TypeRequest, ID: id, Session: 1})
			last = p.wantFrame(packet.TypeRequest, "there is credit")
		}
		p.peer(Packet{Type: TypeRequest, ID: 50, Session: 1, Content: Content{Key: []byte("m")}})
		p.peer(Packet{Type: TypeRequest, ID: 60, Session: session})
		p.wantQuiet("two wait")
		p.notice(packet.TypeGoAway, 0, geminio.CodeGoingAway, "")
		q := p.want(TypeResponse, "one has not begun")
		assert.EqualValues(t, 50, q.ID)
		assert.Equal(t, "shutting down", q.Error)
		p.wantNone("the other is of an open stream")

		p.peer(Packet{Type: TypeRequest, ID: 51, Session: 1})
		assert.Equal(t, "shutting down", p.want(TypeResponse, "a new call").Error)
		p.peer(Packet{Type: TypeMessage, ID: 52, Session: 1})
		assert.Equal(t, "shutting down", p.want(TypeMessageAck, "a new message").Error)
		p.peer(Packet{Type: TypeSession, ID: 53, Negotiate: 1 << 58})
		assert.Equal(t, "shutting down", p.want(TypeSessionAck, "a new stream").Error)
		p.peer(Packet{Type: TypeRegister, ID: 54, Session: 1})
		p.want(TypeRegisterAck, "a registration does no harm")
		p.wantQuiet("the Conn has nothing new")
		p.respond(last, packet.Response{})
		p.want(TypeResponse, "what was under way ends")
		assert.Equal(t, number, p.wantFrame(packet.TypeRequest, "open streams go on").stream)
	})
}

// The Pong for a Ping behind GoAway is sent when the peer has all packets.
func TestPongBehindGoAwayWaits(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		ping := func(value uint64) { p.frame(packet.AppendPing(nil, packet.TypePing, value)) }
		p.hold = true
		p.call(1, packet.Request{Method: []byte("m")})
		ping(1)
		p.wantFrame(packet.TypePong, "a heartbeat")
		p.notice(packet.TypeGoAway, 0, geminio.CodeGoingAway, "")
		for value := range uint64(2) {
			ping(2 + value)
			p.wantFrame(packet.Ignorable, "a sign of life")
			p.wantQuiet("the peer has not read the request")
		}
		p.hold = false
		p.settle()
		p.wantFrame(packet.TypePong, "the answer to the first")
		p.wantFrame(packet.TypePong, "and to the second")
		ping(4)
		p.wantFrame(packet.TypePong, "all is sent")
	})
}

// Nothing is read from a peer that does not read its answers.
func TestAnswersAreBounded(t *testing.T) {
	p := newPair(t, geminio.RecipientSide)
	p.hold = true
	n := 0
	for ; p.tr.Reading(); n++ {
		require.NoError(t, p.tr.Packet(p.now, Packet{Type: TypeDismiss, Session: 1 << 40}))
	}
	assert.Less(t, p.tr.packets.Len(), maxAnswers+1<<10)
	p.check()
	p.hold = false
	p.settle()
	assert.True(t, p.tr.Reading())
	p.check()
}
