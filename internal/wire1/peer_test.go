package wire1

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

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
			assert.Equal(t, e.stream, ack.Session, "the server uses the number as the session id")
		} else {
			assert.Equal(t, q.Negotiate, ack.Session, "the id that the server has chosen")
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
		assert.Zero(t, p.tr.peerStreams)

		p.peer(Packet{Type: TypeSession, ID: 78, Negotiate: 1 << 61, Meta: make([]byte, 70<<10)})
		assert.Equal(t, "meta and peer: too large", p.want(TypeSessionAck, "longer than a frame").Error)
		p.wantQuiet("the Conn gets no frame")
		for i := range p.tr.cfg.Offer.MaxStreams {
			p.peer(Packet{Type: TypeSession, ID: 100 + uint64(i), Negotiate: 1<<61 + uint64(i)})
			p.wantFrame(packet.TypeOpen, "the peer opens a further stream")
		}
		p.peer(Packet{Type: TypeSession, ID: 79, Negotiate: 1 << 59})
		assert.Equal(t, "too many streams: 8 are open", p.want(TypeSessionAck, "too many").Error)
		p.wantQuiet("the Conn gets no frame")
	})
}

func TestDismissByThePeer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.peer(Packet{Type: TypeStream, Session: session, Raw: bytes.Repeat([]byte("x"), 10<<10)})
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		assert.Equal(t, Packet{Type: TypeDismissAck, ID: 99, Session: session}, p.want(TypeDismissAck, "the Dismiss is answered"))
		own := p.want(TypeDismiss, "the session is dismissed by this side too")
		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("overtaken")})
		p.peer(Packet{Type: TypeDismissAck, ID: own.ID, Session: session})

		total := 0
		for {
			e := p.wantFrame(packet.TypeData, "all data is passed, then the end")
			total += len(e.data)
			if e.flags != 0 {
				break
			}
			p.release(e)
		}
		assert.Equal(t, 10<<10+len("overtaken"), total)
		p.data(number, packet.FlagFin|packet.FlagClose, "too late")
		p.wantNone("nothing is sent on a dismissed session")
		assert.Len(t, p.tr.streams, 1)
		assert.Len(t, p.tr.sessions, 1)
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
			e := p.wantFrame(packet.TypeRequest, "the request is passed")
			assert.Equal(t, stream, e.stream)
			assert.Equal(t, packet.Request{ID: 99, Method: []byte("echo"), Custom: []byte("cu"), Data: []byte("hi"), Timeout: e.req.Timeout}, e.req)
			assert.GreaterOrEqual(t, e.req.Timeout, 3*time.Second)
			p.respond(e, packet.Response{Data: []byte("HI"), Custom: []byte("UC")})
			assert.Equal(t, Packet{
				Type: TypeResponse, ID: 99, Session: session, Content: Content{Key: []byte("echo"), Value: []byte("HI"), Custom: []byte("UC")},
			}, p.want(TypeResponse, "its response"))
		}
		p.peer(Packet{Type: TypeRequest, ID: 100, Session: 1, Content: Content{Key: []byte("nope")}})
		e := p.wantFrame(packet.TypeRequest, "the request is passed")
		assert.Zero(t, e.req.Timeout)
		p.respond(e, packet.Response{Code: uint32(geminio.CodeNoMethod), Text: "no such rpc: nope"})
		assert.Equal(t, "no such rpc: nope", p.want(TypeResponse, "its response").Error)

		p.peer(Packet{Type: TypeRequest, ID: 101, Session: 1})
		p.respond(p.wantFrame(packet.TypeRequest, "the request is passed"), packet.Response{Code: 1})
		assert.NotEmpty(t, p.want(TypeResponse, "an error without a text").Error)
	})
}

func TestCancelByThePeer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		p.peer(Packet{Type: TypeRequest, ID: 99, Session: 1})
		e := p.wantFrame(packet.TypeRequest, "the request is passed")
		p.peer(Packet{Type: TypeRequestCancel, ID: 98, Session: 1, Kind: KindCanceled})
		p.wantQuiet("the cancellation of an unknown call is ignored")
		p.peer(Packet{Type: TypeRequestCancel, ID: 99, Session: 1, Kind: KindDeadline})
		c := p.wantFrame(packet.TypeCancel, "the cancellation is passed")
		assert.Equal(t, e.number, c.number)
		assert.Equal(t, uint32(geminio.CodeDeadline), c.answer.Code)

		// A request that waits for a handler.
		for id := range uint64(3) {
			p.peer(Packet{Type: TypeRequest, ID: id, Session: 1})
			p.wantFrame(packet.TypeRequest, "a request within the credit is passed")
		}
		p.peer(Packet{Type: TypeRequest, ID: 50, Session: 1, Content: Content{Value: make([]byte, 100<<10)}})
		p.peer(Packet{Type: TypeRequest, ID: 51, Session: 1})
		p.wantQuiet("a request without credit is held")
		p.peer(Packet{Type: TypeRequestCancel, ID: 50, Session: 1, Kind: KindCanceled})
		p.wantQuiet("a held request is removed when it is canceled")
		p.check()
		assert.Less(t, p.tr.held, uint64(10<<10), "bytes held for a canceled request")
		p.respond(e, packet.Response{})
		assert.EqualValues(t, 51, p.wantFrame(packet.TypeRequest, "the next one").req.ID)
	})
}

func TestMessageOfThePeer(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		for _, id := range []uint64{99, 0, 1<<63 | 5, 1<<63 | 6} {
			p.peer(Packet{Type: TypeMessage, ID: id, Session: 1, Content: Content{
				Value: []byte("hello"), Topic: "t", Custom: []byte("cu"), Deadline: p.now.Add(time.Second),
			}})
		}
		for _, id := range []uint64{99, 0, 1<<63 | 5, 1<<63 | 6} {
			e := p.wantFrame(packet.TypeMessage, "the message is passed")
			assert.Equal(t, packet.Message{
				ID: id, Cnss: 2, Topic: []byte("t"), Custom: []byte("cu"), Data: []byte("hello"), Timeout: e.msg.Timeout,
			}, e.msg)
			assert.NotZero(t, e.msg.Timeout)
			assert.Zero(t, e.number>>63, "a number of wire 2 must not have the highest bit")
			assert.NotZero(t, e.number)
			p.answer(1, packet.TypeAck, e.number, packet.Answer{})
			assert.Equal(t, Packet{Type: TypeMessageAck, ID: id, Session: 1}, p.want(TypeMessageAck, "its ack"))
		}
		p.peer(Packet{Type: TypeMessage, ID: 100, Session: 1})
		p.answer(1, packet.TypeAck, p.wantFrame(packet.TypeMessage, "the message is passed").number, packet.Answer{Code: 1, Text: "disk full"})
		assert.Equal(t, "disk full", p.want(TypeMessageAck, "its ack").Error)
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
				p.want(TypeDismissAck, "the Dismiss is answered")
				own := p.want(TypeDismiss, "the session is dismissed by this side too")
				p.peer(Packet{Type: TypeDismissAck, ID: own.ID, Session: 1})
				p.wantFrame(packet.TypeGoAway, "new work is refused")
				p.wantQuiet("the connection continues")
				for _, typ := range order {
					p.peer(Packet{Type: typ, ID: 100})
				}
				if order[0] == TypeDisConnAck { // it answers no DisConn and is ignored
					p.want(TypeDisConnAck, "the DisConn is answered")
					own := p.want(TypeDisConn, "this side disconnects too")
					p.peer(Packet{Type: TypeDisConnAck, ID: own.ID})
				} else {
					p.want(TypeDisConnAck, "the DisConn is answered")
					p.want(TypeDisConn, "this side disconnects too")
				}
				p.wantEnd("both sides have disconnected")
			})
		})
	}
}

func TestTooLarge(t *testing.T) {
	t.Run("what the peer does not accept", func(t *testing.T) {
		p := newPair(t, geminio.InitiatorSide)
		large := make([]byte, MaxContent)
		n := p.call(1, packet.Request{Data: large})
		q := p.want(TypeRequest, "the largest request is sent")
		assert.Len(t, q.Value, MaxContent)
		p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: 1, Content: Content{Value: large}})
		e := p.wantFrame(packet.TypeResponse, "the largest response is passed")
		assert.Equal(t, n, e.number)
		assert.Len(t, e.resp.Data, MaxContent)
		p.release(e)

		// JSON escapes names, which makes them longer than base64 makes other data.
		topic := bytes.Repeat([]byte("<"), packet.MaxName)
		p.publish(1, packet.Message{Cnss: 2, Topic: topic, Data: large[:len(large)-len(topic)]})
		p.wantNone("a packet that is too large is not sent")
		assert.Equal(t, uint32(geminio.CodeTooLarge), p.wantFrame(packet.TypeAck, "it is refused").answer.Code)

		p.peer(Packet{Type: TypeRequest, ID: 98, Session: 1})
		p.respond(p.wantFrame(packet.TypeRequest, "the request is passed"), packet.Response{Code: 1, Text: strings.Repeat("<", 2<<20)})
		assert.Contains(t, p.want(TypeResponse, "a response with a long error is replaced").Error, "too large")
	})
	t.Run("what the Conn does not accept", func(t *testing.T) {
		p := newPair(t, geminio.RecipientSide, func(c *Config) { c.Offer.MaxMessage = 1 << 10 })
		data := make([]byte, 2<<10)
		p.peer(Packet{Type: TypeRequest, ID: 1, Session: 1, Content: Content{Value: data}})
		assert.Contains(t, p.want(TypeResponse, "a request that is too large is answered").Error, "too large")
		p.peer(Packet{Type: TypeMessage, ID: 1, Session: 1, Content: Content{Value: data}})
		assert.Contains(t, p.want(TypeMessageAck, "a message that is too large is answered").Error, "too large")
		p.call(1, packet.Request{})
		q := p.want(TypeRequest, "the request of the Conn is sent")
		p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: 1, Content: Content{Value: data}})
		assert.Equal(t, uint32(geminio.CodeTooLarge), p.wantFrame(packet.TypeResponse, "its response").resp.Code)
		p.peer(Packet{Type: TypeRegister, ID: 1, Session: 1, Raw: make([]byte, 70<<10)})
		assert.Contains(t, p.want(TypeRegisterAck, "a name that is too long is answered").Error, "too large")
		p.wantQuiet("the Conn gets no frame")

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
				p.wantQuiet("nothing is passed after a violation")
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
			q := p.want(TypeSession, "the Conn opens a stream")
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
			p.want(TypeDismissAck, "a Dismiss is always answered")
			p.wantNone("packets of an unknown session are not answered")
			p.wantQuiet("the Conn gets no frame")
			assert.NoError(t, p.tr.Err())
		})
	})
}
