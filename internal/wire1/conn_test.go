package wire1

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

func TestStreamOfTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number := p.open("pp", "sm")
		q := p.want(TypeSession, "the Conn opens a stream")
		assert.Equal(t, "pp", q.Peer)
		assert.Equal(t, "sm", string(q.Meta))
		session := uint64(1 << 62)
		if p.conn.side == geminio.RecipientSide {
			assert.Zero(t, q.Flags)
			assert.Equal(t, number, q.Negotiate, "the server uses its number as the session id")
			session = number
		} else {
			assert.EqualValues(t, FlagAcquireSession, q.Flags, "the client asks the server for a session id")
		}
		p.wantQuiet("the peer has not answered")
		p.peer(Packet{Type: TypeSessionAck, ID: q.ID, Negotiate: q.Negotiate, Session: session})
		p.wantFrame(packet.TypeAccept, "the peer has accepted")

		p.data(number, 0, "hello")
		q = p.want(TypeStream, "raw bytes are sent at once")
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
		p.wantNone("the id of the session is not known")
		p.peer(Packet{Type: TypeSessionAck, ID: q.ID, Negotiate: q.Negotiate, Session: max(number, 1<<60)})
		p.want(TypeDismiss, "a session that is no longer wanted is dismissed")
		p.wantQuiet("the Conn has reset the stream")
		assert.Empty(t, p.tr.asked)

		number = p.open("", "")
		q = p.want(TypeSession, "the Conn opens another stream")
		p.notice(packet.TypeReset, number, geminio.CodeCanceled, "")
		p.peer(Packet{Type: TypeSessionAck, ID: q.ID, Error: "no"})
		p.wantNone("a refused session is not dismissed")
		p.wantQuiet("the Conn has reset the stream")
	})
}

func TestDismissByTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.data(number, packet.FlagFin|packet.FlagClose, "last")
		assert.Equal(t, "last", string(p.want(TypeStream, "the written bytes are sent").Raw))
		q := p.want(TypeDismiss, "the session is dismissed")
		assert.Equal(t, session, q.Session)
		assert.Equal(t, packet.FlagFin|packet.FlagClose, p.wantFrame(packet.TypeData, "the answer").flags)
		assert.Len(t, p.tr.streams, 1)

		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("late")})
		p.peer(Packet{Type: TypeRequest, Session: session, ID: 5})
		p.wantQuiet("packets of a dismissed session are discarded")
		p.wantNone("packets of a dismissed session are not answered")
		p.peer(Packet{Type: TypeDismissAck, ID: q.ID, Session: session})
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: session})
		assert.Equal(t, Packet{Type: TypeDismissAck, ID: 99, Session: session}, p.want(TypeDismissAck, "the Dismiss of the peer is answered"))
		p.wantNone("no other packet is sent")
	})
}

func TestReset(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.offered()
		p.notice(packet.TypeReset, number, geminio.CodeApplication, "broken")
		assert.Equal(t, session, p.want(TypeDismiss, "wire 1 has nothing else").Session)
		p.wantQuiet("a Reset is not answered")
		assert.Len(t, p.tr.streams, 1)
		assert.Zero(t, p.tr.peerStreams)
	})
}

func TestHalfClose(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.data(number, packet.FlagFin, "last")
		p.want(TypeStream, "the bytes are sent")
		p.wantNone("wire 1 has no half close")
		p.peer(Packet{Type: TypeStream, Session: session, Raw: []byte("answer")})
		p.wantFrame(packet.TypeData, "the other direction continues")
		p.data(number, packet.FlagFin|packet.FlagClose, "")
		p.want(TypeDismiss, "both directions have ended")
	})
}

func TestStop(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		p.peer(Packet{Type: TypeStream, Session: session, Raw: make([]byte, 1<<20)})
		assert.NotZero(t, p.tr.held)
		p.notice(packet.TypeStop, number, 0, "")
		assert.Zero(t, p.tr.held, "bytes held for a Conn that has sent Stop")
		p.peer(Packet{Type: TypeStream, Session: session, Raw: make([]byte, 1<<20)})
		assert.Zero(t, p.tr.held)
		p.wantNone("wire 1 has no Stop")
		p.data(number, 0, "on")
		p.want(TypeStream, "the other direction continues")
		p.conn.streams[number].stop = true
		p.data(number, packet.FlagFin, "")
		p.want(TypeDismiss, "both directions have ended")
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
		q := p.want(TypeRequest, "the request is sent")
		p.notice(packet.TypeStop, number, 0, "")
		p.data(number, packet.FlagFin, "")
		p.wantNone("a stream with a call is not dismissed")
		p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: session})
		p.wantFrame(packet.TypeResponse, "the response is passed")
	})
}

func TestCallOfTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.opened()
		for stream, session := range map[uint64]uint64{1: 1, number: session} {
			n := p.call(stream, packet.Request{ID: 1 << 50, Timeout: 5 * time.Second, Method: []byte("echo"), Custom: []byte("cu"), Data: []byte("hi")})
			q := p.want(TypeRequest, "the request is sent")
			at := p.now.Add(5 * time.Second)
			assert.Equal(t, Packet{
				Type: TypeRequest, ID: 1 << 50, Session: session,
				Content: Content{Key: []byte("echo"), Value: []byte("hi"), Custom: []byte("cu"), Deadline: q.Deadline, ContextDeadline: q.ContextDeadline},
			}, q, "the packet id is the id of the request")
			assert.True(t, at.Equal(q.Deadline) && at.Equal(q.ContextDeadline))
			p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: session, Content: Content{Key: q.Key, Value: []byte("HI")}})
			e := p.wantFrame(packet.TypeResponse, "the response is passed")
			assert.Equal(t, n, e.number)
			assert.Equal(t, packet.Response{Data: []byte("HI"), Custom: []byte{}}, e.resp)
			p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: session})
			p.wantQuiet("a second response is ignored")
		}
		p.call(1, packet.Request{Method: []byte("nope")})
		q := p.want(TypeRequest, "a request without a timeout is sent")
		assert.True(t, q.Deadline.IsZero() && q.ContextDeadline.IsZero())
		p.peer(Packet{Type: TypeResponse, ID: q.ID, Session: 1, Error: "no such rpc: nope"})
		e := p.wantFrame(packet.TypeResponse, "the response is passed")
		assert.Equal(t, "no such rpc: nope", e.resp.Text)
		assert.Equal(t, uint32(geminio.CodeApplication), e.resp.Code)
	})
}

// Requests may have any ids, also equal ones.
func TestEqualIDs(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		first, second := p.call(1, packet.Request{ID: 7}), p.call(1, packet.Request{ID: 7})
		a, b := p.want(TypeRequest, "the first request is sent"), p.want(TypeRequest, "the second request is sent")
		assert.NotEqual(t, a.ID, b.ID)
		p.peer(Packet{Type: TypeResponse, ID: b.ID, Session: 1})
		assert.Equal(t, second, p.wantFrame(packet.TypeResponse, "of the second").number)
		p.peer(Packet{Type: TypeResponse, ID: a.ID, Session: 1})
		assert.Equal(t, first, p.wantFrame(packet.TypeResponse, "of the first").number)

		first, second = p.publish(1, packet.Message{ID: 7, Cnss: 2}), p.publish(1, packet.Message{ID: 7, Cnss: 2})
		a, b = p.want(TypeMessage, "the first message is sent"), p.want(TypeMessage, "the second message is sent")
		assert.NotEqual(t, a.ID, b.ID)
		p.peer(Packet{Type: TypeMessageAck, ID: b.ID, Session: 1})
		assert.Equal(t, second, p.wantFrame(packet.TypeAck, "of the second").number)
		p.peer(Packet{Type: TypeMessageAck, ID: a.ID, Session: 1})
		assert.Equal(t, first, p.wantFrame(packet.TypeAck, "of the first").number)
		p.publish(1, packet.Message{ID: 0, Cnss: 1})
		assert.NotZero(t, p.want(TypeMessage, "without an id").ID)
	})
}

func TestCancelByTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		canceled := packet.Answer{Code: uint32(geminio.CodeCanceled), Text: "context canceled"}
		n := p.call(1, packet.Request{ID: 7})
		p.want(TypeRequest, "the request is sent")
		p.answer(1, packet.TypeCancel, n, canceled)
		p.wantNone("RequestCancel is not sent to a peer that may not know it")
		p.peer(Packet{Type: TypeResponse, ID: 7, Session: 1})
		p.wantQuiet("the response of a canceled call is ignored")

		p.peer(Packet{Type: TypeRequest, ID: 99, Session: 1})
		p.wantFrame(packet.TypeRequest, "the request of the peer is passed")
		p.peer(Packet{Type: TypeRequestCancel, ID: 99, Session: 1, Kind: KindCanceled})
		p.wantFrame(packet.TypeCancel, "the cancellation is passed")
		for _, c := range []struct {
			code geminio.Code
			kind int16
		}{{geminio.CodeCanceled, KindCanceled}, {geminio.CodeDeadline, KindDeadline}} {
			n := p.call(1, packet.Request{ID: 8})
			p.want(TypeRequest, "the request is sent")
			p.answer(1, packet.TypeCancel, n, packet.Answer{Code: uint32(c.code)})
			assert.Equal(t, Packet{Type: TypeRequestCancel, ID: 8, Session: 1, Kind: c.kind}, p.want(TypeRequestCancel, "now it is sent"))
			p.answer(1, packet.TypeCancel, n, canceled)
			p.wantNone("once")
		}
	})
}

func TestMessageOfTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		m := packet.Message{ID: 1 << 50, Cnss: 2, Topic: []byte("t"), Custom: []byte("cu"), Data: []byte("hello")}
		n := p.publish(1, m)
		assert.Equal(t, Packet{Type: TypeMessage, ID: 1 << 50, Session: 1, Content: Content{
			Value: []byte("hello"), Topic: "t", Custom: []byte("cu"),
		}}, p.want(TypeMessage, "the message is sent"))
		p.peer(Packet{Type: TypeMessageAck, ID: 1 << 50, Session: 1})
		e := p.wantFrame(packet.TypeAck, "the answer is passed")
		assert.Equal(t, n, e.number)
		assert.Zero(t, e.answer)

		p.publish(1, m)
		p.want(TypeMessage, "the message is sent")
		p.peer(Packet{Type: TypeMessageAck, ID: 1 << 50, Session: 1, Error: "disk full"})
		assert.Equal(t, packet.Answer{Code: uint32(geminio.CodeApplication), Text: "disk full"}, p.wantFrame(packet.TypeAck, "the answer is passed").answer)

		m.Cnss = 1
		p.publish(1, m)
		q := p.want(TypeMessage, "an at-most-once message is sent")
		p.peer(Packet{Type: TypeMessageAck, ID: q.ID, Session: 1})
		p.wantQuiet("the answer to an at-most-once message is ignored")
	})
}

func TestCloseByTheConn(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		_, session := p.opened()
		p.data(1, 0, "last")
		p.notice(packet.TypeClose, 0, 0, "")
		p.want(TypeStream, "the written bytes are sent")
		assert.Equal(t, session, p.want(TypeDismiss, "each session is dismissed").Session)
		own := p.want(TypeDismiss, "the default session is dismissed last")
		assert.EqualValues(t, 1, own.Session)
		p.wantNone("the translator waits for the answers of the peer")
		p.peer(Packet{Type: TypeDismissAck, ID: own.ID, Session: 1})
		p.peer(Packet{Type: TypeDismiss, ID: 99, Session: 1})
		p.want(TypeDismissAck, "the Dismiss of the peer is answered")
		d := p.want(TypeDisConn, "DisConn follows the last DismissAck")
		p.wantQuiet("the peer has not answered")
		p.peer(Packet{Type: TypeDisConnAck, ID: d.ID})
		p.wantQuiet("the peer has not answered DisConn")
		p.peer(Packet{Type: TypeDisConn, ID: 100})
		assert.Equal(t, Packet{Type: TypeDisConnAck, ID: 100}, p.want(TypeDisConnAck, "the last packet"))
		p.wantEnd("both sides have disconnected")
	})
}

func TestCloseByTheConnWithoutAnswers(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		p.notice(packet.TypeClose, 0, 0, "")
		p.want(TypeDismiss, "the default session is dismissed")
		p.pass(dismissPause)
		p.want(TypeDisConn, "DisConn is sent although the peer does not answer")
		p.pass(testLinger)
		p.wantEnd("the connection ends although the peer does not answer")
	})
}

// Fragments of different packets of the Conn may alternate. Packets may be abandoned, or end with
// their stream.
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
		p.wantNone("a packet that is not complete is not sent")
		assert.Equal(t, before[packet.ClassLargeRequests], p.tr.given[packet.ClassLargeRequests])
		p.frame(frames(packet.TypeRequest, 4, r.Append(nil))[0])
		p.notice(packet.TypeReset, number, 0, "")
		assert.Empty(t, p.tr.assemblies)
		assert.Equal(t, before[packet.ClassLargeRequests], p.tr.given[packet.ClassLargeRequests])
	})
}
