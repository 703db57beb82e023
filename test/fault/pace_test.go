package fault

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// Raw bytes wait for Pongs on a long path. Pings that are sent while the log of the session is
// full count: nothing waits for a heartbeat, which is an hour away.
func TestPaceWithAFullLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 16 << 20
		link := kit.NewLink(kit.Path{Rate: 5_000_000, RTT: 40 * time.Millisecond, Queue: 4 << 20})
		co, so := clientBeat(time.Hour), serverBeat(time.Hour)
		co.SetResumeBuffer(64 << 10)
		so.SetResumeBuffer(64 << 10)
		p, err := withResumption.join(t, func() (net.Conn, net.Conn, error) {
			near, far := link.Pipe()
			return near, far, nil
		}, co, so)
		require.NoError(t, err)
		defer p.Close()
		s, other := rig.OpenStream(t, p.Client, p.Server)
		begin := time.Now()
		data := kit.BytesOf(size, 1)
		moves := moveBothWays(t, s, other, data)
		moves.Wait()
		assert.Less(t, time.Since(begin), time.Minute)
	})
}

// Messages fill a path all the time. The raw bytes of another stream have a share of it.
func TestMessagesDoNotStopRawBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := kit.NewLink(kit.Path{Rate: 10_000_000, RTT: 40 * time.Millisecond, Queue: 4 << 20})
		p, err := noResumption.join(t, func() (net.Conn, net.Conn, error) {
			near, far := link.Pipe()
			return near, far, nil
		}, clientBeat(time.Hour), serverBeat(time.Hour))
		require.NoError(t, err)
		defer p.Close()
		s, other := rig.OpenStream(t, p.Client, p.Server)
		go func() {
			for _, err := s.Write(make([]byte, 64<<10)); err == nil; {
				_, err = s.Write(make([]byte, 64<<10))
			}
		}()
		for range 4 {
			from, to := rig.OpenStream(t, p.Client, p.Server)
			once := options.NewMessage()
			once.SetCnss(options.CnssAtMostOnce)
			go func() {
				for from.Publish(context.Background(), from.NewMessage(make([]byte, 3000), once)) == nil {
				}
			}()
			go func() {
				for {
					msg, err := to.Receive(context.Background())
					if err != nil {
						return
					}
					msg.Done()
				}
			}()
		}
		require.NoError(t, other.SetReadDeadline(time.Now().Add(30*time.Second)))
		n, err := io.Copy(io.Discard, other)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Greater(t, n, int64(3_000_000), "of 300,000,000 bytes")
	})
}
