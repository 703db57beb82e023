package wire1

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// program is a sequence of bytes that selects operations of the Conn and the peer.
type program struct {
	*pair
	code     []byte
	sessions []uint64 // sessions that the peer knows
	ids      []uint64 // ids of packets that the peer has received
	asked    []event  // requests and registrations that the Conn has not answered
	messages []event  // messages that the Conn has not answered
	unread   []event  // events that the Conn has not released
	calls    []uint64 // calls of the Conn that it may cancel
	cut      bool
}

// next returns a number below n.
func (g *program) next(n int) int {
	if len(g.code) == 0 {
		return 0
	}
	b := g.code[0]
	g.code = g.code[1:]
	return int(b) % n
}

func pick[T any](g *program, of []T, other T) T {
	if len(of) == 0 {
		return other
	}
	return of[g.next(len(of))]
}

// bytes returns some bytes.
func (g *program) bytes() []byte {
	return make([]byte, []int{0, 5, 200, 9000, 100_000}[g.next(5)])
}

// id returns a packet id that may be in use.
func (g *program) id() uint64 {
	switch g.next(4) {
	case 0:
		return uint64(g.next(8))
	case 1:
		return 1<<63 | uint64(g.next(4))
	case 2:
		return pick(g, g.ids, 9)
	}
	return uint64(g.now.Unix())<<32 | uint64(g.next(256))
}

func (g *program) session() uint64 {
	switch g.next(8) {
	case 0:
		return uint64(g.next(4))
	case 1, 2:
		return 1
	}
	return pick(g, g.sessions, 1)
}

func (g *program) stream() *modelStream {
	var open []*modelStream
	for _, s := range g.conn.streams {
		if s.state == modelOpen && !s.ended {
			open = append(open, s)
		}
	}
	slices.SortFunc(open, func(a, b *modelStream) int { return int(a.number) - int(b.number) })
	return open[g.next(len(open))] // the default session is always open
}

// peerDoes sends a packet of the peer.
func (g *program) peerDoes() {
	if !g.tr.Reading() {
		return
	}
	types := []Type{
		TypeSession, TypeSessionAck, TypeDismiss, TypeDismissAck, TypeMessage, TypeMessageAck, TypeStream, TypeStream,
		TypeRequest, TypeRequest, TypeResponse, TypeRequestCancel, TypeRegister, TypeRegisterAck,
	}
	if g.next(64) == 1 { // these may end the connection
		types = []Type{TypeHeartbeat, TypeHeartbeatAck, TypeDisConn, TypeDisConnAck, TypeConn, TypeConnAck}
	}
	q := Packet{Type: types[g.next(len(types))], ID: g.id()}
	l := layouts[q.Type]
	if q.Type == TypeSession || q.Type == TypeSessionAck {
		q.Negotiate = g.id()
	}
	if q.Type == TypeSession && g.conn.side == geminio.InitiatorSide {
		q.Negotiate = 1<<50 + uint64(g.next(64))
		g.sessions = append(g.sessions, q.Negotiate)
	}
	if q.Type == TypeSessionAck {
		q.Session = 1<<51 + uint64(len(g.conn.events))
		g.sessions = append(g.sessions, q.Session)
	}
	if q.Type.ofSession() {
		q.Session = g.session()
	}
	switch l.tail {
	case tailRaw:
		q.Raw = g.bytes()
	case tailContent:
		q.Key, q.Value, q.Custom = []byte("m"), g.bytes(), nil
		if g.next(2) == 1 {
			q.Deadline = g.now.Add(time.Duration(g.next(10)-2) * time.Second)
		}
		fallthrough
	case tailObject:
		if g.next(4) == 1 {
			q.Error = "no"
		}
	}
	if q.Type == TypeRequestCancel {
		q.Kind = int16(g.next(4))
	}
	if g.next(16) == 1 && q.Type >= TypeSession {
		fixed := q.appendFixed(nil)
		g.tr.TooLarge(g.now, Header{Type: q.Type, ID: q.ID, Length: 1 << 30}, fixed)
		g.settle()
		return
	}
	if err := g.peerErr(q); err != nil {
		var bad *packet.Error
		if !errors.As(err, &bad) {
			g.t.Fatal(err)
		}
	}
}

// connDoes performs an allowed operation of the Conn.
func (g *program) connDoes() {
	if g.cut {
		return
	}
	s := g.stream()
	switch g.next(20) {
	case 0:
		if !g.conn.away {
			g.open("p", "m")
		}
	case 1, 2:
		for _, s := range g.conn.streams {
			if s.state == modelOffered {
				if g.next(4) > 0 {
					g.accept(s.number)
				} else {
					g.notice(packet.TypeRefuse, s.number, geminio.CodeLimit, "")
				}
				return
			}
		}
	case 3, 4:
		if n := min(uint64(len(g.bytes())), s.have[packet.ClassRaw]); !s.fin {
			g.data(s.number, 0, string(make([]byte, n)))
		}
	case 5:
		if !s.fin {
			s.fin = true
			g.data(s.number, packet.FlagFin, "")
		}
	case 6:
		if s.number != 1 {
			g.data(s.number, packet.FlagFin|packet.FlagClose, "")
		}
	case 7:
		s.stop = true
		g.notice(packet.TypeStop, s.number, 0, "")
	case 8:
		if s.number != 1 {
			g.notice(packet.TypeReset, s.number, 0, "")
		}
	case 9, 10:
		r := packet.Request{ID: g.id(), Method: []byte("m"), Timeout: time.Duration(g.next(3)) * time.Second}
		g.sends(s, packet.TypeRequest, r.Append(nil))
	case 11:
		m := packet.Message{ID: g.id(), Cnss: uint8(1 + g.next(2)), Topic: []byte("t")}
		g.sends(s, packet.TypeMessage, m.Append(nil))
	case 12:
		g.sends(s, packet.TypeRegister, []byte("m"))
	case 13, 14:
		if len(g.asked) > 0 {
			e := g.asked[0]
			g.asked = g.asked[1:]
			g.answers(e)
		}
	case 15:
		if len(g.messages) > 0 {
			e := g.messages[0]
			g.messages = g.messages[1:]
			if s := g.conn.streams[e.stream]; s.state == modelOpen && !s.ended {
				g.answer(e.stream, packet.TypeAck, e.number, packet.Answer{Code: uint32(g.next(2))})
			}
		}
	case 16:
		if len(g.calls) > 0 {
			n := g.calls[0]
			g.calls = g.calls[1:]
			g.answer(1, packet.TypeCancel, n, packet.Answer{Code: uint32(geminio.CodeCanceled)})
		}
	case 17:
		g.frame(packet.AppendPing(nil, packet.TypePing, 1))
	case 18:
		if g.next(32) == 1 {
			g.conn.away = true
			g.notice(packet.TypeGoAway, 0, geminio.CodeGoingAway, "")
		}
	case 19:
		if g.next(64) == 1 {
			g.cut = true
			g.notice(packet.TypeClose, 0, 0, "")
		}
	}
}

// sends sends a packet of the Conn, or a part of one.
func (g *program) sends(s *modelStream, typ packet.Type, head []byte) {
	if g.conn.away && s.number == 1 {
		return
	}
	var data []byte
	if typ != packet.TypeRegister {
		data = g.bytes()
	}
	g.conn.numbers++
	b := g.conn.send(s, typ, g.conn.numbers, head, data)
	if b == nil {
		return
	}
	if s.number == 1 && typ == packet.TypeRequest {
		g.calls = append(g.calls, g.conn.numbers)
	}
	h, err := packet.ParseHeader(b, g.conn.theirs.MaxFrame)
	if err != nil {
		g.t.Fatal(err)
	}
	if h.Flags == packet.FlagMore && g.next(2) == 1 {
		b = b[:packet.HeaderLen+h.Length]
		if g.next(2) == 1 {
			b = append(b, g.conn.send(s, packet.TypeAbandon, g.conn.numbers, []byte{byte(typ)}, nil)...)
		}
		if n := len(g.calls); n > 0 && g.calls[n-1] == g.conn.numbers {
			g.calls = g.calls[:n-1]
		}
	}
	g.frame(b)
}

// answers answers a request or registration at the Conn.
func (g *program) answers(e event) {
	s := g.conn.streams[e.stream]
	if s.state == modelOpen && !s.ended {
		if e.typ == packet.TypeRegister {
			g.answer(e.stream, packet.TypeRegistered, e.number, packet.Answer{})
		} else {
			r := packet.Response{Code: uint32(g.next(2)), Data: g.bytes()}
			if b := g.conn.send(s, packet.TypeResponse, e.number, r.Append(nil), r.Data); b != nil {
				g.frame(b)
			}
		}
	}
	g.frame(g.conn.release(e))
}

// look processes the new events of the Conn, and sends the answers that the rules demand.
func (g *program) look() {
	for ; g.seen < len(g.conn.events); g.seen++ {
		e := g.conn.events[g.seen]
		switch e.typ {
		case packet.TypeRequest, packet.TypeRegister:
			g.asked = append(g.asked, e)
		case packet.TypeMessage:
			g.messages = append(g.messages, e)
			g.unread = append(g.unread, e)
		case packet.TypeResponse:
			g.unread = append(g.unread, e)
		case packet.TypeData:
			g.unread = append(g.unread, e)
			if s := g.conn.streams[e.stream]; e.flags&packet.FlagClose != 0 && s.state == modelOpen && !g.cut {
				g.data(e.stream, packet.FlagFin|packet.FlagClose, "")
			}
		}
	}
	for _, q := range g.sent {
		g.ids = append(g.ids, q.ID)
		if q.Session != 0 {
			g.sessions = append(g.sessions, q.Session)
		}
		if q.Type == TypeSession && g.conn.side == geminio.RecipientSide {
			g.sessions = append(g.sessions, q.Negotiate)
		}
	}
	g.sent = nil
	g.ids, g.sessions = last(g.ids), last(g.sessions)
}

// last returns the last elements of a list.
func last(of []uint64) []uint64 { return of[max(len(of)-16, 0):] }

// release releases at most n events at the Conn.
func (g *program) releases(n int) {
	for ; n > 0 && len(g.unread) > 0 && !g.cut; n-- {
		e := g.unread[0]
		g.unread = g.unread[1:]
		g.frame(g.conn.release(e))
		g.look()
	}
}

// run runs a program. It checks that the Conn gets valid wire 2, that the peer gets valid wire 1,
// and that the accounts agree.
func run(t testing.TB, code []byte) {
	side := geminio.InitiatorSide
	if len(code) > 0 && code[0]&1 == 1 {
		side = geminio.RecipientSide
	}
	p := newPair(t, side, func(c *Config) {
		c.Budget = 1 << 20
		c.Offer.MaxMessage, c.Offer.Large = 200<<10, 200<<10+packet.MinLarge
	})
	g := &program{pair: p, code: code}
	g.next(2)
	for range 2000 {
		if len(g.code) == 0 || p.tr.Err() != nil {
			break
		}
		switch g.next(8) {
		case 0, 1, 2:
			g.peerDoes()
		case 3, 4, 5:
			g.connDoes()
		case 6:
			g.releases(1 + g.next(8))
		case 7:
			switch g.next(8) {
			case 0, 1:
				g.hold = !g.hold
			case 2, 3:
				p.peerReads(1 + 1000*g.next(256))
			case 4, 5:
				p.tr.Received(p.now)
				p.pass(time.Duration(g.next(100)) * 50 * time.Millisecond)
			case 6:
				if g.next(64) == 1 {
					p.tr.Broken(p.now, errors.New("broken"))
				}
			}
		}
		p.settle()
		g.look()
		p.check()
		if held := p.tr.held; held > 1<<20+120<<10 {
			t.Fatalf("%d bytes are held", held)
		}
	}
	g.hold = false
	p.settle()
	g.look()
	for range 1000 {
		// When everything is taken and answered, nothing may be left.
		g.releases(1 << 20)
		for len(g.asked) > 0 && !g.cut {
			e := g.asked[0]
			g.asked = g.asked[1:]
			g.frame(g.conn.release(e))
		}
		g.look()
		if len(g.unread)+len(g.asked) == 0 || g.cut {
			break
		}
	}
	p.check()
	if p.tr.Err() == nil && p.tr.phase == phaseWorking && p.tr.held != 0 {
		for _, s := range p.tr.streams {
			if s.state != streamOffered && s.holds() {
				t.Fatalf("stream %d in state %d holds %d raw bytes, %d messages, %d requests, %d responses with credit of %v and %v",
					s.number, s.state, s.raw.Len(), len(s.messages), len(s.requests), len(s.responses), s.credit, p.tr.credit)
			}
		}
	}
	p.notice(packet.TypeClose, 0, 0, "")
	p.pass(time.Minute)
	if p.tr.Err() == nil {
		t.Fatal("the program does not end")
	}
}

func FuzzTranslator(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomCode(seed, 100))
	}
	f.Fuzz(func(t *testing.T, code []byte) { run(t, code) })
}

func randomCode(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	code := make([]byte, n)
	for i := range code {
		code[i] = byte(r.Uint32())
	}
	return code
}

// TestRandomPrograms runs random programs that are longer than those of the fuzzer.
func TestRandomPrograms(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(40) {
		code := randomCode(seed+i, 3000)
		run(t, code)
		if t.Failed() {
			t.Fatalf("program %d", seed+i)
		}
	}
}
