package fault

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// lateConn is a bufferedConn that delivers the bytes of several Writes at once, a millisecond
// after the first one.
type lateConn struct {
	*bufferedConn
	mu      sync.Mutex
	pending []byte
}

func (c *lateConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 {
		time.AfterFunc(time.Millisecond, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.bufferedConn.Write(c.pending)
			c.pending = nil
		})
	}
	c.pending = append(c.pending, p...)
	return len(p), nil
}

// The replay and new frames arrive together with the answer of the handshake, in one read of the
// transport.
func TestReplayArrivesWithTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var near *bufferedConn
		p, err := withResumption.join(t, func() (net.Conn, net.Conn, error) {
			a, b := newBufferedPair(1 << 20)
			near = a
			return &lateConn{bufferedConn: a}, &lateConn{bufferedConn: b}, nil
		}, nil, nil)
		require.NoError(t, err)
		defer p.Close()
		s, other := rig.OpenStream(t, p.Client, p.Server)
		for i := range 20 {
			near.close()
			data := kit.BytesOf(1+i*1000, uint64(i))
			for _, d := range []struct{ from, to geminio.Stream }{{s, other}, {other, s}} {
				wrote := kit.Start(func() error { _, err := d.from.Write(data); return err })
				got := make([]byte, len(data))
				_, err = io.ReadFull(d.to, got)
				require.NoError(t, err)
				require.NoError(t, <-wrote)
				require.True(t, bytes.Equal(data, got))
			}
		}
		assert.EqualValues(t, 20, p.Client.(*client.RetryEnd).Stats().Resumes)
	})
}

// moveBothWays writes data to both ends of a stream, and requires that each end reads it. The
// result waits for that.
func moveBothWays(t *testing.T, a, b geminio.Stream, data []byte) *sync.WaitGroup {
	var moves sync.WaitGroup
	for _, d := range []struct{ from, to geminio.Stream }{{a, b}, {b, a}} {
		moves.Go(func() {
			_, err := d.from.Write(data)
			assert.NoError(t, err)
		})
		moves.Go(func() {
			got := make([]byte, len(data))
			_, err := io.ReadFull(d.to, got)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(data, got))
		})
	}
	return &moves
}

// A slow link is cut while it carries the replay, again and again. Meanwhile the peer reports
// what it has received, so that the next replay begins there, and nothing is lost or comes twice.
func TestReportsRaceTheReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 300 << 10 // takes 30 s
		var near *bufferedConn
		p, err := withResumption.join(t, func() (net.Conn, net.Conn, error) {
			a, b := newBufferedPair(1000)
			a.perByte, b.perByte = 100*time.Microsecond, 100*time.Microsecond
			near = a
			return a, b, nil
		}, nil, nil)
		require.NoError(t, err)
		defer p.Close()
		s, other := rig.OpenStream(t, p.Client, p.Server)
		data := kit.BytesOf(size, 1)
		moves := moveBothWays(t, s, other, data)
		over := make(chan struct{})
		go func() {
			moves.Wait()
			close(over)
		}()
		cuts := 0
		for done := false; !done; cuts++ {
			select {
			case <-over:
				done = true
			case <-time.After(3 * time.Second):
				near.close()
			}
			require.Less(t, cuts, 100, "each link carries some bytes further")
		}
		stats := p.Client.(*client.RetryEnd).Stats()
		t.Logf("%d cuts, %d bytes of %d sent again by the client", cuts, stats.ReplayedBytes, size)
		assert.Greater(t, cuts, 5)
		time.Sleep(kit.Forever) // for Writes on the slow transports, which were closed
	})
}

// Either side may notice the loss of a transport first. The other one learns of it much later,
// when a Write fails, or from the handshake that resumes the session.
func TestEitherSideNoticesTheLossFirst(t *testing.T) {
	for _, first := range []string{"client", "server"} {
		t.Run(first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var near, far *bufferedConn
				p, err := withResumption.join(t, func() (net.Conn, net.Conn, error) {
					near, far = newBufferedPair(64 << 10)
					return near, far, nil
				}, clientBeat(4*time.Second), serverBeat(4*time.Second))
				require.NoError(t, err)
				defer p.Close()
				register(t, p.Server, "echo", rig.Echo)
				register(t, p.Client, "echo", rig.Echo)
				for n := range 5 {
					early, late := near, far
					if first == "server" {
						early, late = far, near
					}
					early.dropWrites() // late does not notice that early closes
					late.dropWrites()
					early.in.close()
					for _, end := range []geminio.End{p.Client, p.Server} {
						_, err := end.Call(context.Background(), "echo", end.NewRequest(nil))
						require.NoError(t, err)
					}
					require.EqualValues(t, n+1, p.Client.(*client.RetryEnd).Stats().Resumes)
				}
			})
		})
	}
}
