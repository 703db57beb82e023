package conn

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
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// peer is the other side of a Conn under test. It sends raw bytes. Only the goroutine of the
// test may call its methods.
type peer struct {
	t  testing.TB
	nc net.Conn
}

// patience is the time for which a peer waits for bytes.
const patience = time.Hour

func (p *peer) write(b []byte, reason string) {
	p.t.Helper()
	p.nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.nc.Write(b)
	require.NoError(p.t, err, reason)
}

// writeBytes writes b byte by byte.
func (p *peer) writeBytes(b []byte, reason string) {
	p.t.Helper()
	for i := range b {
		p.write(b[i:i+1], reason)
	}
}

func frameOf(h packet.Header, payload ...byte) []byte {
	return kit.AppendFrame(nil, h, payload)
}

func (p *peer) writePing(value uint64, reason string) {
	p.t.Helper()
	p.write(packet.AppendPing(nil, packet.TypePing, value), reason)
}

func (p *peer) writePong(value uint64, reason string) {
	p.t.Helper()
	p.write(packet.AppendPing(nil, packet.TypePong, value), reason)
}

func (p *peer) writeClose(n packet.Reason, reason string) {
	p.t.Helper()
	p.write(packet.AppendReason(nil, packet.TypeClose, 0, n), reason)
}

func (p *peer) want(typ packet.Type, reason string) []byte {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(patience))
	h, payload, err := kit.ReadFrame(p.nc, kit.AnyFrame)
	require.NoError(p.t, err, reason)
	require.Equal(p.t, typ.String(), h.Type.String(), reason)
	return payload
}

func (p *peer) wantPing(typ packet.Type, reason string) uint64 {
	p.t.Helper()
	v, err := packet.ParsePing(typ, p.want(typ, reason))
	require.NoError(p.t, err, reason)
	return v
}

func (p *peer) wantReason(typ packet.Type, code geminio.Code, reason string) packet.Reason {
	p.t.Helper()
	n, err := packet.ParseReason(typ, p.want(typ, reason))
	require.NoError(p.t, err, reason)
	require.Equal(p.t, code, geminio.Code(n.Code), reason)
	return n
}

// wantEnd requires the end of the transport before any further byte.
func (p *peer) wantEnd(reason string) {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(patience))
	n, err := p.nc.Read(make([]byte, 1))
	require.Zero(p.t, n, reason)
	require.ErrorIs(p.t, err, io.EOF, reason)
}

// wantIdle requires that no byte arrives for d. It must be called in a bubble.
func (p *peer) wantIdle(d time.Duration, reason string) {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(d))
	n, err := p.nc.Read(make([]byte, 1))
	require.Zero(p.t, n, reason)
	var timeout net.Error
	require.True(p.t, errors.As(err, &timeout) && timeout.Timeout(), "%s: Read = %v, want a timeout", reason, err)
}

// drain reads and discards all bytes until the end, in a goroutine.
func (p *peer) drain() {
	p.nc.SetReadDeadline(time.Time{})
	go io.Copy(io.Discard, p.nc)
}

// testConfig returns a configuration, which the test may change.
func testConfig() *Config {
	return &Config{
		Base: &Base{
			Clock: clock.Runtime(), Log: slog.New(slog.DiscardHandler),
			HandshakeTimeout: 10 * time.Second, Heartbeat: 20 * time.Second, Linger: 5 * time.Second,
			Settings: packet.Settings{
				MaxFrame: packet.DefaultMaxFrame, MaxMessage: 1 << 20, MaxStreams: 8,
				Raw: 16 << 10, Messages: 16 << 10, Handlers: 8, Large: 2 << 20,
			},
		},
		Admit: func(_ *Conn, _, wanted uint64, _ <-chan struct{}) (uint64, error) {
			if wanted == 0 {
				return 42, nil
			}
			return wanted, nil
		},
	}
}

func helloBytes(t testing.TB, c packet.Conn) []byte {
	t.Helper()
	b, err := packet.AppendConn(nil, c)
	require.NoError(t, err)
	return b
}

func ackBytes(t testing.TB, a packet.ConnAck) []byte {
	t.Helper()
	b, err := packet.AppendConnAck(nil, a)
	require.NoError(t, err)
	return b
}

// result has the results of Client or Server.
type result struct {
	c   *Conn
	err error
}

// shake starts a handshake on nc in a goroutine.
func shake(side geminio.Side, nc net.Conn, cfg *Config) <-chan result {
	ch := make(chan result, 1)
	go func() {
		do := Server
		if side == geminio.InitiatorSide {
			do = Client
		}
		c, err := do(nc, cfg)
		ch <- result{c, err}
	}()
	return ch
}

// startOn returns a Conn of the side on nc that has completed the handshake with p and reads.
func startOn(t testing.TB, side geminio.Side, nc net.Conn, p *peer, cfg *Config) (*Conn, *fakeHandler) {
	t.Helper()
	ch := shake(side, nc, cfg)
	if side == geminio.RecipientSide {
		p.write(helloBytes(t, packet.Conn{PacketID: 1, Settings: &cfg.Settings}), "hello")
	}
	if side == geminio.RecipientSide {
		_, err := kit.ReadConnAck(p.nc)
		require.NoError(t, err)
	} else {
		hello, err := kit.ReadConn(p.nc)
		require.NoError(t, err)
		p.write(ackBytes(t, packet.ConnAck{PacketID: hello.PacketID, ClientID: 7, Settings: &cfg.Settings}), "ack")
	}
	r := <-ch
	require.NoError(t, r.err)
	u := &fakeHandler{c: r.c, over: make(chan struct{})}
	r.c.Start(u)
	go u.run()
	return r.c, u
}

// onPipe runs a test of a Conn of the server in a bubble, over net.Pipe.
func onPipe(t *testing.T, cfg *Config, test func(c *Conn, u *fakeHandler, p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		p := &peer{t, far}
		c, u := startOn(t, geminio.RecipientSide, near, p, cfg)
		defer func() { // even if the test has failed
			far.Close()
			<-u.over
			<-c.Done()
			synctest.Wait()
		}()
		test(c, u, p)
	})
}

// frame is a frame that a fakeHandler got.
type frame struct {
	packet.Header
	payload []byte
}

// fakeHandler is a FrameHandler that sends the frames of the test and records its calls.
type fakeHandler struct {
	c    *Conn
	over chan struct{} // closed when reading has ended

	mu          sync.Mutex
	ready       [][]byte    // the frames that AppendFrames appends
	from        BufferOwner // if not nil: the owner that lends the frames
	notReceived []uint64    // numbers of packets
	got         []frame
	readErr     error
	pings       int
	away        []packet.Reason
	ends        int
	goAwayAcks  int
	cause       error
	deliver     bool
}

// readAll reads until the connection has ended.
func readAll(c *Conn) {
	for c.Run() {
	}
}

func (u *fakeHandler) run() {
	defer close(u.over)
	readAll(u.c)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.readErr = u.c.Cause()
}

func (u *fakeHandler) Frame(h packet.Header) error {
	p, err := u.c.Payload()
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.got = append(u.got, frame{h, slices.Clone(p)})
	return nil
}

// give appends frames to those that are ready.
func (u *fakeHandler) give(frames ...[]byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ready = append(u.ready, frames...)
}

// seen returns a copy of the recorded calls.
func (u *fakeHandler) seen() (s struct {
	got        []frame
	readErr    error
	pings      int
	away       []packet.Reason
	ends       int
	goAwayAcks int
	cause      error
	deliver    bool
}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.got, s.readErr, s.pings, s.away = slices.Clone(u.got), u.readErr, u.pings, slices.Clone(u.away)
	s.ends, s.cause, s.deliver, s.goAwayAcks = u.ends, u.cause, u.deliver, u.goAwayAcks
	return s
}

func (u *fakeHandler) AppendFrames(b *Batch) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for b.Room() > 0 && len(u.ready) > 0 {
		if u.from != nil {
			b.Lend(u.ready[0], u.from)
		} else {
			b.Buf = append(b.Buf, u.ready[0]...)
		}
		u.ready = u.ready[1:]
	}
	return len(u.ready) > 0
}

func (u *fakeHandler) Idle() {}

func (u *fakeHandler) OnPong(uint64) {}
func (u *fakeHandler) OnLink()       {}
func (u *fakeHandler) OnHeartbeat()  {}

func (u *fakeHandler) NotReceived(h packet.Header, number uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.notReceived = append(u.notReceived, number)
}

func (u *fakeHandler) OnGoAwayAcked() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.goAwayAcks++
}

func (u *fakeHandler) OnPing() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pings++
}

func (u *fakeHandler) GoAway(n packet.Reason) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.away = append(u.away, n)
}

func (u *fakeHandler) End(cause error, deliver bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ends++
	u.cause, u.deliver = cause, deliver
	if !deliver {
		u.ready = nil
	}
}
