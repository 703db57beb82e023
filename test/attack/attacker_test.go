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

// attacker is a client that has completed the handshake and sends arbitrary frames.
type attacker struct {
	t      testing.TB
	nc     net.Conn
	end    served // the End of the server
	own    packet.Settings
	theirs packet.Settings // the settings that the server offered

	mu            sync.Mutex
	cond          *sync.Cond // with mu: signals that a frame was read
	counts        map[packet.Type]int
	last          map[packet.Type][]byte // the last payload of each type
	handlerCredit int                    // the credit for requests
	closeReason   *packet.Reason
	readEnded     bool  // reading has ended
	readErr       error // the error that ended reading
	readDone      chan struct{}

	// Set before startReading.
	onCredit func(stream uint64, c packet.Credit)  // called with mu held
	onAccept func(stream uint64, w packet.Windows) // called with mu held
	pongs    bool                                  // answer pings
}

// offer returns the settings of an attacker, which allow the server everything.
func offer() packet.Settings {
	return packet.Settings{
		MaxFrame: 1 << 20, MaxMessage: 1 << 30, MaxStreams: 1 << 20,
		Raw: 1 << 30, Messages: 1 << 30, Handlers: 1 << 30, Large: 1<<30 + packet.MinLarge,
	}
}

func hello(t testing.TB, c packet.Conn) []byte {
	t.Helper()
	b, err := packet.AppendConn(nil, c)
	require.NoError(t, err)
	return b
}

// attack returns an attacker that has completed the handshake and does not read yet.
func (s *targetServer) attack() *attacker { return s.attackWith(nil) }

// attackWith is attack with a meta.
func (s *targetServer) attackWith(meta []byte) *attacker { return s.attackOffering(offer(), meta) }

// attackOffering is attack with the settings own and a meta.
func (s *targetServer) attackOffering(own packet.Settings, meta []byte) *attacker {
	s.t.Helper()
	nc, err := s.dial()
	require.NoError(s.t, err)
	return s.attackOver(nc, own, packet.Conn{Meta: meta})
}

// attackOver is attack over the connection nc with the settings own. The handshake packet is
// said, with its packet id and settings replaced.
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

// startReading reads the frames of the server in a goroutine until the connection ends.
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
			go a.send(packet.AppendPing(nil, packet.TypePong, v)) // a Write in this goroutine could wait for the server, and the server for this goroutine
		}
	case packet.TypeClose:
		n, err := packet.ParseReason(h.Type, payload)
		if err != nil {
			return err
		}
		a.closeReason = &n
	case packet.TypeAccept:
		w, err := packet.ParseAccept(payload)
		if err != nil {
			return err
		}
		if a.onAccept != nil {
			a.onAccept(h.Stream, w)
		}
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

// send sends bytes. It returns an error if the connection has ended.
func (a *attacker) send(b []byte) error {
	a.nc.SetWriteDeadline(time.Now().Add(forever))
	_, err := a.nc.Write(b)
	return err
}

// mustSend sends bytes that the server must read.
func (a *attacker) mustSend(b []byte, reason string) {
	a.t.Helper()
	require.NoError(a.t, a.send(b), reason)
}

// flood sends the bytes that next appends, n times and in large pieces. It stops when the
// connection ends or the server has sent Close, and returns the number of calls of next whose
// bytes were sent.
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

// over reports whether the End of the server has ended.
func (a *attacker) over() bool {
	select {
	case <-a.end.Done():
		return true
	default:
		return false
	}
}

// until waits until f returns true for the frames read so far, and returns true. It returns
// false if reading ends before, or after forever.
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

// count returns the number of frames of a type that were read.
func (a *attacker) count(typ packet.Type) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[typ]
}

// wait waits until n frames of a type were read, and returns the payload of the last one.
func (a *attacker) wait(typ packet.Type, n int, reason string) []byte {
	a.t.Helper()
	ok := a.until(func() bool { return a.counts[typ] >= n })
	a.mu.Lock()
	defer a.mu.Unlock()
	require.True(a.t, ok, "%s: read %d frames of type %v, want %d; Close frame %+v, error %v", reason, a.counts[typ], typ, n, a.closeReason, a.readErr)
	return a.last[typ]
}

// wantViolation requires that the server ends the connection with CodeProtocol and a text
// that contains all of texts.
func (a *attacker) wantViolation(reason string, texts ...string) {
	a.t.Helper()
	closed := a.until(func() bool { return a.closeReason != nil })
	a.mu.Lock()
	got, err := a.closeReason, a.readErr
	a.mu.Unlock()
	require.True(a.t, closed, "%s: the server sent no Close frame; error %v", reason, err)
	require.Equal(a.t, geminio.CodeProtocol, geminio.Code(got.Code), "%s: the code of the Close frame; text %q", reason, got.Text)
	for _, text := range texts {
		require.Contains(a.t, got.Text, text, reason)
	}
	a.wantEnd(reason)
	require.ErrorIs(a.t, a.end.Cause(), geminio.ErrProtocol, reason)
}

// wantEnd requires that the End of the server ends.
func (a *attacker) wantEnd(reason string) {
	a.t.Helper()
	timer := time.NewTimer(forever)
	defer timer.Stop()
	select {
	case <-a.end.Done():
	case <-timer.C:
		a.t.Fatalf("%s: the End of the server did not end within %v", reason, forever)
	}
}

// leave closes the connection without a Close frame.
func (a *attacker) leave() { a.nc.Close() }

// request appends a request in one frame to b.
func request(b []byte, stream, call uint64, method string, data ...byte) []byte {
	r := packet.Request{Method: []byte(method)}
	return frame(b, packet.TypeRequest, 0, stream, call, append(r.Append(nil), data...))
}

// message appends a message in one frame to b.
func message(b []byte, stream, call uint64, data ...byte) []byte {
	m := packet.Message{Cnss: 2, Topic: []byte("t")}
	return frame(b, packet.TypeMessage, 0, stream, call, append(m.Append(nil), data...))
}

// frame appends a packet with the body to b, or its first fragment if total is not 0.
func frame(b []byte, typ packet.Type, total uint32, stream, seq uint64, body []byte) []byte {
	var flags packet.Flags
	if total > 0 {
		flags = packet.FlagMore
	}
	return kit.AppendFragment(b, typ, flags, stream, packet.FragmentHeader{Seq: seq, Total: total}, body)
}

// data appends a frame of raw bytes to b.
func data(b []byte, flags packet.Flags, stream uint64, p []byte) []byte {
	return kit.AppendFrame(b, packet.Header{Type: packet.TypeData, Flags: flags, Stream: stream}, p)
}

// open appends the frame that opens a stream to b.
func open(b []byte, stream uint64, meta []byte) []byte {
	return packet.AppendOpen(b, stream, packet.Open{Windows: packet.Windows{Raw: 1 << 30, Messages: 1 << 30}, Meta: meta})
}

// number returns the id of the i-th stream that a client opens, from 0.
func number(i int) uint64 { return uint64(2*i + 3) }
