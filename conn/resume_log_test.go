package conn

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// numberedHandler is a FrameHandler that sends frames with consecutive numbers in all ways that
// a batch knows, and checks those that arrive.
type numberedHandler struct {
	c      *Conn
	total  uint64 // frames
	size   int    // of their payloads
	lender countingOwner

	mu   sync.Mutex
	sent uint64
	got  uint64
	bad  error
	end  error
	over chan struct{} // closed when all have arrived or the connection has ended
	once sync.Once
}

func (n *numberedHandler) Frame(packet.Header) error {
	p, err := n.c.Payload()
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := binary.BigEndian.Uint64(p); got != n.got && n.bad == nil {
		n.bad = errors.New("a frame is missing, or was sent twice")
	}
	if n.got++; n.got == n.total {
		n.once.Do(func() { close(n.over) })
	}
	return nil
}

func (n *numberedHandler) AppendFrames(b *Batch) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for b.Room() > 0 && n.sent < n.total {
		b.Buf = packet.AppendHeader(b.Buf, packet.Header{Type: packet.TypeData, Stream: 1, Length: uint32(n.size)})
		switch n.sent % 3 {
		case 0:
			b.Buf = binary.BigEndian.AppendUint64(b.Buf, n.sent)
			b.Buf = append(b.Buf, make([]byte, n.size-8)...)
		case 1:
			part := chunk.Get(n.size)
			binary.BigEndian.PutUint64(part.Space(), n.sent)
			part.Wrote(n.size)
			b.AddChunk(part)
		case 2:
			p := make([]byte, n.size)
			binary.BigEndian.PutUint64(p, n.sent)
			b.Lend(p, n)
		}
		n.sent++
	}
	return n.sent < n.total
}

func (n *numberedHandler) Written() { n.lender.Written() }

func (n *numberedHandler) Idle() {}

func (n *numberedHandler) OnPing() {}

func (n *numberedHandler) OnPong(uint64) {}
func (n *numberedHandler) OnLink()       {}
func (n *numberedHandler) OnHeartbeat()  {}

func (n *numberedHandler) GoAway(packet.Reason) {}

func (n *numberedHandler) NotReceived(packet.Header, uint64) {}

func (n *numberedHandler) OnGoAwayAcked() {}

func (n *numberedHandler) End(cause error, _ bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end = cause
	n.once.Do(func() { close(n.over) })
}

// check requires that everything has arrived once.
func (n *numberedHandler) check(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	require.NoError(t, n.bad)
	require.NoError(t, n.end)
	require.Equal(t, n.total, n.got)
}

// startNumbered makes a session whose sides send each other total frames of size bytes.
func startNumbered(t *testing.T, wire func() (client, server net.Conn), total uint64, size int) (p *sessionPair, c, s *numberedHandler) {
	c = &numberedHandler{total: total, size: size, over: make(chan struct{})}
	s = &numberedHandler{total: total, size: size, over: make(chan struct{})}
	p = newSessionPair(t, wire)
	p.start(func(conn *Conn) FrameHandler { c.c = conn; return c }, func(conn *Conn) FrameHandler { s.c = conn; return s })
	p.c.Kick()
	p.s.Kick()
	return p, c, s
}

// Many cuts over TCP lose nothing and repeat nothing, on any way of writing.
func TestCutsOverTCP(t *testing.T) {
	randomCuts(t, func() (client, server net.Conn) { return kit.TCPPair(t) })
}

// The same over TLS, whose connection is closed beneath it.
func TestCutsOverTLS(t *testing.T) {
	randomCuts(t, func() (client, server net.Conn) {
		near, far := kit.TCPPair(t)
		return tls.Client(near, kit.ClientTLS()), tls.Server(far, kit.ServerTLS())
	})
}

// randomCuts sends frames both ways while the links of a session are cut.
func randomCuts(t *testing.T, wire func() (client, server net.Conn)) {
	p, c, s := startNumbered(t, wire, 6000, 5000)
	cuts := 0
	for done := false; !done; {
		select {
		case <-c.over:
			<-s.over
			done = true
		case <-time.After(time.Duration(rand.IntN(4)) * time.Millisecond):
			p.cut(rand.IntN(2))
			_, err, _ := p.resume()
			require.ErrorIs(t, err, ErrResumed)
			cuts++
		case <-time.After(time.Minute):
			t.Fatal("the frames do not arrive")
		}
	}
	c.check(t)
	s.check(t)
	stats := p.c.SessionStats()
	assert.EqualValues(t, cuts, stats.Resumes)
	assert.True(t, stats.Connected)
	p.finish()
}

// A full log slows the sender down, and does nothing else.
func TestMuchThroughASmallLog(t *testing.T) {
	t.Run("large frames", func(t *testing.T) { muchThroughASmallLog(t, 64<<20/16384, 16384) })
	t.Run("small frames", func(t *testing.T) { muchThroughASmallLog(t, 50_000, 16) })
}

func muchThroughASmallLog(t *testing.T, total uint64, size int) {
	wire := func() (client, server net.Conn) { return kit.TCPPair(t) }
	p, c, s := startNumbered(t, wire, total, size)
	for over := false; !over; {
		select {
		case <-c.over:
			<-s.over
			over = true
		case <-time.After(time.Millisecond):
			assert.LessOrEqual(t, p.c.SessionStats().Logged, uint64(MinLog+size+packet.HeaderLen))
		}
	}
	c.check(t)
	s.check(t)
	assert.Zero(t, p.c.SessionStats().Interruptions)
	p.finish()
}

// Both logs are full when the link is cut: the session goes on.
func TestBothLogsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wires := [][2]*kit.CutEnd{}
		wire := func() (net.Conn, net.Conn) {
			limit := kit.NoCut
			if len(wires) == 0 {
				limit = 30_000 // then nothing arrives any more
			}
			a, b := kit.NewCutPipe(kit.CutSilence, limit, limit)
			wires = append(wires, [2]*kit.CutEnd{a, b})
			return a, b
		}
		p, c, s := startNumbered(t, wire, 100, 5000)
		time.Sleep(time.Second)
		assert.GreaterOrEqual(t, p.c.SessionStats().Logged, uint64(MinLog))
		assert.GreaterOrEqual(t, p.s.SessionStats().Logged, uint64(MinLog))
		time.Sleep(time.Minute)
		assert.False(t, p.c.SessionStats().Connected)
		_, err, _ := p.resume()
		require.Equal(t, ErrResumed, err)
		<-c.over
		<-s.over
		c.check(t)
		s.check(t)
		p.finish()
	})
}

// A peer that reads and never acknowledges costs a bounded time.
func TestPeerThatNeverAcknowledges(t *testing.T) {
	quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
		p.s.session.reportTimer.Stop()
		p.s.session.timerSet.Store(true) // never reports
		c.give(dataFrame(1))
		p.c.Kick()
		time.Sleep(2 * time.Minute)
		assert.GreaterOrEqual(t, p.c.SessionStats().Interruptions, uint64(1))
		_, err, _ := p.resume() // reports
		require.Equal(t, ErrResumed, err)
		assert.Zero(t, p.c.SessionStats().Logged)
	})
}

// A report of bytes that were not sent is a violation.
func TestImpossibleReport(t *testing.T) {
	quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
		synctest.Wait()
		p.s.session.position.Store(77)
		p.s.session.reportDue.Store(true)
		p.s.Kick()
		time.Sleep(10 * time.Second)
		assert.ErrorIs(t, p.c.Cause(), geminio.ErrProtocol)
	})
}

// Without the feature, a report is a violation.
func TestReportWithoutTheFeature(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		p.write(packet.AppendPing(nil, packet.TypeReceived, 0), "a report")
		p.wantReason(packet.TypeClose, geminio.CodeProtocol, "the feature is not in use")
	})
}

// received returns how many frames have arrived.
func (n *numberedHandler) received() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.got
}

// A lender that reclaims its memory while a batch goes to the log may use it at once: the log
// has the bytes that were lent.
func TestReclaimWhileLogging(t *testing.T) {
	const size = 50_000
	lent, want := make([]byte, size), bytes.Repeat([]byte{7}, size)
	for range 200 {
		c := &Conn{session: &session{sent: 1, bound: 2 * size}}
		copy(lent, want)
		lender := &countingOwner{}
		b := newBatch(true)
		b.Lend(lent, lender)
		c.countSent(b, 0)
		logged := make(chan struct{})
		go func() {
			defer close(logged)
			c.logBatch(b)
		}()
		require.Equal(t, 1, b.reclaim(lender))
		clear(lent)
		<-logged
		var got []byte
		for c.session.log.Len() > 0 {
			head := c.session.log.Head()
			got = append(got, head.Bytes()...)
			c.session.log.Took(head.Len())
		}
		require.True(t, bytes.Equal(want, got), "the log has other bytes than those that were lent")
		b.free()
	}
}
