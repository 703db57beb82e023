package multiplexer

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// peer is the other side of a Mux under test. It reads and writes frames. Only the goroutine of
// the test calls its methods. The argument reason of a method says what the test expects; it is
// in the message of a failure.
type peer struct {
	t  testing.TB
	nc net.Conn
	// windows are the windows in the Open and Accept frames of the peer.
	windows packet.Windows
}

// patience bounds the waits of a test. In a synctest bubble they take no real time.
const patience = time.Minute

func (p *peer) write(b []byte, reason string) {
	p.t.Helper()
	p.nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.nc.Write(b)
	require.NoError(p.t, err, reason)
}

func (p *peer) writeFrame(typ packet.Type, flags packet.Flags, stream uint64, payload []byte, reason string) {
	p.t.Helper()
	b := packet.AppendHeader(nil, packet.Header{Type: typ, Flags: flags, Stream: stream, Length: uint32(len(payload))})
	p.write(append(b, payload...), reason)
}

func (p *peer) writeData(stream uint64, flags packet.Flags, n int, reason string) {
	p.t.Helper()
	p.writeFrame(packet.TypeData, flags, stream, make([]byte, n), reason)
}

func (p *peer) writeOpen(stream uint64, reason string) {
	p.t.Helper()
	p.write(packet.AppendOpen(nil, stream, packet.Open{Windows: p.windows, Peer: "name", Meta: []byte("meta")}), reason)
}

func (p *peer) writeCredit(stream uint64, class packet.Class, n uint32, reason string) {
	p.t.Helper()
	p.write(packet.AppendCredit(nil, stream, packet.Credit{Class: class, Amount: n}), reason)
}

func (p *peer) writeReason(typ packet.Type, stream uint64, code geminio.Code, text, reason string) {
	p.t.Helper()
	p.write(packet.AppendReason(nil, typ, stream, packet.Reason{Code: uint32(code), Text: text}), reason)
}

// writePacket writes a packet with a body of n bytes in one frame.
func (p *peer) writePacket(typ packet.Type, stream, seq uint64, n int, reason string) {
	p.t.Helper()
	p.writeFragment(typ, 0, stream, seq, 0, n, reason)
}

// writeFragment writes one fragment of n bytes. total is used only for the first of several
// fragments.
func (p *peer) writeFragment(typ packet.Type, flags packet.Flags, stream, seq uint64, total uint32, n int, reason string) {
	p.t.Helper()
	b := packet.AppendFragmentHeader(nil, packet.FragmentHeader{Seq: seq, Total: total}, flags)
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(seq)
	}
	p.writeFrame(typ, flags, stream, append(b, body...), reason)
}

// next returns the next frame that is not a Ping. It answers Pings.
func (p *peer) next(reason string) (packet.Header, []byte) {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		h, payload, err := kit.ReadFrame(p.nc, kit.AnyFrame)
		require.NoError(p.t, err, reason)
		if h.Type != packet.TypePing {
			return h, payload
		}
		v, err := packet.ParsePing(h.Type, payload)
		require.NoError(p.t, err, reason)
		p.write(packet.AppendPing(nil, packet.TypePong, v), "pong")
	}
}

func (p *peer) want(typ packet.Type, flags packet.Flags, stream uint64, reason string) []byte {
	p.t.Helper()
	h, payload := p.next(reason)
	require.Equal(p.t, packet.Header{Type: typ, Flags: flags, Stream: stream, Length: uint32(len(payload))}, h,
		"%s: %v, not %v", reason, h.Type, typ)
	return payload
}

func (p *peer) wantReason(typ packet.Type, stream uint64, code geminio.Code, reason string) string {
	p.t.Helper()
	n, err := packet.ParseReason(typ, p.want(typ, 0, stream, reason))
	require.NoError(p.t, err, reason)
	require.Equal(p.t, code, geminio.Code(n.Code), "%s: %s", reason, n.Text)
	return n.Text
}

func (p *peer) wantCredit(stream uint64, class packet.Class, reason string) uint32 {
	p.t.Helper()
	c, err := packet.ParseCredit(p.want(packet.TypeCredit, 0, stream, reason), stream)
	require.NoError(p.t, err, reason)
	require.Equal(p.t, class.String(), c.Class.String(), reason)
	return c.Amount
}

// wantOpen reads an Open with the id and accepts it.
func (p *peer) wantOpen(stream uint64, reason string) packet.Open {
	p.t.Helper()
	o, err := packet.ParseOpen(p.want(packet.TypeOpen, 0, stream, reason))
	require.NoError(p.t, err, reason)
	p.write(packet.AppendAccept(nil, stream, p.windows), reason)
	return o
}

// wantPacket reads a packet in one frame and returns its number and body.
func (p *peer) wantPacket(typ packet.Type, stream uint64, reason string) (seq uint64, body []byte) {
	p.t.Helper()
	payload := p.want(typ, 0, stream, reason)
	f, err := packet.ParseFragmentHeader(payload, packet.Header{Type: typ, Length: uint32(len(payload))})
	require.NoError(p.t, err, reason)
	return f.Seq, payload[8:]
}

// wantViolation reads the Close frame of a Mux that reports a violation of the protocol. The
// text of the frame must contain all of texts.
func (p *peer) wantViolation(reason string, texts ...string) {
	p.t.Helper()
	text := p.wantReason(packet.TypeClose, 0, geminio.CodeProtocol, reason)
	for _, want := range texts {
		require.Contains(p.t, text, want, reason)
	}
}

// wantIdle checks that no frame arrives for a second. It is for tests in a synctest bubble.
func (p *peer) wantIdle(reason string) {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(time.Second))
	h, _, err := kit.ReadFrame(p.nc, kit.AnyFrame)
	var timeout net.Error
	require.True(p.t, errors.As(err, &timeout) && timeout.Timeout(), "%s: %v %v", reason, h, err)
}

// setup configures the Mux of a test.
type setup struct {
	side        geminio.Side
	local, peer packet.Settings
	lim         Limits
	linger      time.Duration
}

// testSettings returns the settings of both sides of a test.
func testSettings() packet.Settings {
	return packet.Settings{
		MaxFrame: packet.DefaultMaxFrame, MaxMessage: 1 << 20, MaxStreams: 8,
		Raw: 4 << 10, Messages: 4 << 10, Small: 1920, Handlers: 8, Large: 4 << 20,
	}
}

// newSetup returns a setup with the default values of the tests.
func newSetup() *setup {
	return &setup{
		side: geminio.RecipientSide, local: testSettings(), peer: testSettings(), linger: 5 * time.Second,
		lim: Limits{Backlog: 4, MaxWindow: 1 << 20, Windows: 8 << 20, Spare: 4 << 20, SendQueue: 16 << 10},
	}
}

// config returns the configuration of a Conn that offers w.
func (s *setup) config(w packet.Settings) *conn.Config {
	return &conn.Config{
		Base: &conn.Base{
			Clock: clock.Runtime(), Log: slog.New(slog.DiscardHandler), Settings: w,
			HandshakeTimeout: 10 * time.Second, Heartbeat: time.Hour, Linger: s.linger,
		},
		Admit: func(*conn.Conn, uint64, uint64, <-chan struct{}) (uint64, error) { return 42, nil },
	}
}

// handshake returns the Conns of both ends of a pipe.
func handshake(t testing.TB, client, server net.Conn, clientCfg, serverCfg *conn.Config) (c, s *conn.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		var err error
		c, err = conn.Client(client, clientCfg)
		done <- err
	}()
	s, err := conn.Server(server, serverCfg)
	require.NoError(t, err)
	require.NoError(t, <-done)
	return c, s
}

// start starts a Mux on near, with a peer on far.
func (s *setup) start(t testing.TB, near, far net.Conn) (*Mux, *fakeHandler, *peer) {
	t.Helper()
	var c *conn.Conn
	if s.side == geminio.RecipientSide {
		_, c = handshake(t, far, near, s.config(s.peer), s.config(s.local))
	} else {
		c, _ = handshake(t, near, far, s.config(s.local), s.config(s.peer))
	}
	h := newFakeHandler()
	m := New(c, h, &s.lim)
	h.adopt(m.Main())
	m.Start()
	return m, h, &peer{t: t, nc: far, windows: packet.Windows{Raw: s.peer.Raw, Messages: s.peer.Messages}}
}

// run runs a test of a Mux and a peer in a synctest bubble.
func (s *setup) run(t *testing.T, test func(t *testing.T, m *Mux, h *fakeHandler, p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		m, h, p := s.start(t, near, far)
		defer func() { // runs also if the test has failed
			far.Close()
			<-m.c.Done()
			<-h.ended
			synctest.Wait()
		}()
		test(t, m, h, p)
	})
}

// startPair starts two Muxes on the ends of a connection. The first one is that of the client.
func (s *setup) startPair(t testing.TB, a, b net.Conn) (ms [2]*Mux, hs [2]*fakeHandler) {
	t.Helper()
	client, server := handshake(t, a, b, s.config(s.local), s.config(s.peer))
	for i, c := range []*conn.Conn{client, server} {
		hs[i] = newFakeHandler()
		ms[i] = New(c, hs[i], &s.lim)
		hs[i].adopt(ms[i].Main())
	}
	for _, m := range ms {
		m.Start()
	}
	return ms, hs
}

// stopPair closes both Muxes and waits for their end.
func stopPair(ms [2]*Mux) {
	for _, m := range ms {
		m.Close(io.EOF, packet.Reason{})
	}
	for _, m := range ms {
		<-m.c.Done()
	}
}

// bothTransports runs a test of a pair of Muxes over net.Pipe, in a synctest bubble, and over
// TCP.
func (s *setup) bothTransports(t *testing.T, test func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler)) {
	t.Run("pipe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			ms, hs := s.startPair(t, a, b)
			defer stopPair(ms)
			test(t, ms, hs)
		})
	})
	t.Run("tcp", func(t *testing.T) {
		a, b := kit.TCPPair(t)
		ms, hs := s.startPair(t, a, b)
		defer stopPair(ms)
		test(t, ms, hs)
	})
}

// openPair opens a dialogue from ms[0] to ms[1] and returns both ends.
func openPair(t testing.TB, ms [2]*Mux) (near, far *Dialogue) {
	t.Helper()
	near = ms[0].NewDialogue("", nil, nil)
	require.NoError(t, ms[0].Open(near))
	far, err := ms[1].Accept()
	require.NoError(t, err)
	return near, far
}

// openTo opens a dialogue from m to p.
func openTo(t testing.TB, m *Mux, p *peer) *Dialogue {
	t.Helper()
	m.mu.Lock()
	id := m.streams.nextID
	m.mu.Unlock()
	d := m.NewDialogue("", nil, nil)
	done := make(chan error, 1)
	go func() { done <- m.Open(d) }()
	p.wantOpen(id, "Open sends an Open frame")
	require.NoError(t, <-done)
	return d
}

// openFrom opens a dialogue from p to m.
func openFrom(t testing.TB, m *Mux, p *peer, id uint64) *Dialogue {
	t.Helper()
	p.writeOpen(id, "the peer opens")
	p.want(packet.TypeAccept, 0, id, "the Open is accepted")
	d, err := m.Accept()
	require.NoError(t, err)
	require.Equal(t, id, d.DialogueID())
	return d
}

// got is a packet that a fakeHandler has received.
type got struct {
	d    *Dialogue
	typ  packet.Type
	seq  uint64
	body []byte
}

// fakeHandler is a Handler that records its calls.
type fakeHandler struct {
	ended chan struct{} // closed by End

	mu       sync.Mutex
	opened   []*Dialogue
	accepted []*Dialogue
	packets  []got
	closed   map[*Dialogue]int
	causes   map[*Dialogue]error
	ends     int
	cause    error
	pings    int
	away     []packet.Reason

	onOpened func(*Dialogue) // called in place of Accept(true)
	onPacket func(got) error // called in place of recording the packet
	onIdle   func()          // called by OnIdle if not nil
}

func newFakeHandler() *fakeHandler {
	return &fakeHandler{ended: make(chan struct{}), closed: make(map[*Dialogue]int), causes: make(map[*Dialogue]error)}
}

func (h *fakeHandler) adopt(d *Dialogue) { d.Owner = h }

func (h *fakeHandler) Opened(d *Dialogue) {
	h.adopt(d)
	h.mu.Lock()
	h.opened = append(h.opened, d)
	f := h.onOpened
	h.mu.Unlock()
	if f != nil {
		f(d)
	} else {
		d.Accept(true)
	}
}

func (h *fakeHandler) Accepted(d *Dialogue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accepted = append(h.accepted, d)
}

func (h *fakeHandler) Packet(d *Dialogue, typ packet.Type, seq uint64, body []byte, owned bool) error {
	if !owned {
		body = slices.Clone(body)
	}
	g := got{d, typ, seq, body}
	h.mu.Lock()
	f := h.onPacket
	if f == nil {
		h.packets = append(h.packets, g)
	}
	h.mu.Unlock()
	if f != nil {
		return f(g)
	}
	return nil
}

func (h *fakeHandler) Closed(d *Dialogue, cause error) {
	h.mu.Lock()
	h.closed[d]++
	h.causes[d] = cause
	h.mu.Unlock()
	d.Forget()
}

func (h *fakeHandler) OnIdle() {
	h.mu.Lock()
	f := h.onIdle
	h.mu.Unlock()
	if f != nil {
		f()
	}
}

func (h *fakeHandler) OnGoAwayAcked() {}

func (h *fakeHandler) OnPing() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pings++
}

func (h *fakeHandler) GoAway(n packet.Reason) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = append(h.away, n)
}

func (h *fakeHandler) End(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends++
	h.cause = cause
	close(h.ended)
}

// handle makes h call f for every packet.
func (h *fakeHandler) handle(f func(got) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onPacket = f
}

// got returns the packets that were recorded.
func (h *fakeHandler) got() []got {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.packets)
}

// closings returns the number of calls of Closed for d, and the last cause.
func (h *fakeHandler) closings(d *Dialogue) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed[d], h.causes[d]
}
