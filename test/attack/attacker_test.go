package attack

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// attacker is a peer that has shaken hands and sends what it likes.
type attacker struct {
	t      testing.TB
	nc     net.Conn
	end    served // the server's side
	own    packet.Settings
	theirs packet.Settings // what the server offered

	mu            sync.Mutex
	cond          *sync.Cond // on mu: something was heard
	counts        map[packet.Type]int
	last          map[packet.Type][]byte // the last payload of each type
	handlerCredit int                    // credit for requests
	closeReason   *packet.Reason
	readEnded     bool  // the ear has ended
	readErr       error // why
	readDone      chan struct{}

	// Set before listen.
	onCredit func(stream uint64, c packet.Credit) // called with mu held
	pongs    bool                                 // pings are answered
}

// offer is what an attacker offers: that it can take anything.
func offer() packet.Settings {
	return packet.Settings{
		MaxFrame: 1 << 20, MaxMessage: 1 << 30, MaxStreams: 1 << 20,
		Raw: 1 << 30, Messages: 1 << 30, Handlers: 1 << 30, Large: 1<<30 + packet.MaxHead,
	}
}

func hello(t testing.TB, c packet.Conn) []byte {
	t.Helper()
	b, err := packet.AppendConn(nil, c)
	require.NoError(t, err)
	return b
}

// attack shakes hands with the server. The attacker does not listen yet.
func (s *targetServer) attack() *attacker { return s.attackWith(nil) }

// attackWith is attack with a meta.
func (s *targetServer) attackWith(meta []byte) *attacker { return s.attackOffering(offer(), meta) }

// attackOffering is attack with an offer of the test's, and a meta.
func (s *targetServer) attackOffering(own packet.Settings, meta []byte) *attacker {
	s.t.Helper()
	nc, err := s.dial()
	require.NoError(s.t, err)
	return s.attackOver(nc, own, packet.Conn{Meta: meta})
}

// attackOver is attack over a connection, with an offer of the test's. Of said, what the
// attacker says of itself counts.
func (s *targetServer) attackOver(nc net.Conn, own packet.Settings, said packet.Conn) *attacker {
	s.t.Helper()
	a := &attacker{
		t: s.t, nc: nc, own: own, readDone: make(chan struct{}),
		counts: make(map[packet.Type]int), last: make(map[packet.Type][]byte),
	}
	a.cond = sync.NewCond(&a.mu)
	said.PacketID, said.Settings = 1, &a.own
	require.NoError(s.t, a.send(hello(s.t, said)))
	ack, err := readAck(nc)
	require.NoError(s.t, err)
	require.False(s.t, ack.Refused, ack.Error)
	a.theirs = *ack.Settings
	a.handlerCredit = int(a.theirs.Handlers)
	a.end = s.end(ack.ClientID)
	return a
}

// readAck reads the server's answer to a handshake.
func readAck(nc net.Conn) (packet.ConnAck, error) {
	nc.SetReadDeadline(time.Now().Add(forever))
	defer nc.SetReadDeadline(time.Time{})
	return kit.ReadConnAck(nc)
}

// startReading lets the attacker read what the server sends, until the end.
func (a *attacker) startReading() *attacker {
	go func() {
		defer close(a.readDone)
		var err error
		for err == nil {
			err = a.readOne()
		}
		a.mu.Lock()
		a.readEnded, a.readErr = true, err
		a.cond.Broadcast()
		a.mu.Unlock()
	}()
	return a
}

// readOne reads one frame and records it.
func (a *attacker) readOne() error {
	h, payload, err := kit.ReadFrame(a.nc, a.own.MaxFrame)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[h.Type]++
	a.last[h.Type] = payload
	switch h.Type {
	case packet.TypePing:
		if a.pongs {
			v, err := packet.ParsePing(h.Type, payload)
			if err != nil {
				return err
			}
			go a.send(packet.AppendPing(nil, packet.TypePong, v)) // not before its frames are read
		}
	case packet.TypeClose:
		n, err := packet.ParseReason(h.Type, payload)
		if err != nil {
			return err
		}
		a.closeReason = &n
	case packet.TypeCredit:
		c, err := packet.ParseCredit(payload, h.Stream)
		if err != nil {
			return err
		}
		if c.Class == packet.ClassHandlers {
			a.handlerCredit += int(c.Amount)
		}
		if a.onCredit != nil {
			a.onCredit(h.Stream, c)
		}
	}
	a.cond.Broadcast()
	return nil
}

// send sends bytes. Its error is the end of the connection.
func (a *attacker) send(b []byte) error {
	a.nc.SetWriteDeadline(time.Now().Add(forever))
	_, err := a.nc.Write(b)
	return err
}

// mustSend sends what the server is to take.
func (a *attacker) mustSend(b []byte, reason string) {
	a.t.Helper()
	require.NoError(a.t, a.send(b), reason)
}

// flood sends what next makes, n times, in large pieces, until the connection
// ends or the server says Close. It returns how often.
func (a *attacker) flood(n int, next func(b []byte, i int) []byte) int {
	const piece = 16 << 10
	var b []byte
	for i := range n {
		b = next(b, i)
		if len(b) < piece && i < n-1 {
			continue
		}
		if a.send(b) != nil || a.over() {
			return i
		}
		b = b[:0]
	}
	return n
}

// over tells whether the server has ended the connection, as its application sees
// it.
func (a *attacker) over() bool {
	select {
	case <-a.end.Done():
		return true
	default:
		return false
	}
}

// until waits until f, of what was heard, is true. It returns false if the
// connection ends before, or not within the time in which it must.
func (a *attacker) until(f func() bool) bool {
	late := false
	timer := time.AfterFunc(forever, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		late = true
		a.cond.Broadcast()
	})
	defer timer.Stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	for !f() {
		if a.readEnded || late {
			return false
		}
		a.cond.Wait()
	}
	return true
}

// count tells how many frames of a type were heard.
func (a *attacker) count(typ packet.Type) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[typ]
}

// wait waits until n frames of a type were heard, and returns the last one's
// payload.
func (a *attacker) wait(typ packet.Type, n int, reason string) []byte {
	a.t.Helper()
	ok := a.until(func() bool { return a.counts[typ] >= n })
	a.mu.Lock()
	defer a.mu.Unlock()
	require.True(a.t, ok, "%s: %d %vs heard, want %d; bye %+v, %v", reason, a.counts[typ], typ, n, a.closeReason, a.readErr)
	return a.last[typ]
}

// wantViolation wants that the server ends the connection because a rule was
// broken, and says which.
func (a *attacker) wantViolation(reason string, texts ...string) {
	a.t.Helper()
	said := a.until(func() bool { return a.closeReason != nil })
	a.mu.Lock()
	bye, why := a.closeReason, a.readErr
	a.mu.Unlock()
	require.True(a.t, said, "%s: no close frame, but %v", reason, why)
	require.Equal(a.t, geminio.CodeProtocol, geminio.Code(bye.Code), "%s: %s", reason, bye.Text)
	for _, text := range texts {
		require.Contains(a.t, bye.Text, text, reason)
	}
	a.wantEnd(reason)
	require.ErrorIs(a.t, a.end.Cause(), geminio.ErrProtocol, reason)
}

// wantEnd wants that the server's application is told of the end.
func (a *attacker) wantEnd(reason string) {
	a.t.Helper()
	timer := time.NewTimer(forever)
	defer timer.Stop()
	select {
	case <-a.end.Done():
	case <-timer.C:
		a.t.Fatalf("%s: the server's End goes on", reason)
	}
}

// leave ends the attack without a word.
func (a *attacker) leave() { a.nc.Close() }

// request returns a request in one frame.
func request(b []byte, stream, call uint64, method string, data ...byte) []byte {
	r := packet.Request{Method: []byte(method)}
	return frame(b, packet.TypeRequest, 0, stream, call, append(r.Append(nil), data...))
}

// message returns a message in one frame.
func message(b []byte, stream, call uint64, data ...byte) []byte {
	m := packet.Message{Cnss: 2, Topic: []byte("t")}
	return frame(b, packet.TypeMessage, 0, stream, call, append(m.Append(nil), data...))
}

// frame returns a packet, or the first fragment of one, of which body is the
// beginning.
func frame(b []byte, typ packet.Type, total uint32, stream, seq uint64, body []byte) []byte {
	var flags packet.Flags
	if total > 0 {
		flags = packet.FlagMore
	}
	return kit.AppendFragment(b, typ, flags, stream, packet.FragmentHeader{Seq: seq, Total: total}, body)
}

// data returns a frame of raw bytes.
func data(b []byte, flags packet.Flags, stream uint64, p []byte) []byte {
	return kit.AppendFrame(b, packet.Header{Type: packet.TypeData, Flags: flags, Stream: stream}, p)
}

// open returns the frame that opens a stream.
func open(b []byte, stream uint64, meta []byte) []byte {
	return packet.AppendOpen(b, stream, packet.Open{Windows: packet.Windows{Raw: 1 << 30, Messages: 1 << 30}, Meta: meta})
}

// number returns the id of the i-th stream of a client, from 0.
func number(i int) uint64 { return uint64(2*i + 3) }
