package conn

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// mutedConn is a net.Conn that discards bytes that are written after mute.
type mutedConn struct {
	net.Conn
	muted atomic.Bool
}

func (m *mutedConn) Write(p []byte) (int, error) {
	if m.muted.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

// slowReplay resumes a session over a link that carries 128 KiB in a second, after the server
// has lost 2 MiB. The replay takes 16 seconds.
func slowReplay(t *testing.T, test func(p *sessionPair, c, s *fakeHandler)) {
	synctest.Test(t, func(t *testing.T) {
		var lossy *mutedConn
		p := newSessionPair(t, func() (net.Conn, net.Conn) {
			near, far := net.Pipe()
			lossy = &mutedConn{Conn: far}
			return near, lossy
		})
		for _, cfg := range []*Config{p.server, p.client} {
			cfg.Heartbeat = 2 * time.Second
			cfg.Resume.Log = 4 << 20
		}
		var c, s *fakeHandler
		p.start(
			func(conn *Conn) FrameHandler { c = &fakeHandler{c: conn}; return c },
			func(conn *Conn) FrameHandler { s = &fakeHandler{c: conn}; return s },
		)
		lossy.muted.Store(true)
		for i := range 128 {
			s.give(valueFrame(byte(i), 16<<10))
		}
		p.s.Kick()
		synctest.Wait()
		p.cut(0)
		p.wire = func() (net.Conn, net.Conn) { return kit.SlowPipe(128 << 10) }
		_, err, _ := p.resume()
		require.Equal(t, ErrResumed, err)
		test(p, c, s)
		time.Sleep(3 * time.Second) // until the last bytes are reported
		require.Equal(t, 128, len(c.seen().got))
		for i, f := range c.seen().got {
			require.Equal(t, byte(i), f.payload[0])
		}
		assert.EqualValues(t, 1, p.c.SessionStats().Interruptions)
		assert.EqualValues(t, 1, p.s.SessionStats().Interruptions)
		assert.GreaterOrEqual(t, p.s.SessionStats().Replayed, uint64(2<<20))
		assert.Zero(t, p.s.SessionStats().Logged)
		p.finish()
		time.Sleep(time.Second) // until a Write has returned
	})
}

// A side that replays a large log reports what it receives, and answers Pings. Otherwise its peer
// would take the link for dead.
func TestReplayLeavesRoomForLinkFrames(t *testing.T) {
	slowReplay(t, func(p *sessionPair, c, s *fakeHandler) {
		for range 8 {
			c.give(dataFrame(1))
			p.c.Kick()
			time.Sleep(2 * time.Second)
		}
		assert.NotEmpty(t, s.seen().got)
		assert.Less(t, p.c.SessionStats().Logged, uint64(100), "the server has reported most of it")
		assert.Less(t, len(c.seen().got), 128, "the replay is not over")
		assert.NotZero(t, p.c.RTT(), "the server has answered a Ping")
		time.Sleep(10 * time.Second)
	})
}

// The answer to a GoAway is behind the replay: its receipt tells that everything has arrived that
// was begun before.
func TestReplayPrecedesTheAnswerToGoAway(t *testing.T) {
	slowReplay(t, func(p *sessionPair, c, s *fakeHandler) {
		p.c.GoAway(packet.Reason{Text: "the client's"})
		for s.seen().away == nil {
			time.Sleep(100 * time.Millisecond)
		}
		p.s.AckGoAway()
		for c.seen().goAwayAcks == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		assert.Equal(t, 128, len(c.seen().got))
	})
	slowReplay(t, func(p *sessionPair, c, s *fakeHandler) {
		p.s.GoAway(packet.Reason{Text: "the server's"})
		for s.seen().goAwayAcks == 0 {
			time.Sleep(100 * time.Millisecond)
			if c.seen().away != nil {
				p.c.AckGoAway()
			}
		}
		assert.Equal(t, 128, len(c.seen().got))
		assert.Len(t, c.seen().away, 1)
	})
}
