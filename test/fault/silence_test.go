package fault

import (
	"context"
	"fmt"
	"net"
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

const (
	heartbeat = 20 * time.Second // the default
	linger    = 5 * time.Second  // the default
)

// waiters starts each operation that can block on an End until the End ends. It returns the
// channels of their errors.
func waiters(t *testing.T, end, peer geminio.End) map[string]<-chan error {
	ctx := context.Background()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	register(t, peer, "hang", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		select {
		case <-ctx.Done():
		case <-release:
		}
	})
	unread, _ := rig.OpenStream(t, end, peer)
	all := make(map[string]<-chan error)
	begin := func(name string, f func() error) { all[name] = kit.Start(f) }
	begin("Read", func() error { _, err := end.Read(make([]byte, 1)); return err })
	begin("Write", func() error { _, err := unread.Write(make([]byte, 32<<20)); return err })
	begin("Call", func() error { _, err := end.Call(ctx, "hang", end.NewRequest(nil)); return err })
	begin("Publish", func() error { return end.Publish(ctx, end.NewMessage(nil)) })
	begin("Receive", func() error { _, err := end.Receive(ctx); return err })
	begin("AcceptStream", func() error { _, err := end.AcceptStream(); return err })
	begin("Read of a stream", func() error { _, err := unread.Read(make([]byte, 1)); return err })
	begin("Receive of a stream", func() error { _, err := unread.Receive(ctx); return err })
	synctest.Wait()
	return all
}

// more starts the operations that do not block on a working connection.
func more(end geminio.End, all map[string]<-chan error) {
	all["OpenStream"] = kit.Start(func() error { _, err := end.OpenStream(); return err })
	all["Register"] = kit.Start(func() error { return end.Register(context.Background(), "new", rig.Echo) })
}

// The operations of a RetryEnd that return only when the RetryEnd ends, or when its next
// connection lets them: they do not belong to one connection.
var patient = []string{"Read", "Publish", "Receive", "AcceptStream", "OpenStream", "Register"}

// The network drops all bytes, in both directions or in one, without a reset. A side gives up
// the transport two heartbeats after the last byte that it received. The session ends then or,
// with resumption, after the time for which it is kept. By then every blocked operation has
// returned. ConnOffline is called once at each side. If only one direction works, the side that
// receives nothing gives up, and the other side learns of it.
func TestBlackholeIsFoundWithinTwoHeartbeats(t *testing.T) {
	for _, lost := range []struct {
		name      string
		near, far bool // the sides whose bytes are lost
	}{{"both directions", true, true}, {"from the client", true, false}, {"from the server", false, true}} {
		for _, side := range []string{"client", "server"} {
			t.Run(lost.name+", blocked at the "+side, func(t *testing.T) {
				eachResumption(t, func(t *testing.T, r resumption) {
					l := newObservedPair(t, r, nil, nil)
					end, peer := l.Client, l.Server
					if side == "server" {
						end, peer = peer, end
					}
					all := waiters(t, end, peer)
					l.unplugged.Store(true)
					if lost.near {
						l.near.dropWrites()
					}
					if lost.far {
						l.far.dropWrites()
					}
					silent := time.Now()
					more(end, all)
					waiting := make(map[string]<-chan error)
					if r == withResumption && side == "client" {
						for _, name := range patient {
							waiting[name] = all[name]
							delete(all, name)
						}
					}
					bound := 2*heartbeat + r.later()
					for name, done := range all {
						assert.Error(t, kit.Await(t, bound+time.Millisecond, name, done), name)
						assert.LessOrEqual(t, time.Since(silent), bound, name)
					}
					for _, d := range []*offlineLog{l.clientLog, l.serverLog} {
						at := kit.Await(t, bound+linger, "offline", d.offline)
						assert.LessOrEqual(t, at.Sub(silent), bound+linger)
					}
					time.Sleep(time.Hour)
					assert.Empty(t, l.clientLog.offline, "further ConnOffline calls at the client")
					assert.Empty(t, l.serverLog.offline, "further ConnOffline calls at the server")
					closed := time.Now()
					end.Close()
					for name, done := range waiting {
						assert.Error(t, kit.Await(t, time.Millisecond, name, done), name)
					}
					assert.Zero(t, time.Since(closed), "the time that Close takes without a session")
				})
			})
		}
	}
}

// A transport breaks, and there is no network. With resumption, the bounds are the same without
// the heartbeats. If the network is back in time, no operation notices.
func TestBrokenTransportIsFoundAtOnce(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("blocked at the %s, back %v", side, back), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					co := client.NewEndOptions()
					co.SetRetryBackoff(time.Second, time.Second)
					l := newObservedPair(t, withResumption, co, nil)
					end, peer := l.Client, l.Server
					if side == "server" {
						end, peer = peer, end
					}
					all := waiters(t, end, peer)
					l.unplugged.Store(true)
					l.near.close()
					begin := time.Now()
					if back {
						time.Sleep(keptTime / 2)
						l.unplugged.Store(false)
						time.Sleep(time.Hour)
						for name, done := range all {
							assert.Empty(t, done, name)
						}
						assert.Empty(t, l.clientLog.offline)
						assert.Empty(t, l.serverLog.offline)
						return
					}
					if side == "client" {
						for _, name := range patient {
							delete(all, name)
						}
					}
					for name, done := range all {
						assert.Error(t, kit.Await(t, keptTime+time.Millisecond, name, done), name)
						assert.LessOrEqual(t, time.Since(begin), keptTime, name)
					}
					time.Sleep(time.Hour)
					assert.Len(t, l.clientLog.offline, 1)
					assert.Len(t, l.serverLog.offline, 1)
				})
			})
		}
	}
}

// Two sides with very different heartbeat intervals keep their connection.
func TestHeartbeatsNeedNotAgree(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		l := newObservedPair(t, r, clientBeat(time.Second), serverBeat(time.Hour))
		time.Sleep(3 * time.Hour)
		register(t, l.Client, "m", rig.Echo)
		assert.Empty(t, l.serverLog.offline)
	})
}

// Neither Read nor Write of the transport returns after its Close. Close of the End
// returns all the same within the linger time, and so does every blocked operation.
func TestCloseReturnsThoughTheTransportDoesNot(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		l := newObservedPair(t, r, nil, nil)
		l.near.stuck = make(chan struct{})
		defer close(l.near.stuck)
		all := waiters(t, l.Client, l.Server)
		l.far.dropWrites()
		begin := time.Now()
		closed := kit.Start(l.Client.Close)
		for name, done := range all {
			kit.Await(t, linger+time.Millisecond, name, done)
		}
		assert.Zero(t, time.Since(begin), "the time until the blocked operations returned")
		assert.NoError(t, kit.Await(t, linger+time.Millisecond, "Close", closed))
		assert.LessOrEqual(t, time.Since(begin), linger)
	})
}

// A deadline travels as a duration: the bytes of a request with a timeout are the same at
// any time of day, so clocks that differ by an hour have no effect. The handler's deadline
// counts from the arrival of the request.
func TestDeadlinesTravelAsDurations(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		l := newObservedPair(t, r, nil, nil)
		deadlines := make(chan time.Duration, 2)
		register(t, l.Server, "m", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			at, ok := ctx.Deadline()
			assert.True(t, ok)
			deadlines <- time.Until(at)
		})
		for range 2 {
			req := l.Client.NewRequest(nil)
			req.SetTimeout(5 * time.Second)
			_, err := l.Client.Call(context.Background(), "m", req)
			require.NoError(t, err)
			assert.Equal(t, 5*time.Second, <-deadlines)
			time.Sleep(time.Hour) // the machine sleeps
		}
	})
}

// A machine sleeps for an hour, and its peer ends the connection and the session meanwhile. The
// machine finds this out within two heartbeats after it wakes.
func TestDeadPeerIsFoundAfterSleep(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		l := newObservedPair(t, r, clientBeat(2*time.Hour), nil) // the machine sleeps: it sends no heartbeats and answers none
		s, _ := rig.OpenStream(t, l.Client, l.Server)
		l.near.dropWrites()
		l.far.dropWrites() // a machine that sleeps does not notice the end of the transport
		time.Sleep(time.Hour)
		assert.Len(t, l.serverLog.offline, 1, "ConnOffline calls at the server")
		l.far.close()
		done := kit.Start(func() error { _, err := s.Read(make([]byte, 1)); return err })
		assert.Error(t, kit.Await(t, 2*heartbeat, "read", done))
	})
}

// close closes both ends.
func (w *bufferedConn) close() {
	w.in.close()
	w.out.close()
}

var _ net.Conn = (*bufferedConn)(nil)
