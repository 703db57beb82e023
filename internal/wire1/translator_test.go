package wire1

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// bothSides runs a test with the Conn as the client's and as the server's.
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

func TestStreamOfTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number := p.open("pp", "sm")
		q := p.want(TypeSession, "the Conn opens a stream")
		assert.Equal(t, "pp", q.Peer)
		assert.Equal(t, "sm", string(q.Meta))
		session := uint64(1 << 62)
		if p.conn.side == geminio.RecipientSide {
			assert.Zero(t, q.Flags)
			assert.Equal(t, number, q.Negotiate, "a server's number is the session id")
			session = number
		} else {
			assert.EqualValues(t, FlagAcquireSession, q.Flags, "a client has the server choose")
		}
		p.wantQuiet("the peer has not answered")
		p.peer(Packet{Type: TypeSessionAck, ID: q.ID, Negotiate: q.Negotiate, Session: session})
		p.wantFrame(packet.TypeAccept, "the peer has accepted")

		p.data(number, 0, "hello")
		q = p.want(TypeStream, "raw bytes are not held back")
		assert.Equal(t, session, q.Session)
		assert.Equal(t, "hello", string(q.Raw))
		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("world")})
		assert.Equal(t, "world", string(p.wantFrame(packet.TypeData, "raw bytes of the peer").data))
	})
}

func TestStreamOfTheConnIsRefused(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number := p.open("", "")
		q := p.want(TypeSession, "the Conn opens a stream")
		p.peer(Packet{Type: TypeSessionAck, ID: q.ID, Negotiate: q.Negotiate, Error: "not today"})
		e := p.wantFrame(packet.TypeRefuse, "the peer has refused")
		assert.Equal(t, number, e.stream)
		assert.Equal(t, packet.Reason{Code: uint32(geminio.CodeApplication), Text: "not today"}, e.notice)
		assert.Len(t, p.tr.streams, 1)
		assert.Empty(t, p.tr.asked)
	})
}

func TestStreamOfTheConnIsGivenUp(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number := p.open("", "")
		q := p.want(TypeSession, "the Conn opens a stream")
		p.notice(packet.TypeReset, number, geminio.CodeCanceled, "")
		p.wantNone("the session is not known yet")
		p.peer(Packet{Type: TypeSessionAck, ID: q.ID, Negotiate: q.Negotiate, Session: max(number, 1<<60)})
		p.want(TypeDismiss, "the peer has opened it in vain")
		p.wantQuiet("the Conn has forgotten it")
		assert.Empty(t, p.tr.asked)

		number = p.open("", "")
		q = p.want(TypeSession, "the Conn opens another")
		p.notice(packet.TypeReset, number, geminio.CodeCanceled, "")
		p.peer(Packet{Type: TypeSessionAck, ID: q.ID, Error: "no"})
		p.wantNone("neither side wants it")
		p.wantQuiet("the Conn has forgotten it")
	})
}

// A peer that answers no Session packet does not make the translator grow.
func TestUnwantedSessionsAreBounded(t *testing.T) {
	p := newPair(t, geminio.InitiatorSide)
	for range 3 * maxUnwanted {
		number := p.open("", "")
		p.notice(packet.TypeReset, number, geminio.CodeCanceled, "")
	}
	assert.LessOrEqual(t, len(p.tr.asked), maxUnwanted)
	assert.Len(t, p.tr.streams, 1)
}

func TestStreamOfThePeer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		q := Packet{Type: TypeSession, ID: 77, Negotiate: 1 << 61, Peer: "pp", Meta: []byte("sm")}
		server := p.conn.side == geminio.RecipientSide
		if server {
			q.Flags = FlagAcquireSession
		}
		p.peer(q)
		e := p.wantFrame(packet.TypeOpen, "the peer opens a stream")
		assert.Equal(t, "pp", e.open.Peer)
		assert.Equal(t, "sm", string(e.open.Meta))
		p.wantNone("the Conn has not answered")
		p.accept(e.stream)
		ack := p.want(TypeSessionAck, "the Conn has accepted")
		assert.Equal(t, q.ID, ack.ID)
		assert.Equal(t, q.Negotiate, ack.Negotiate)
		if server {
			assert.Equal(t, e.stream, ack.Session, "the id is the number, so that both sides see the same")
		} else {
			assert.Equal(t, q.Negotiate, ack.Session, "a server has chosen the id already")
		}
		p.peer(Packet{Type: TypeStream, Session: ack.Session, Raw: []byte("hi")})
		assert.Equal(t, "hi", string(p.wantFrame(packet.TypeData, "raw bytes").data))
	})
}

func TestStreamOfThePeerIsRefused(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		p.peer(Packet{Type: TypeSession, ID: 77, Negotiate: 1 << 61})
		e := p.wantFrame(packet.TypeOpen, "the peer opens a stream")
		p.notice(packet.TypeRefuse, e.stream, geminio.CodeApplication, "not today")
		ack := p.want(TypeSessionAck, "the Conn has refused")
		assert.Equal(t, Packet{Type: TypeSessionAck, ID: 77, Negotiate: 1 << 61, Error: "not today"}, ack)
		assert.Zero(t, p.tr.incoming)

		p.peer(Packet{Type: TypeSession, ID: 78, Negotiate: 1 << 61, Meta: make([]byte, 70<<10)})
		assert.Equal(t, "meta and peer: too large", p.want(TypeSessionAck, "longer than a frame").Error)
		p.wantQuiet("the Conn need not know")
		for i := range p.tr.cfg.Offer.MaxStreams {
			p.peer(Packet{Type: TypeSession, ID: 100 + uint64(i), Negotiate: 1<<61 + uint64(i)})
			p.wantFrame(packet.TypeOpen, "one more")
		}
		p.peer(Packet{Type: TypeSession, ID: 79, Negotiate: 1 << 59})
		assert.Equal(t, "too many streams: 8 are open", p.want(TypeSessionAck, "too many").Error)
		p.wantQuiet("the Conn need not know")
	})
}

// Clients drop what follows the SessionAck of a session that they have opened.
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
		p.wantNone("the pause begins when the SessionAck was sent")
		return p, number, session
	}
	t.Run("for a moment", func(t *testing.T) {
		p, number, _ := start(t)
		p.pass(EarlyPause - 1)
		p.data(number, 0, "second")
		p.wantNone("too early")
		p.pass(1)
		assert.Equal(t, "first", string(p.want(TypeStream, "20 ms have passed").Raw))
		p.want(TypeRequest, "in order")
		assert.Equal(t, "second", string(p.want(TypeStream, "in order").Raw))
		p.data(number, 0, "third")
		p.want(TypeStream, "from now on at once")
		p.check()
	})
	t.Run("until the peer has sent something", func(t *testing.T) {
		p, _, session := start(t)
		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("x")})
		assert.Equal(t, "first", string(p.want(TypeStream, "the peer knows the session").Raw))
		p.want(TypeRequest, "in order")
		p.pass(time.Minute / 2)
		p.check()
	})
	t.Run("and the end too", func(t *testing.T) {
		p, number, _ := start(t)
		p.data(number, packet.FlagFin|packet.FlagClose, "last")
		assert.Equal(t, packet.FlagFin|packet.FlagClose, p.wantFrame(packet.TypeData, "the Conn need not wait").flags)
		p.wantNone("too early")
		p.check()
		p.pass(EarlyPause)
		p.want(TypeStream, "first")
		p.want(TypeRequest, "in order")
		assert.Equal(t, "last", string(p.want(TypeStream, "in order").Raw))
		p.want(TypeDismiss, "in order")
		assert.Len(t, p.tr.sessions, 1)
		assert.Empty(t, p.tr.early)
	})
	t.Run("until the end of the connection", func(t *testing.T) {
		p, _, session := start(t)
		p.notice(packet.TypeClose, 0, 0, "")
		p.want(TypeDismiss, "of the default session")
		p.pass(EarlyPause)
		p.want(TypeStream, "first")
		p.want(TypeRequest, "in order")
		assert.Equal(t, session, p.want(TypeDismiss, "of the stream").Session)
	})
	t.Run("not on those that the server opens", func(t *testing.T) {
		p := newPair(t, geminio.RecipientSide)
		number, _ := p.opened()
		p.data(number, 0, "first")
		p.want(TypeStream, "at once")
	})
}

func TestDismissByTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.data(number, packet.FlagFin|packet.FlagClose, "last")
		assert.Equal(t, "last", string(p.want(TypeStream, "what was written").Raw))
		q := p.want(TypeDismiss, "then the end")
		assert.Equal(t, session, q.Session)
		assert.Equal(t, packet.FlagFin|packet.FlagClose, p.wantFrame(packet.TypeData, "the answer").flags)
		assert.Len(t, p.tr.streams, 1)

		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("late")})
		p.peer(Packet{Type: TypeRequest, Session: session, ID: 5})
		p.wantQuiet("what comes late is thrown away")
		p.wantNone("and not answered")
		p.peer(Packet{Type: TypeDismissAck, ID: q.ID, Session: session})
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		assert.Equal(t, Packet{Type: TypeDismissAck, ID: 99, Session: session}, p.want(TypeDismissAck, "the fourth packet"))
		p.wantNone("nothing else")
	})
}

func TestDismissByThePeer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.peer(Packet{Type: TypeStream, Session: session, Raw: bytes.Repeat([]byte("x"), 10<<10)})
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		assert.Equal(t, Packet{Type: TypeDismissAck, ID: 99, Session: session}, p.want(TypeDismissAck, "the second packet"))
		own := p.want(TypeDismiss, "the third packet")
		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("overtaken")})
		p.peer(Packet{Type: TypeDismissAck, ID: own.ID, Session: session})

		total := 0
		for {
			e := p.wantFrame(packet.TypeData, "all that was sent, then the end")
			total += len(e.data)
			if e.flags != 0 {
				break
			}
			p.release(e)
		}
		assert.Equal(t, 10<<10+len("overtaken"), total)
		p.data(number, packet.FlagFin|packet.FlagClose, "too late")
		p.wantNone("the peer has gone")
		assert.Len(t, p.tr.streams, 1)
		assert.Len(t, p.tr.sessions, 1)
	})
}

// A peer that does not answer the Dismiss delays the end of the stream by a moment.
func TestDismissWithoutAnswer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		_, session := p.opened()
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		p.pass(dismissPause - 1)
		p.wantQuiet("the answer may come")
		p.pass(1)
		assert.NotZero(t, p.wantFrame(packet.TypeData, "it did not").flags&packet.FlagClose)
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
		own := p.want(TypeDismiss, "of this side")
		p.want(TypeDismissAck, "of the peer's")
		p.peer(Packet{Type: TypeDismissAck, ID: own.ID, Session: session})
		p.wantNone("both know")
		assert.NotZero(t, p.wantFrame(packet.TypeData, "the Conn's answer").flags&packet.FlagClose)
		p.wantQuiet("once")
	})
}

func TestReset(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.offered()
		p.notice(packet.TypeReset, number, geminio.CodeApplication, "broken")
		assert.Equal(t, session, p.want(TypeDismiss, "wire 1 has nothing else").Session)
		p.wantQuiet("a reset has no answer")
		assert.Len(t, p.tr.streams, 1)
		assert.Zero(t, p.tr.incoming)
	})
}

func TestHalfClose(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.data(number, packet.FlagFin, "last")
		p.want(TypeStream, "the bytes")
		p.wantNone("wire 1 has no half close")
		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("answer")})
		p.wantFrame(packet.TypeData, "the other direction goes on")
		p.data(number, packet.FlagFin|packet.FlagClose, "")
		p.want(TypeDismiss, "both directions are done")
	})
}

func TestStop(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.peer(Packet{Type: TypeStream, Session: session, Raw: make([]byte, 1<<20)})
		assert.NotZero(t, p.tr.held)
		p.notice(packet.TypeStop, number, 0, "")
		assert.Zero(t, p.tr.held, "nobody reads it")
		p.peer(Packet{Type: TypeStream, Session: session, Raw: make([]byte, 1<<20)})
		assert.Zero(t, p.tr.held)
		p.wantNone("wire 1 has no such thing")
		p.data(number, 0, "on")
		p.want(TypeStream, "the other direction goes on")
		p.conn.streams[number].stop = true
		p.data(number, packet.FlagFin, "")
		p.want(TypeDismiss, "both directions are done")
		for {
			if e := p.wantFrame(packet.TypeData, "so the stream ends for the Conn too"); e.flags != 0 {
				break
			}
		}
		p.data(number, packet.FlagFin|packet.FlagClose, "")
		assert.Len(t, p.tr.streams, 1)
	})
	t.Run("calls go on", func(t *testing.T) {
		p := newPair(t, geminio.InitiatorSide)
		number, session := p.opened()
		p.call(number, packet.Request{Method: []byte("m")})
		q := p.want(TypeRequest, "a call")
		p.notice(packet.TypeStop, number, 0, "")
		p.data(number, packet.FlagFin, "")
		p.wantNone("a call is under way")
		p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: session})
		p.wantFrame(packet.TypeResponse, "its response")
	})
}

func TestCallOfTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		for stream, session := range map[uint64]uint64{1: 1, number: session} {
			n := p.call(stream, packet.Request{ID: 1 << 50, Timeout: 5 * time.Second, Method: []byte("echo"), Custom: []byte("cu"), Data: []byte("hi")})
			q := p.want(TypeRequest, "a call")
			at := p.now.Add(5 * time.Second)
			assert.Equal(t, Packet{
				Type: TypeRequest, ID: 1 << 50, Session: session,
				Content: Content{Key: []byte("echo"), Value: []byte("hi"), Custom: []byte("cu"), Deadline: q.Deadline, ContextDeadline: q.ContextDeadline},
			}, q, "the id is the user's")
			assert.True(t, at.Equal(q.Deadline) && at.Equal(q.ContextDeadline))
			p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: session, Content: Content{Key: q.Key, Value: []byte("HI")}})
			e := p.wantFrame(packet.TypeResponse, "its response")
			assert.Equal(t, n, e.number)
			assert.Equal(t, packet.Response{Data: []byte("HI"), Custom: []byte{}}, e.resp)
			p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: session})
			p.wantQuiet("one response is enough")
		}
		p.call(1, packet.Request{Method: []byte("nope")})
		q := p.want(TypeRequest, "a call without a timeout")
		assert.True(t, q.Deadline.IsZero() && q.ContextDeadline.IsZero())
		p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: 1, Error: "no such rpc: nope"})
		e := p.wantFrame(packet.TypeResponse, "its response")
		assert.Equal(t, "no such rpc: nope", e.resp.Text)
		assert.Equal(t, uint32(geminio.CodeApplication), e.resp.Code)
	})
}

// Users may number their requests as they like.
func TestEqualIDs(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		first, second := p.call(1, packet.Request{ID: 7}), p.call(1, packet.Request{ID: 7})
		a, b := p.want(TypeRequest, "one"), p.want(TypeRequest, "the other")
		assert.NotEqual(t, a.ID, b.ID)
		p.peer(Packet{Type: TypeResponse, ID: b.ID, Session: 1})
		assert.Equal(t, second, p.wantFrame(packet.TypeResponse, "of the second").number)
		p.peer(Packet{Type: TypeResponse, ID: a.ID, Session: 1})
		assert.Equal(t, first, p.wantFrame(packet.TypeResponse, "of the first").number)

		first, second = p.publish(1, packet.Message{ID: 7, Cnss: 2}), p.publish(1, packet.Message{ID: 7, Cnss: 2})
		a, b = p.want(TypeMessage, "one"), p.want(TypeMessage, "the other")
		assert.NotEqual(t, a.ID, b.ID)
		p.peer(Packet{Type: TypeMessageAck, ID: b.ID, Session: 1})
		assert.Equal(t, second, p.wantFrame(packet.TypeAck, "of the second").number)
		p.peer(Packet{Type: TypeMessageAck, ID: a.ID, Session: 1})
		assert.Equal(t, first, p.wantFrame(packet.TypeAck, "of the first").number)
		p.publish(1, packet.Message{ID: 0, Cnss: 1})
		assert.NotZero(t, p.want(TypeMessage, "without an id").ID)
	})
}

func TestCallOfThePeer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.offered()
		for stream, session := range map[uint64]uint64{1: 1, number: session} {
			p.peer(Packet{Type: TypeRequest, ID: 99, Session: session, Content: Content{
				Key: []byte("echo"), Value: []byte("hi"), Custom: []byte("cu"),
				Deadline: p.now.Add(5 * time.Second), ContextDeadline: p.now.Add(3 * time.Second),
			}})
			e := p.wantFrame(packet.TypeRequest, "a call")
			assert.Equal(t, stream, e.stream)
			assert.Equal(t, packet.Request{ID: 99, Method: []byte("echo"), Custom: []byte("cu"), Data: []byte("hi"), Timeout: e.req.Timeout}, e.req)
			assert.GreaterOrEqual(t, e.req.Timeout, 3*time.Second)
			p.respond(e, packet.Response{Data: []byte("HI"), Custom: []byte("UC")})
			assert.Equal(t, Packet{
				Type: TypeResponse, ID: 99, Session: session, Content: Content{Key: []byte("echo"), Value: []byte("HI"), Custom: []byte("UC")},
			}, p.want(TypeResponse, "its response"))
		}
		p.peer(Packet{Type: TypeRequest, ID: 100, Session: 1, Content: Content{Key: []byte("nope")}})
		e := p.wantFrame(packet.TypeRequest, "a call")
		assert.Zero(t, e.req.Timeout)
		p.respond(e, packet.Response{Code: uint32(geminio.CodeNoMethod), Text: "no such rpc: nope"})
		assert.Equal(t, "no such rpc: nope", p.want(TypeResponse, "its response").Error)

		p.peer(Packet{Type: TypeRequest, ID: 101, Session: 1})
		p.respond(p.wantFrame(packet.TypeRequest, "a call"), packet.Response{Code: 1})
		assert.NotEmpty(t, p.want(TypeResponse, "an error without a text").Error)
	})
}

func TestCancelByTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		canceled := packet.Answer{Code: uint32(geminio.CodeCanceled), Text: "context canceled"}
		n := p.call(1, packet.Request{ID: 7})
		p.want(TypeRequest, "a call")
		p.answer(1, packet.TypeCancel, n, canceled)
		p.wantNone("the peer might not know this type, and end the connection")
		p.peer(Packet{Type: TypeResponse, ID: 7, Session: 1})
		p.wantQuiet("nobody waits for it")

		p.peer(Packet{Type: TypeRequest, ID: 99, Session: 1})
		p.wantFrame(packet.TypeRequest, "a call of the peer")
		p.peer(Packet{Type: TypeRequestCancel, ID: 99, Session: 1, Kind: KindCanceled})
		p.wantFrame(packet.TypeCancel, "the peer knows this type")
		for _, c := range []struct {
			code geminio.Code
			kind int16
		}{{geminio.CodeCanceled, KindCanceled}, {geminio.CodeDeadline, KindDeadline}} {
			n := p.call(1, packet.Request{ID: 8})
			p.want(TypeRequest, "a call")
			p.answer(1, packet.TypeCancel, n, packet.Answer{Code: uint32(c.code)})
			assert.Equal(t, Packet{Type: TypeRequestCancel, ID: 8, Session: 1, Kind: c.kind}, p.want(TypeRequestCancel, "now it is sent"))
			p.answer(1, packet.TypeCancel, n, canceled)
			p.wantNone("once")
		}
	})
}

func TestCancelByThePeer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		p.peer(Packet{Type: TypeRequest, ID: 99, Session: 1})
		e := p.wantFrame(packet.TypeRequest, "a call")
		p.peer(Packet{Type: TypeRequestCancel, ID: 98, Session: 1, Kind: KindCanceled})
		p.wantQuiet("of no call")
		p.peer(Packet{Type: TypeRequestCancel, ID: 99, Session: 1, Kind: KindDeadline})
		c := p.wantFrame(packet.TypeCancel, "of this one")
		assert.Equal(t, e.number, c.number)
		assert.Equal(t, uint32(geminio.CodeDeadline), c.answer.Code)

		// One that waits for a handler.
		for id := range uint64(3) {
			p.peer(Packet{Type: TypeRequest, ID: id, Session: 1})
			p.wantFrame(packet.TypeRequest, "there is credit")
		}
		p.peer(Packet{Type: TypeRequest, ID: 50, Session: 1, Content: Content{Value: make([]byte, 100<<10)}})
		p.peer(Packet{Type: TypeRequest, ID: 51, Session: 1})
		p.wantQuiet("there is none")
		p.peer(Packet{Type: TypeRequestCancel, ID: 50, Session: 1, Kind: KindCanceled})
		p.wantQuiet("the Conn does not know it")
		p.check()
		assert.Less(t, p.tr.held, uint64(10<<10), "its data is not held any more")
		p.respond(e, packet.Response{})
		assert.EqualValues(t, 51, p.wantFrame(packet.TypeRequest, "the next one").req.ID)
	})
}

func TestMessageOfTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		m := packet.Message{ID: 1 << 50, Cnss: 2, Topic: []byte("t"), Custom: []byte("cu"), Data: []byte("hello")}
		n := p.publish(1, m)
		assert.Equal(t, Packet{Type: TypeMessage, ID: 1 << 50, Session: 1, Content: Content{
			Value: []byte("hello"), Topic: "t", Custom: []byte("cu"),
		}}, p.want(TypeMessage, "a message"))
		p.peer(Packet{Type: TypeMessageAck, ID: 1 << 50, Session: 1})
		e := p.wantFrame(packet.TypeAck, "its ack")
		assert.Equal(t, n, e.number)
		assert.Zero(t, e.answer)

		p.publish(1, m)
		p.want(TypeMessage, "a message")
		p.peer(Packet{Type: TypeMessageAck, ID: 1 << 50, Session: 1, Error: "disk full"})
		assert.Equal(t, packet.Answer{Code: uint32(geminio.CodeApplication), Text: "disk full"}, p.wantFrame(packet.TypeAck, "its ack").answer)

		m.Cnss = 1
		p.publish(1, m)
		q := p.want(TypeMessage, "one that nobody waits for")
		p.peer(Packet{Type: TypeMessageAck, ID: q.ID, Session: 1})
		p.wantQuiet("the peer acks it nevertheless")
	})
}

// Messages that the peer never answers do not make the translator grow, and nobody
// waits for them for ever.
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

func TestMessageOfThePeer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		for _, id := range []uint64{99, 0, 1<<63 | 5, 1<<63 | 6} {
			p.peer(Packet{Type: TypeMessage, ID: id, Session: 1, Content: Content{
				Value: []byte("hello"), Topic: "t", Custom: []byte("cu"), Deadline: p.now.Add(time.Second),
			}})
		}
		for _, id := range []uint64{99, 0, 1<<63 | 5, 1<<63 | 6} {
			e := p.wantFrame(packet.TypeMessage, "a message")
			assert.Equal(t, packet.Message{
				ID: id, Cnss: 2, Topic: []byte("t"), Custom: []byte("cu"), Data: []byte("hello"), Timeout: e.msg.Timeout,
			}, e.msg)
			assert.NotZero(t, e.msg.Timeout)
			assert.Zero(t, e.number>>63, "this bit says something else in wire 2")
			assert.NotZero(t, e.number)
			p.answer(1, packet.TypeAck, e.number, packet.Answer{})
			assert.Equal(t, Packet{Type: TypeMessageAck, ID: id, Session: 1}, p.want(TypeMessageAck, "its ack"))
		}
		p.peer(Packet{Type: TypeMessage, ID: 100, Session: 1})
		p.answer(1, packet.TypeAck, p.wantFrame(packet.TypeMessage, "a message").number, packet.Answer{Code: 1, Text: "disk full"})
		assert.Equal(t, "disk full", p.want(TypeMessageAck, "its ack").Error)
	})
}

func TestRegistrations(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		n := p.register(number, "echo")
		q := p.want(TypeRegister, "a registration of the Conn")
		assert.Equal(t, session, q.Session)
		assert.Equal(t, "echo", string(q.Raw))
		p.peer(Packet{Type: TypeRegisterAck, ID: q.ID, Session: session})
		assert.Equal(t, n, p.wantFrame(packet.TypeRegistered, "the peer has taken note").number)

		p.peer(Packet{Type: TypeRegister, ID: 99, Session: session, Raw: []byte("back")})
		e := p.wantFrame(packet.TypeRegister, "a registration of the peer")
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
			p.wantNone("not yet")
			p.pass(1)
			p.peer(Packet{Type: TypeHeartbeatAck, ID: p.want(TypeHeartbeat, "every 20 s").ID})
		}
		p.wantQuiet("the Conn's heartbeats are its own")
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

// Nobody is taken for dead who is not listened to.
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

func TestCloseByTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		_, session := p.opened()
		p.data(1, 0, "last")
		p.notice(packet.TypeClose, 0, 0, "")
		p.want(TypeStream, "what was written")
		assert.Equal(t, session, p.want(TypeDismiss, "each session is dismissed").Session)
		own := p.want(TypeDismiss, "the default one last")
		assert.EqualValues(t, 1, own.Session)
		p.wantNone("first the peer's answers")
		p.peer(Packet{Type: TypeDismissAck, ID: own.ID, Session: 1})
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: 1})
		p.want(TypeDismissAck, "the fourth packet")
		d := p.want(TypeDisConn, "then the connection")
		p.wantQuiet("the peer has not answered")
		p.peer(Packet{Type: TypeDisConnAck, ID: d.ID})
		p.wantQuiet("the peer disconnects too")
		p.peer(Packet{Type: TypeDisConn, ID: 100})
		assert.Equal(t, Packet{Type: TypeDisConnAck, ID: 100}, p.want(TypeDisConnAck, "the last packet"))
		p.wantEnd("both are done")
	})
}

func TestCloseByTheConnWithoutAnswers(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		p.notice(packet.TypeClose, 0, 0, "")
		p.want(TypeDismiss, "the default session is dismissed")
		p.pass(dismissPause)
		p.want(TypeDisConn, "the peer has not answered")
		p.pass(testLinger)
		p.wantEnd("neither that")
	})
}

func TestCloseByThePeer(t *testing.T) {
	for name, order := range map[string][]Type{
		"the answer first": {TypeDisConnAck, TypeDisConn},
		"and last":         {TypeDisConn, TypeDisConnAck},
	} {
		t.Run(name, func(t *testing.T) {
			bothSides(t, func(t *testing.T, p *pair) {
				p.peer(Packet{Type: TypeDismiss, ID: 99, Session: 1})
				p.want(TypeDismissAck, "the second packet")
				own := p.want(TypeDismiss, "the third packet")
				p.peer(Packet{Type: TypeDismissAck, ID: own.ID, Session: 1})
				p.wantFrame(packet.TypeGoAway, "nothing new is to begin")
				p.wantQuiet("the connection stands")
				for _, typ := range order {
					p.peer(Packet{Type: typ, ID: 100})
				}
				if order[0] == TypeDisConnAck { // of nothing: it means nothing
					p.want(TypeDisConnAck, "the answer")
					own := p.want(TypeDisConn, "and the own")
					p.peer(Packet{Type: TypeDisConnAck, ID: own.ID})
				} else {
					p.want(TypeDisConnAck, "the answer")
					p.want(TypeDisConn, "and the own")
				}
				p.wantEnd("both are done")
			})
		})
	}
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

// What the peer has sent before it disconnects reaches the Conn, as soon as it takes it.
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
		p.wantQuiet("nobody has read the rest in time, so it is not complete")
		assert.Equal(t, errNotTaken, p.tr.Err())
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

// A stream that nobody reads holds back itself, and in the end the connection.
func TestHeldUpToTheBudget(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.offered()
		for p.tr.Reading() {
			p.peer(Packet{Type: TypeStream, Session: session, Raw: make([]byte, 1<<20)})
		}
		assert.LessOrEqual(t, p.tr.held, uint64(testBudget+1<<20))
		p.check()
		total := 0
		for ; p.seen < len(p.conn.events); p.seen++ {
			if e := p.conn.events[p.seen]; e.typ == packet.TypeData {
				assert.Equal(t, number, e.stream)
				total += len(e.data)
				p.frame(p.conn.release(e))
			}
		}
		assert.True(t, p.tr.Reading())
		assert.Zero(t, p.tr.held)
		assert.Greater(t, total, testBudget-1<<20)
	})
}

// Everything that is held is delivered in order, and each kind waits for itself.
func TestHeldKinds(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		_, session := p.offered()
		large := make([]byte, 1<<20)
		for id := range uint64(20) {
			data := []byte("small")
			if id%3 == 0 {
				data = large
			}
			p.peer(Packet{Type: TypeMessage, ID: id, Session: session, Content: Content{Value: data}})
			p.peer(Packet{Type: TypeRequest, ID: id, Session: session, Content: Content{Value: data}})
			p.peer(Packet{Type: TypeStream, Session: session, Raw: large[:3000]})
			p.check()
		}
		raw, messages, requests := 0, uint64(0), uint64(0)
		for ; p.seen < len(p.conn.events); p.seen++ {
			switch e := p.conn.events[p.seen]; e.typ {
			case packet.TypeData:
				raw += len(e.data)
				p.release(e)
			case packet.TypeMessage:
				assert.Equal(t, messages, e.msg.ID)
				messages++
				p.release(e)
			case packet.TypeRequest:
				assert.Equal(t, requests, e.req.ID)
				requests++
				p.respond(e, packet.Response{})
			}
		}
		assert.Equal(t, 20*3000, raw)
		assert.EqualValues(t, 20, messages)
		assert.EqualValues(t, 20, requests)
		assert.Zero(t, p.tr.held)
	})
}

// Streams that wait for the same credit take turns.
func TestHeldStreamsTakeTurns(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		_, a := p.offered()
		_, b := p.offered()
		for id := range uint64(4) {
			p.peer(Packet{Type: TypeRequest, ID: id, Session: 1})
		}
		for id := range uint64(20) {
			p.peer(Packet{Type: TypeRequest, ID: 100 + id, Session: a})
		}
		for id := range uint64(2) {
			p.peer(Packet{Type: TypeRequest, ID: 200 + id, Session: b})
		}
		var order []uint64
		for ; p.seen < len(p.conn.events); p.seen++ {
			if e := p.conn.events[p.seen]; e.typ == packet.TypeRequest {
				order = append(order, e.req.ID)
				p.respond(e, packet.Response{})
			}
		}
		require.Len(t, order, 26)
		assert.Contains(t, order[:9], uint64(200))
		assert.Contains(t, order[:11], uint64(201))
	})
}

func TestLargeResponse(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		large := bytes.Repeat([]byte("x"), 5<<20)
		first, second := p.call(1, packet.Request{}), p.call(1, packet.Request{})
		a, b := p.want(TypeRequest, "one"), p.want(TypeRequest, "the other")
		p.peer(Packet{Type: TypeResponse, ID: b.ID, Session: 1, Content: Content{Value: large}})
		p.peer(Packet{Type: TypeResponse, ID: a.ID, Session: 1, Content: Content{Value: large}})
		e := p.wantFrame(packet.TypeResponse, "there is credit for one")
		assert.Equal(t, second, e.number)
		assert.Equal(t, large, e.resp.Data)
		p.wantQuiet("and not for two")
		p.release(e)
		assert.Equal(t, first, p.wantFrame(packet.TypeResponse, "now there is").number)
	})
}

func TestTooLarge(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		large := make([]byte, MaxContent)
		n := p.call(1, packet.Request{Data: large})
		q := p.want(TypeRequest, "as large as there may be")
		assert.Len(t, q.Value, MaxContent)
		p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: 1, Content: Content{Value: large}})
		e := p.wantFrame(packet.TypeResponse, "and its response")
		assert.Equal(t, n, e.number)
		assert.Len(t, e.resp.Data, MaxContent)
		p.release(e)

		// Names are escaped, which makes them longer than base64 does.
		topic := bytes.Repeat([]byte("<"), packet.MaxName)
		p.publish(1, packet.Message{Cnss: 2, Topic: topic, Data: large[:len(large)-len(topic)]})
		p.wantNone("not a byte is sent")
		assert.Equal(t, uint32(geminio.CodeTooLarge), p.wantFrame(packet.TypeAck, "it is refused").answer.Code)

		p.peer(Packet{Type: TypeRequest, ID: 98, Session: 1})
		p.respond(p.wantFrame(packet.TypeRequest, "a call"), packet.Response{Code: 1, Text: strings.Repeat("<", 2<<20)})
		assert.Contains(t, p.want(TypeResponse, "an error that is too long").Error, "too large")
	})
	t.Run("what the Conn does not accept", func(t *testing.T) {
		p := newPair(t, geminio.RecipientSide, func(c *Config) { c.Offer.MaxMessage = 1 << 10 })
		data := make([]byte, 2<<10)
		p.peer(Packet{Type: TypeRequest, ID: 1, Session: 1, Content: Content{Value: data}})
		assert.Contains(t, p.want(TypeResponse, "a call").Error, "too large")
		p.peer(Packet{Type: TypeMessage, ID: 1, Session: 1, Content: Content{Value: data}})
		assert.Contains(t, p.want(TypeMessageAck, "a message").Error, "too large")
		p.call(1, packet.Request{})
		q := p.want(TypeRequest, "a call of the Conn")
		p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: 1, Content: Content{Value: data}})
		assert.Equal(t, uint32(geminio.CodeTooLarge), p.wantFrame(packet.TypeResponse, "its response").resp.Code)
		p.peer(Packet{Type: TypeRegister, ID: 1, Session: 1, Raw: make([]byte, 70<<10)})
		assert.Contains(t, p.want(TypeRegisterAck, "a name").Error, "too large")
		p.wantQuiet("the Conn need not know")

		session := append(make([]byte, 7), 1)
		p.tr.TooLarge(p.now, Header{Type: TypeRequest, ID: 5, Length: 1 << 30}, session)
		p.tr.TooLarge(p.now, Header{Type: TypeMessage, ID: 6, Length: 1 << 30}, session)
		p.tr.TooLarge(p.now, Header{Type: TypeSession, ID: 7, Length: 1 << 30}, append(make([]byte, 9), 9))
		p.settle()
		assert.EqualValues(t, 5, p.want(TypeResponse, "a call of which only the header is read").ID)
		assert.EqualValues(t, 6, p.want(TypeMessageAck, "a message").ID)
		assert.EqualValues(t, 9, p.want(TypeSessionAck, "a session").Negotiate)
	})
}

// A peer that does not read its answers is not read from.
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

// Credit comes back as the peer takes what was sent.
func TestPushBack(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, _ := p.opened()
		p.hold = true
		s := p.conn.streams[number]
		p.data(number, 0, strings.Repeat("x", int(s.have[packet.ClassRaw])))
		assert.Zero(t, s.have[packet.ClassRaw])
		small := make([]byte, 1000)
		for {
			p.conn.numbers++
			m := packet.Message{Cnss: 2}
			b := p.conn.send(s, packet.TypeMessage, p.conn.numbers, m.Append(nil), small)
			if b == nil {
				break
			}
			p.frame(b)
		}
		p.check()
		p.hold = false
		p.settle()
		assert.EqualValues(t, Offer().Raw, s.have[packet.ClassRaw])
		assert.Greater(t, s.have[packet.ClassMessages], uint64(Offer().Messages/2))
		p.check()
	})
}

// Fragments of the Conn's packets may alternate, be abandoned, and end with the stream.
func TestFragments(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, _ := p.opened()
		s := p.conn.streams[number]
		frames := func(typ packet.Type, call uint64, head []byte) (parts [][]byte) {
			b := p.conn.send(s, typ, call, head, make([]byte, 200<<10))
			for len(b) > 0 {
				h, err := packet.ParseHeader(b, p.conn.theirs.MaxFrame)
				require.NoError(t, err)
				parts = append(parts, b[:packet.HeaderLen+h.Length])
				b = b[packet.HeaderLen+h.Length:]
			}
			return parts
		}
		r, m := packet.Request{ID: 11}, packet.Message{ID: 12, Cnss: 2}
		a, b := frames(packet.TypeRequest, 1, r.Append(nil)), frames(packet.TypeMessage, 2, m.Append(nil))
		for i := range a {
			p.frame(a[i])
			p.frame(b[i])
		}
		assert.Len(t, p.want(TypeRequest, "whole").Value, 200<<10)
		assert.Len(t, p.want(TypeMessage, "whole").Value, 200<<10)
		p.check()

		before := p.tr.given
		p.frame(frames(packet.TypeRequest, 3, r.Append(nil))[0])
		p.check()
		p.frame(p.conn.send(s, packet.TypeAbandon, 3, []byte{byte(packet.TypeRequest)}, nil))
		p.wantNone("it never was whole")
		assert.Equal(t, before[packet.ClassLargeRequests], p.tr.given[packet.ClassLargeRequests])
		p.frame(frames(packet.TypeRequest, 4, r.Append(nil))[0])
		p.notice(packet.TypeReset, number, 0, "")
		assert.Empty(t, p.tr.assemblies)
		assert.Equal(t, before[packet.ClassLargeRequests], p.tr.given[packet.ClassLargeRequests])
	})
}

// What waits for an answer on a stream ends with it.
func TestCallsEndWithTheirStream(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.call(number, packet.Request{ID: 11})
		p.register(number, "m")
		p.publish(number, packet.Message{ID: 12, Cnss: 2})
		p.peer(Packet{Type: TypeRequest, ID: 13, Session: session})
		e := p.wantFrame(packet.TypeRequest, "a call")
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		p.peer(Packet{Type: TypeResponse, ID: 11, Session: session})
		p.wantFrame(packet.TypeResponse, "it came before the end")
		p.peer(Packet{Type: TypeDismissAck, Session: session})
		p.wantFrame(packet.TypeData, "the end")
		p.sent = nil
		p.peer(Packet{Type: TypeMessageAck, ID: 12, Session: session})
		p.peer(Packet{Type: TypeMessageAck, ID: 12, Session: 1})
		p.wantQuiet("the stream has ended")
		p.frame(p.conn.release(e))
		p.data(number, packet.FlagFin|packet.FlagClose, "")
		assert.Empty(t, p.tr.calls)
		p.wantNone("nothing is left to say")
	})
}

// What the Conn begins on a stream that the peer has dismissed fails at once, though
// its reader is not at the end yet.
func TestCallsOnADismissedStream(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.peer(Packet{Type: TypeStream, Session: session, Raw: make([]byte, 10<<10)})
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		p.sent = nil
		p.wantFrame(packet.TypeData, "some of what came")
		p.call(number, packet.Request{})
		assert.Equal(t, uint32(geminio.CodeClosed), p.wantFrame(packet.TypeResponse, "a call").resp.Code)
		p.publish(number, packet.Message{Cnss: 2})
		assert.Equal(t, uint32(geminio.CodeClosed), p.wantFrame(packet.TypeAck, "a message").answer.Code)
		p.register(number, "m")
		assert.Equal(t, uint32(geminio.CodeClosed), p.wantFrame(packet.TypeRegistered, "a registration").answer.Code)
		p.wantNone("the peer has gone")
	})
}

func TestRulesOfThePeer(t *testing.T) {
	for name, q := range map[string]Packet{
		"a second conn":    {Type: TypeConn},
		"a second connack": {Type: TypeConnAck},
	} {
		t.Run(name, func(t *testing.T) {
			bothSides(t, func(t *testing.T, p *pair) {
				var bad *packet.Error
				assert.ErrorAs(t, p.peerErr(q), &bad)
				assert.ErrorAs(t, p.tr.Err(), &bad)
				p.peer(Packet{Type: TypeRequest, Session: 1})
				p.wantQuiet("it is over")
			})
		})
	}
	t.Run("session ids are unique", func(t *testing.T) {
		for _, id := range []uint64{0, 1, 1 << 50} {
			p := newPair(t, geminio.InitiatorSide)
			p.peer(Packet{Type: TypeSession, ID: 5, Negotiate: 1 << 50})
			assert.ErrorContains(t, p.peerErr(Packet{Type: TypeSession, ID: 6, Negotiate: id}), "is open already")
			p = newPair(t, geminio.InitiatorSide)
			p.peer(Packet{Type: TypeSession, ID: 5, Negotiate: 1 << 50})
			p.open("", "")
			q := p.want(TypeSession, "a stream of the Conn")
			assert.ErrorContains(t, p.peerErr(Packet{Type: TypeSessionAck, ID: q.ID, Session: id}), "is open already")
		}
	})
	t.Run("unknown sessions and ids mean nothing", func(t *testing.T) {
		bothSides(t, func(t *testing.T, p *pair) {
			for typ := range layouts {
				if typ == TypeSession || typ < TypeSession {
					continue
				}
				p.peer(Packet{Type: typ, ID: 5, Session: 1 << 50})
				if typ%16 == 2 {
					p.peer(Packet{Type: typ, ID: 5, Session: 1})
				}
			}
			p.want(TypeDismissAck, "of what may have been open")
			p.wantNone("no error goes back")
			p.wantQuiet("the Conn need not know")
			assert.NoError(t, p.tr.Err())
		})
	})
}

func TestSkew(t *testing.T) {
	now := testStart
	id := func(at time.Time) uint64 { return uint64(at.Unix())<<32 | 77 }
	for _, skewed := range []time.Duration{0, time.Hour, -time.Hour, 24 * time.Hour, -3 * time.Second} {
		peer := now.Add(skewed)
		var s skew
		s.learn(id(peer), now)
		left := s.left(peer.Add(5*time.Second), now)
		assert.GreaterOrEqual(t, left, 5*time.Second, "%v: never too early", skewed)
		assert.Less(t, left, 7*time.Second, "%v: nor much too late", skewed)
		deadline := s.deadline(5*time.Second, now)
		assert.GreaterOrEqual(t, deadline.Sub(peer), 5*time.Second, "%v: neither at the peer", skewed)
	}
	t.Run("ids that say nothing", func(t *testing.T) {
		for _, id := range []uint64{1, 1 << 63, 1<<64 - 1} {
			var s skew
			s.learn(id, now)
			assert.Positive(t, s.left(now.Add(time.Second), now))
			assert.Positive(t, s.left(time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC), now))
			assert.Positive(t, s.left(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), now))
			assert.True(t, s.deadline(1<<62, now).After(now))
		}
	})
	t.Run("no deadline", func(t *testing.T) {
		var s skew
		assert.Zero(t, s.left(time.Time{}, now))
		assert.True(t, s.deadline(0, now).IsZero())
	})
	t.Run("a deadline that passes while it waits", func(t *testing.T) {
		p := newPair(t, geminio.RecipientSide)
		for id := range uint64(5) {
			p.peer(Packet{Type: TypeRequest, ID: id, Session: 1, Content: Content{Deadline: p.now.Add(time.Second)}})
		}
		e := p.wantFrame(packet.TypeRequest, "the first")
		p.seen = len(p.conn.events)
		p.pass(2 * time.Second)
		p.respond(e, packet.Response{})
		assert.EqualValues(t, 1, p.wantFrame(packet.TypeRequest, "the last").req.Timeout, "it is over, not without end")
	})
}
