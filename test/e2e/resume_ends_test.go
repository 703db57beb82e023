package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// restart starts the server anew, in place of the one that was there.
func (f *resumeTest) restart() {
	old := f.l
	f.listen()
	go old.Close()
	f.mend()
}

// refuseSome is a delegate of the client that refuses connections by their number.
type refuseSome struct {
	*delegate.UnimplementedDelegate
	refuse []int

	mu     sync.Mutex
	online int
}

func (r *refuseSome) ConnOnline(delegate.ConnDescriber) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.online++; slices.Contains(r.refuse, r.online) {
		return errors.New("not this one")
	}
	return nil
}

// A connection that the client's ConnOnline refuses is not resumed, and neither side keeps its
// session.
func TestRefusedConnectionIsNotResumed(t *testing.T) {
	co := client.NewEndOptions()
	d := &refuseSome{refuse: []int{2}}
	co.SetDelegate(d)
	withSession(t, co, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		f.restart()
		time.Sleep(20 * time.Second)
		stats := f.c.Stats()
		assert.True(t, stats.Connected)
		assert.Zero(t, stats.Resumes)
		d.mu.Lock()
		assert.Equal(t, 3, d.online, "the third connection is approved")
		d.mu.Unlock()
		assert.Equal(t, []string{"online", "offline", "online"}, lastOf(f.told.take(), 3))
		assert.Zero(t, f.serverStats().Interrupted)
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		co := client.NewEndOptions()
		co.SetDelegate(&refuseSome{refuse: []int{1}})
		f.told.take()
		_, err := client.NewRetryEndWithDialer(f.dial, co)
		assert.ErrorContains(t, err, "not this one")
		assert.Equal(t, []string{"online", "offline"}, f.told.take())
		assert.Zero(t, f.serverStats().Interrupted)
	})
}

// Close of an interrupted End dials to deliver the rest. A server that was started anew has no
// session to deliver to: it refuses the client, and its callbacks are not told of a connection.
func TestCloseAfterTheServerWasStartedAnew(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		near, err := f.c.OpenStream()
		require.NoError(t, err)
		f.cut(true)
		_, err = near.Write([]byte("the last words"))
		require.NoError(t, err)
		f.restart()
		f.told.take()
		require.NoError(t, f.c.Close())
		synctest.Wait()
		assert.NotContains(t, f.told.take(), "online")
		stats := f.serverStats()
		assert.EqualValues(t, 1, stats.Unknown)
		assert.Zero(t, stats.Interrupted)
	})
}

// Shutdown waits for the operations whose session does not continue: they are sent again over
// the next connection.
func TestShutdownWhenTheSessionDoesNotContinue(t *testing.T) {
	for range 8 { // whether Shutdown or an operation notices the end first is a race
		withSession(t, nil, nil, shutdownWhenTheSessionDoesNotContinue)
	}
}

func shutdownWhenTheSessionDoesNotContinue(t *testing.T, f *resumeTest) {
	ctx := context.Background()
	const each = 50
	var all sync.WaitGroup
	async := make(chan *geminio.Publish, each)
	for range each {
		all.Go(func() { assert.NoError(t, f.c.Publish(ctx, f.c.NewMessage(nil))) })
		_, err := f.c.PublishAsync(ctx, f.c.NewMessage(nil), async)
		require.NoError(t, err)
	}
	synctest.Wait()
	f.cut(true)
	down := kit.Start(func() error { return f.c.Shutdown(ctx) })
	synctest.Wait()
	f.restart()
	go func() {
		for { // more than one End: those that come later are sent over another connection
			s, err := f.l.AcceptEnd()
			if err != nil {
				return
			}
			go rig.AnswerAll(s)
		}
	}()
	all.Wait()
	for range each {
		assert.NoError(t, (<-async).Error)
	}
	assert.NoError(t, <-down)
}

// A client whose certificate was renewed while it had no connection gets a fresh connection at
// once, and takes the place of its session.
func TestRenewedCertificateMakesAFreshConnection(t *testing.T) {
	nl, err := kit.ListenRaw()
	require.NoError(t, err)
	p := kit.NewProxy(t, nl.Addr().String())
	stls := kit.ServerTLS()
	stls.ClientAuth = tls.RequireAnyClientCert
	so := server.NewEndOptions()
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: rig.Echo})
	l, err := server.NewListener(tls.NewListener(nl, stls), so)
	require.NoError(t, err)
	defer l.Close()
	var certificate atomic.Pointer[tls.Certificate]
	renew := func() {
		c, err := kit.NewCertificate()
		require.NoError(t, err)
		certificate.Store(&c)
	}
	renew()
	co := fastRetry()
	co.SetStopOnRefusal()
	co.SetResumeKeep(keepTime)
	made, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		nc, err := kit.DialRaw(p.Addr)
		if err != nil {
			return nil, err
		}
		ctls := kit.ClientTLS()
		ctls.Certificates = []tls.Certificate{*certificate.Load()}
		return tls.Client(nc, ctls), nil
	}, co)
	require.NoError(t, err)
	c := made.(*client.RetryEnd)
	defer c.Close()
	id := c.ClientID()
	renew()
	p.Cut()
	ctx, cancel := context.WithTimeout(context.Background(), kit.Forever)
	defer cancel()
	idempotent := options.Call()
	idempotent.SetIdempotent(true)
	_, err = c.Call(ctx, "echo", c.NewRequest(nil), idempotent)
	assert.NoError(t, err)
	stats := c.Stats()
	assert.EqualValues(t, 2, stats.Connections)
	assert.EqualValues(t, 1, stats.Fallbacks.Unknown)
	assert.Equal(t, id, c.ClientID())
}

// If the context of Shutdown ends while there is no connection, Shutdown delivers as Close does:
// over a connection that resumes the session.
func TestShutdownDeliversAfterItsContext(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		near, err := f.c.OpenStream()
		require.NoError(t, err)
		far, err := f.s.AcceptStream()
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		f.cut(true)
		_, err = near.Write([]byte("the last words"))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		down := kit.Start(func() error { return f.c.Shutdown(ctx) })
		time.Sleep(2 * time.Second)
		f.mend()
		assert.Equal(t, context.DeadlineExceeded, <-down)
		p, err := io.ReadAll(far)
		assert.Equal(t, "the last words", string(p))
		assert.NoError(t, err)
		assert.NotContains(t, f.told.take(), "again")
		assert.EqualValues(t, 1, f.c.Stats().Connections)
	})
}

// Shutdown without a connection does not wait for one if nothing is under way and no stream is
// open, and tells the server as Close does.
func TestShutdownOfAnInterruptedEnd(t *testing.T) {
	ctx := context.Background()
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		start := time.Now()
		require.NoError(t, f.c.Shutdown(ctx))
		assert.LessOrEqual(t, time.Since(start), 50*time.Millisecond)
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.deafen()
		down := kit.Start(func() error { return f.c.Shutdown(ctx) })
		synctest.Wait()
		f.cut(true)
		f.mend()
		require.NoError(t, <-down, "the connection is lost during Shutdown")
		assert.Contains(t, f.told.take(), "offline")
		assert.Equal(t, io.EOF, geminio.Cause(f.s))
	})
	for name, begin := range map[string]func(t *testing.T, f *resumeTest) (end func()){
		"a call": func(t *testing.T, f *resumeTest) func() {
			ctx, cancel := context.WithCancel(ctx)
			go f.c.Call(ctx, "hang", f.c.NewRequest(nil))
			return cancel
		},
		"a handler": func(t *testing.T, f *resumeTest) func() {
			done := make(chan struct{})
			require.NoError(t, f.c.Register(ctx, "wait", func(context.Context, geminio.Request, geminio.Response) { <-done }))
			go f.s.Call(ctx, "wait", f.s.NewRequest(nil))
			return func() { close(done) }
		},
		"a received message": func(t *testing.T, f *resumeTest) func() {
			go f.s.Publish(ctx, f.s.NewMessage(nil))
			m, err := f.c.Receive(ctx)
			require.NoError(t, err)
			return func() { m.Done() }
		},
		"a stream": func(t *testing.T, f *resumeTest) func() {
			s, err := f.c.OpenStream()
			require.NoError(t, err)
			return func() { s.Close() }
		},
		"an operation that waits": func(t *testing.T, f *resumeTest) func() {
			f.cut(true)
			ctx, cancel := context.WithCancel(ctx)
			go f.c.Call(ctx, "hang", f.c.NewRequest(nil))
			return cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
				require.NoError(t, f.s.Register(ctx, "hang", hangUp))
				end := begin(t, f)
				synctest.Wait()
				f.cut(true)
				down := kit.Start(func() error { return f.c.Shutdown(ctx) })
				time.Sleep(5 * time.Second)
				start := time.Now()
				select {
				case <-down:
					t.Error("Shutdown has not waited")
				default:
				}
				end()
				require.NoError(t, <-down)
				assert.LessOrEqual(t, time.Since(start), 6*time.Second, "the time for lingering at most")
			})
		})
	}
}

// Write without a connection waits until the session continues or ends, or until its deadline. The
// time of SetConnectWait does not apply as long as there is a session.
func TestWriteOfAnInterruptedEnd(t *testing.T) {
	co := client.NewEndOptions()
	co.SetConnectWait(10 * time.Second)
	begin := func(t *testing.T, f *resumeTest) (near, far map[string]net.Conn) {
		s, err := f.c.OpenStream()
		require.NoError(t, err)
		peer, err := f.s.AcceptStream()
		require.NoError(t, err)
		near = map[string]net.Conn{"raw": f.c, "stream": s}
		far = map[string]net.Conn{"raw": f.s, "stream": peer}
		for _, w := range near {
			_, err := w.Write([]byte("before"))
			require.NoError(t, err)
		}
		time.Sleep(5 * time.Second)
		f.cut(true)
		return near, far
	}
	const size = 20 << 20
	withSession(t, co, nil, func(t *testing.T, f *resumeTest) {
		near, far := begin(t, f)
		written := make(map[string]<-chan error)
		for name, w := range near {
			go io.Copy(io.Discard, far[name])
			written[name] = kit.Start(func() error { _, err := w.Write(make([]byte, size)); return err })
		}
		time.Sleep(30 * time.Second)
		for name, done := range written {
			kit.Blocked(t, done)
			near[name].SetWriteDeadline(time.Time{})
		}
		f.mend()
		for name, done := range written {
			assert.NoError(t, <-done, name)
		}
	})
	withSession(t, co, nil, func(t *testing.T, f *resumeTest) {
		near, _ := begin(t, f)
		for name, w := range near {
			w.SetWriteDeadline(time.Now().Add(30 * time.Second))
			n, err := w.Write(make([]byte, 100))
			assert.NoError(t, err, name)
			assert.Equal(t, 100, n, "there is credit")
			start := time.Now()
			n, err = w.Write(make([]byte, size))
			assert.Equal(t, os.ErrDeadlineExceeded, err, name)
			assert.Less(t, n, size)
			assert.Equal(t, 30*time.Second, time.Since(start))
		}
	})
	withSession(t, co, nil, func(t *testing.T, f *resumeTest) {
		near, _ := begin(t, f)
		start := time.Now()
		written := make(map[string]<-chan error)
		for name, w := range near {
			written[name] = kit.Start(func() error { _, err := w.Write(make([]byte, size)); return err })
		}
		for name, done := range written {
			assert.ErrorIs(t, <-done, geminio.ErrConnectionLost, name)
			assert.Equal(t, keepTime, time.Since(start), name)
		}
		_, err := near["raw"].Write([]byte("after"))
		assert.ErrorIs(t, err, geminio.ErrNotConnected)
		assert.Equal(t, keepTime+10*time.Second, time.Since(start), "the time of SetConnectWait")
	})
}

// The time of operations that were sent is up while the session is interrupted. Their errors have
// the last failure too, as those of operations that were not sent.
func TestTimeIsUpWhileInterrupted(t *testing.T) {
	so := server.NewEndOptions()
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "hang", RPC: rig.Hang})
	begin := func(f *resumeTest, ctx context.Context, timeout time.Duration) map[string]<-chan error {
		call, publish := options.Call(), options.Publish()
		call.SetTimeout(timeout)
		publish.SetTimeout(timeout)
		return map[string]<-chan error{
			"Call": kit.Start(func() error {
				_, err := f.c.Call(ctx, "hang", f.c.NewRequest(nil), call)
				return err
			}),
			"CallAsync": kit.Start(func() error {
				c, err := f.c.CallAsync(ctx, "hang", f.c.NewRequest(nil), nil, call)
				if err != nil {
					return err
				}
				return (<-c.Done).Error
			}),
			"Publish": kit.Start(func() error { return f.c.Publish(ctx, f.c.NewMessage(nil), publish) }),
			"PublishAsync": kit.Start(func() error {
				p, err := f.c.PublishAsync(ctx, f.c.NewMessage(nil), nil, publish)
				if err != nil {
					return err
				}
				return (<-p.Done).Error
			}),
		}
	}
	for _, timeout := range []time.Duration{0, 30 * time.Second} {
		withSession(t, nil, so, func(t *testing.T, f *resumeTest) {
			ctx := t.Context()
			if timeout == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 30*time.Second)
				defer cancel()
			}
			sent := begin(f, ctx, timeout)
			synctest.Wait()
			f.cut(true)
			for name, done := range sent {
				err := <-done
				assert.ErrorIs(t, err, context.DeadlineExceeded, name)
				assert.ErrorIs(t, err, errDialerClosed, name)
				assert.NotErrorIs(t, err, geminio.ErrNotConnected, name)
			}
			f.mend()
			time.Sleep(5 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for name, done := range begin(f, ctx, timeout) {
				assert.Equal(t, context.DeadlineExceeded, <-done, "%s with a connection", name)
			}
		})
	}
}
