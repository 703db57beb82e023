package server_test

import (
	"context"
	"fmt"
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
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// hangingDelegate is a delegate with one callback that waits for release.
type hangingDelegate struct {
	*delegate.UnimplementedDelegate
	in      string // the name of the callback
	entered chan struct{}
	release chan struct{}
	inside  func() // if not nil: called in the callback

	mu     sync.Mutex
	events []string
	hangs  bool // the callback was called; only the first call hangs
}

func newHangingDelegate(in string) *hangingDelegate {
	return &hangingDelegate{in: in, entered: make(chan struct{}), release: make(chan struct{})}
}

func (h *hangingDelegate) call(name string) {
	h.mu.Lock()
	h.events = append(h.events, name)
	again := h.hangs
	h.hangs = again || name == h.in
	h.mu.Unlock()
	if name != h.in || again {
		return
	}
	close(h.entered)
	if h.inside != nil {
		h.inside()
	}
	<-h.release
}

func (h *hangingDelegate) calls() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.events...)
}

func (h *hangingDelegate) GetClientID(wanted uint64, _ []byte) (uint64, error) {
	h.call("GetClientID")
	return 7, nil
}

func (h *hangingDelegate) ConnOnline(delegate.ConnDescriber) error {
	h.call("ConnOnline")
	return nil
}

func (h *hangingDelegate) ConnOffline(delegate.ConnDescriber) error {
	h.call("ConnOffline")
	return nil
}

func (h *hangingDelegate) DialogueOnline(delegate.DialogueDescriber) error {
	h.call("DialogueOnline")
	return nil
}

// stops are the ways to end a listener. Each must return within the given time.
var stops = []struct {
	name   string
	within time.Duration
	err    error
	stop   func(server.Listener) error
}{
	{"Close", 0, nil, server.Listener.Close},
	{"Shutdown", time.Second, context.DeadlineExceeded, func(l server.Listener) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return geminio.Shutdown(ctx, l)
	}},
}

// A callback hangs in the handshake. Close and Shutdown do not wait for it. Its client is
// disconnected, and a later result of the callback is ignored.
func TestStopDoesNotWaitForCallbacks(t *testing.T) {
	for _, in := range []string{"GetClientID", "ConnOnline"} {
		for _, s := range stops {
			t.Run(in+"/"+s.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHangingDelegate(in)
					opt := server.NewEndOptions()
					opt.SetDelegate(h)
					nl, l := newPipeServer(t, opt)
					nc, shaken := dialRaw(t, nl, rawHello{})
					defer nc.Close()
					<-h.entered
					for range 2 { // concurrent calls, and later ones
						start := time.Now()
						var all []<-chan error
						for range 3 {
							all = append(all, kit.Start(func() error { return s.stop(l) }))
						}
						for _, ch := range all {
							err := <-ch
							if s.err != nil && start.Equal(time.Now()) {
								require.NoError(t, err, "a later call, after which nothing is left to end")
							} else {
								require.Equal(t, s.err, err)
							}
						}
						require.LessOrEqual(t, time.Since(start), s.within)
					}
					require.Error(t, <-shaken, "the handshake of the client")
					_, err := l.AcceptEnd()
					require.Equal(t, net.ErrClosed, err)

					close(h.release)
					synctest.Wait()
					want := map[string][]string{
						"GetClientID": {"GetClientID"},
						"ConnOnline":  {"GetClientID", "ConnOnline", "ConnOffline"},
					}[in]
					assert.Equal(t, want, h.calls())
				})
			})
		}
	}
}

// A callback hangs, and its client is given up. If the client had its id already, another client
// gets the id when the callback has returned, and otherwise at once.
func TestIDOfAClientWhoseCallbackHangs(t *testing.T) {
	for _, in := range []string{"GetClientID", "ConnOnline"} {
		t.Run(in, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHangingDelegate(in)
				opt := server.NewEndOptions()
				opt.SetDelegate(h)
				nl, l := newPipeServer(t, opt)
				nc, shaken := dialRaw(t, nl, rawHello{})
				defer nc.Close()
				<-h.entered
				time.Sleep(time.Minute)
				require.Error(t, <-shaken, "the handshake after its timeout")
				other, shaken := dialRaw(t, nl, rawHello{})
				defer other.Close()
				if in == "ConnOnline" {
					require.ErrorContains(t, <-shaken, "still ending")
					close(h.release)
					synctest.Wait()
					assert.Equal(t, []string{"GetClientID", "ConnOnline", "GetClientID", "ConnOffline"}, h.calls())
					other, shaken = dialRaw(t, nl, rawHello{})
					defer other.Close()
				}
				require.NoError(t, <-shaken)
				synctest.Wait()
				assert.EqualValues(t, 7, acceptEnd(t, l).ClientID())
				if in == "GetClientID" {
					close(h.release)
					synctest.Wait()
					assert.Equal(t, []string{"GetClientID", "GetClientID", "ConnOnline"}, h.calls(), "callbacks, none of which ends the other client")
				}
				require.NoError(t, l.Close())
				other.Close()
			})
		})
	}
}

// Shutdown waits for a callback that returns before its context ends. The client is refused with
// an error with which a RetryEnd tries again.
func TestShutdownRefusesWhoIsDecidedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangingDelegate("GetClientID")
		opt := server.NewEndOptions()
		opt.SetDelegate(h)
		opt.SetRetryAfter(3 * time.Second)
		nl, l := newPipeServer(t, opt)
		nc, shaken := dialRaw(t, nl, rawHello{})
		defer nc.Close()
		silent, err := nl.Dial()
		require.NoError(t, err)
		defer silent.Close()
		<-h.entered
		down := kit.Start(func() error { return geminio.Shutdown(context.Background(), l) })
		synctest.Wait()
		require.Empty(t, down)
		_, err = silent.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err, "Read of a client that has not sent its handshake; Shutdown does not wait for it")
		close(h.release)
		require.NoError(t, <-down)
		var refused *geminio.RefusedError
		require.ErrorAs(t, <-shaken, &refused)
		assert.ErrorIs(t, refused, geminio.ErrGoingAway)
		assert.Equal(t, 3*time.Second, refused.RetryAfter)
		assert.Equal(t, []string{"GetClientID"}, h.calls())
	})
}

// Shutdown with an unbounded context waits for such a callback until the handshake timeout.
func TestShutdownWaitsForTheTimeOfTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangingDelegate("ConnOnline")
		opt := server.NewEndOptions()
		opt.SetDelegate(h)
		opt.SetHandshakeTimeout(3 * time.Second)
		nl, l := newPipeServer(t, opt)
		nc, shaken := dialRaw(t, nl, rawHello{})
		defer nc.Close()
		<-h.entered
		time.Sleep(time.Second)
		start := time.Now()
		require.NoError(t, geminio.Shutdown(context.Background(), l))
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Error(t, <-shaken)
		close(h.release)
		synctest.Wait()
		assert.Equal(t, []string{"GetClientID", "ConnOnline", "ConnOffline"}, h.calls())
	})
}

// Close and Shutdown may be called in all callbacks, in handlers, and in the function of
// SetAcceptStreamFunc.
func TestStopWithinACallback(t *testing.T) {
	for _, in := range []string{"GetClientID", "ConnOnline", "ConnOffline", "DialogueOnline", "AcceptStreamFunc", "ClosedStreamFunc", "handler"} {
		for _, s := range stops {
			t.Run(in+"/"+s.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHangingDelegate(in)
					opt := server.NewEndOptions()
					opt.SetDelegate(h)
					opt.SetAcceptStreamFunc(func(geminio.Stream) { h.call("AcceptStreamFunc") })
					opt.SetClosedStreamFunc(func(geminio.Stream) { h.call("ClosedStreamFunc") })
					opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: func(context.Context, geminio.Request, geminio.Response) {
						h.call("handler")
					}})
					nl, l := newPipeServer(t, opt)
					took := make(chan time.Duration, 1)
					h.inside = func() {
						start := time.Now()
						s.stop(l)
						took <- time.Since(start)
					}
					close(h.release)
					driven := kit.Start(func() error {
						end, err := client.NewEndWithDialer(nl.Dial)
						if err != nil {
							return err
						}
						go end.Call(context.Background(), "m", end.NewRequest(nil))
						if stream, err := end.OpenStream(); err == nil {
							time.Sleep(time.Millisecond)
							stream.Close()
						}
						time.Sleep(time.Millisecond)
						return end.Close()
					})
					assert.LessOrEqual(t, <-took, max(s.within, 5*time.Second), "the time of the call, which may include the linger time")
					<-driven
					require.NoError(t, l.Close())
				})
			})
		}
	}
}

// A client that registers its methods when the listener is shut down gets an error with which a
// RetryEnd tries again.
func TestShutdownWhileAClientRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2000 // more than one batch
		opt := server.NewEndOptions()
		opt.SetRetryAfter(3 * time.Second)
		nl, l := newPipeServer(t, opt)
		copt := client.NewEndOptions()
		for i := range n {
			copt.LocalMethods = append(copt.LocalMethods, &geminio.MethodRPC{Method: fmt.Sprintf("%0900d", i), RPC: rig.Echo})
		}
		slow := &slowConn{}
		made := kit.Start(func() error {
			end, err := client.NewEndWithDialer(func() (net.Conn, error) {
				nc, err := nl.Dial()
				slow.Conn = nc
				return slow, err
			}, copt)
			if err == nil {
				end.Close()
			}
			return err
		})
		time.Sleep(500 * time.Millisecond)
		require.Empty(t, made)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, geminio.Shutdown(ctx, l))
		var refused *geminio.RefusedError
		require.ErrorAs(t, <-made, &refused)
		assert.ErrorIs(t, refused, geminio.ErrGoingAway)
		assert.Equal(t, 3*time.Second, refused.RetryAfter)
		time.Sleep(time.Minute) // until the last Write has returned
	})
}

// slowConn is a net.Conn whose Write takes time for each piece.
type slowConn struct{ net.Conn }

func (c *slowConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		time.Sleep(100 * time.Millisecond)
		var k int
		k, err = c.Conn.Write(p[:min(len(p), 1000)])
		n, p = n+k, p[k:]
	}
	return n, err
}

// A client that exchanges methods when the listener is closed gets a Close frame. Shutdown waits
// for the exchange until its context ends.
func TestStopInTheExchange(t *testing.T) {
	for _, s := range stops {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt := server.NewEndOptions()
				opt.SetWaitRemoteRPCs("r")
				f := newOnlineLog()
				opt.SetDelegate(f)
				nl, l := newPipeServer(t, opt)
				end, err := client.NewEndWithDialer(nl.Dial)
				require.NoError(t, err)
				defer end.Close()
				synctest.Wait()
				start := time.Now()
				require.Equal(t, s.err, s.stop(l))
				require.Equal(t, s.within, time.Since(start))
				synctest.Wait()
				_, err = end.AcceptStream()
				require.Equal(t, io.EOF, err)
				require.Equal(t, io.EOF, geminio.Cause(end))
				assert.Equal(t, "online", <-f.events)
				assert.Equal(t, "offline", <-f.events)
			})
		})
	}
}

// If an exchange is completed while the listener is shut down, its End is shut down, and
// AcceptEnd does not return it.
func TestShutdownLetsTheExchangeEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetWaitRemoteRPCs("r")
		nl, l := newPipeServer(t, opt)
		end, err := client.NewEndWithDialer(nl.Dial)
		require.NoError(t, err)
		defer end.Close()
		synctest.Wait() // the server waits for the method
		down := kit.Start(func() error { return geminio.Shutdown(context.Background(), l) })
		synctest.Wait()
		require.Empty(t, down)
		require.NoError(t, end.Register(context.Background(), "r", rig.Echo))
		require.NoError(t, <-down)
		_, err = l.AcceptEnd()
		require.Equal(t, net.ErrClosed, err)
	})
}

// Close during Shutdown closes the Ends that AcceptEnd has not returned. Shutdown goes on with
// the others.
func TestCloseDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nl, l := newPipeServer(t)
		var ends []geminio.End
		for range 2 {
			end, err := client.NewEndWithDialer(nl.Dial)
			require.NoError(t, err)
			defer end.Close()
			_, err = end.OpenStream() // Shutdown waits for the stream
			require.NoError(t, err)
			ends = append(ends, end)
			synctest.Wait()
		}
		_, err := l.AcceptEnd()
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		down := kit.Start(func() error { return geminio.Shutdown(ctx, l) })
		synctest.Wait()
		require.NoError(t, l.Close())
		synctest.Wait()
		require.Empty(t, down)
		over := func(end geminio.End) bool { return geminio.Cause(end) != nil }
		assert.False(t, over(ends[0]), "the End that AcceptEnd has returned has ended")
		assert.True(t, over(ends[1]), "the End that AcceptEnd has not returned has not ended")
		cancel()
		require.Equal(t, context.Canceled, <-down)
		synctest.Wait()
		assert.True(t, over(ends[0]))
	})
}

// Shutdown after Close shuts down the Ends that AcceptEnd has returned.
func TestShutdownAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nl, l := newPipeServer(t)
		end, err := client.NewEndWithDialer(nl.Dial)
		require.NoError(t, err)
		defer end.Close()
		_, err = l.AcceptEnd()
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.NoError(t, end.Publish(context.Background(), onceMessage(end)), "Publish after Close of the listener")
		require.NoError(t, geminio.Shutdown(context.Background(), l))
		synctest.Wait()
		_, err = end.AcceptStream()
		require.Equal(t, io.EOF, err)
	})
}

// Close takes at most the linger time, whatever the clients do whose Ends AcceptEnd has not
// returned.
func TestCloseKeepsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetLinger(2 * time.Second)
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
		nl, l := newPipeServer(t, opt)
		for i := range 4 {
			nc, err := nl.Dial()
			require.NoError(t, err)
			defer nc.Close()
			if i%2 == 0 {
				_, err := nc.Write(hello(t, rawHello{}))
				require.NoError(t, err) // the client reads nothing
			} else {
				r, _, err := dialHandshake(t, nc, rawHello{})
				require.NoError(t, err)
				r.send(rawPacket(packet.TypeRegistered, 1, 1, nil, nil))
			}
		}
		synctest.Wait()
		start := time.Now()
		require.NoError(t, l.Close())
		assert.LessOrEqual(t, time.Since(start), 2*time.Second)
	})
}
