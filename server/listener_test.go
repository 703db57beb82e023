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

// hangingDelegate is a delegate one of whose callbacks waits for release.
type hangingDelegate struct {
	*delegate.UnimplementedDelegate
	in      string // which one
	entered chan struct{}
	release chan struct{}
	inside  func() // called in it

	mu     sync.Mutex
	events []string
	hangs  bool // or has hung, which is once
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

func (h *hangingDelegate) told() []string {
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

// A callback that hangs in the handshake holds neither Close nor Shutdown up. Its client
// is cut off, and what the callback says later comes to nothing.
func TestStopDoesNotWaitForCallbacks(t *testing.T) {
	for _, in := range []string{"GetClientID", "ConnOnline"} {
		for _, s := range stops {
			t.Run(in+"/"+s.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHangingDelegate(in)
					opt := server.NewEndOptions()
					opt.SetDelegate(h)
					nl, l := newPipeServer(t, opt)
					nc, greeted := dialRaw(t, nl, rawHello{})
					defer nc.Close()
					<-h.entered
					for range 2 { // at the same time, and again
						start := time.Now()
						var all []<-chan error
						for range 3 {
							all = append(all, kit.Start(func() error { return s.stop(l) }))
						}
						for _, ch := range all {
							err := <-ch
							if s.err != nil && start.Equal(time.Now()) {
								require.NoError(t, err, "everything is cut off already")
							} else {
								require.Equal(t, s.err, err)
							}
						}
						require.LessOrEqual(t, time.Since(start), s.within)
					}
					require.Error(t, <-greeted, "the client is cut off")
					_, err := l.AcceptEnd()
					require.Equal(t, net.ErrClosed, err)

					close(h.release)
					synctest.Wait()
					want := map[string][]string{
						"GetClientID": {"GetClientID"},
						"ConnOnline":  {"GetClientID", "ConnOnline", "ConnOffline"},
					}[in]
					assert.Equal(t, want, h.told())
				})
			})
		}
	}
}

// The id of a client about which a callback does not decide is another's when the callback
// has returned at last, if the client had it already, and else at once.
func TestIDOfAClientWhoseCallbackHangs(t *testing.T) {
	for _, in := range []string{"GetClientID", "ConnOnline"} {
		t.Run(in, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHangingDelegate(in)
				opt := server.NewEndOptions()
				opt.SetDelegate(h)
				nl, l := newPipeServer(t, opt)
				nc, greeted := dialRaw(t, nl, rawHello{})
				defer nc.Close()
				<-h.entered
				time.Sleep(time.Minute)
				require.Error(t, <-greeted, "the time for the handshake is over")
				other, greeted := dialRaw(t, nl, rawHello{})
				defer other.Close()
				if in == "ConnOnline" {
					require.ErrorContains(t, <-greeted, "still ending")
					close(h.release)
					synctest.Wait()
					assert.Equal(t, []string{"GetClientID", "ConnOnline", "GetClientID", "ConnOffline"}, h.told())
					other, greeted = dialRaw(t, nl, rawHello{})
					defer other.Close()
				}
				require.NoError(t, <-greeted)
				synctest.Wait()
				assert.EqualValues(t, 7, acceptEnd(t, l).ClientID())
				if in == "GetClientID" {
					close(h.release)
					synctest.Wait()
					assert.Equal(t, []string{"GetClientID", "GetClientID", "ConnOnline"}, h.told(), "nobody was replaced")
				}
				require.NoError(t, l.Close())
				other.Close()
			})
		})
	}
}

// Shutdown that need not be cut short waits for the callback, whose client is refused
// then, and told to come back.
func TestShutdownRefusesWhoIsDecidedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangingDelegate("GetClientID")
		opt := server.NewEndOptions()
		opt.SetDelegate(h)
		opt.SetRetryAfter(3 * time.Second)
		nl, l := newPipeServer(t, opt)
		nc, greeted := dialRaw(t, nl, rawHello{})
		defer nc.Close()
		silent, err := nl.Dial()
		require.NoError(t, err)
		defer silent.Close()
		<-h.entered
		down := kit.Start(func() error { return geminio.Shutdown(context.Background(), l) })
		synctest.Wait()
		require.Empty(t, down)
		_, err = silent.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err, "one that has said nothing yet is not waited for")
		close(h.release)
		require.NoError(t, <-down)
		var refused *geminio.RefusedError
		require.ErrorAs(t, <-greeted, &refused)
		assert.ErrorIs(t, refused, geminio.ErrGoingAway)
		assert.Equal(t, 3*time.Second, refused.RetryAfter)
		assert.Equal(t, []string{"GetClientID"}, h.told())
	})
}

// Without a bound of its own, Shutdown waits for such a callback for as long as the
// handshake may take.
func TestShutdownWaitsForTheTimeOfTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangingDelegate("ConnOnline")
		opt := server.NewEndOptions()
		opt.SetDelegate(h)
		opt.SetHandshakeTimeout(3 * time.Second)
		nl, l := newPipeServer(t, opt)
		nc, greeted := dialRaw(t, nl, rawHello{})
		defer nc.Close()
		<-h.entered
		time.Sleep(time.Second)
		start := time.Now()
		require.NoError(t, geminio.Shutdown(context.Background(), l))
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Error(t, <-greeted)
		close(h.release)
		synctest.Wait()
		assert.Equal(t, []string{"GetClientID", "ConnOnline", "ConnOffline"}, h.told())
	})
}

// Close and Shutdown may be called within the callbacks that decide about a client, in
// the others, in handlers, and in the function that is given streams.
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
					assert.LessOrEqual(t, <-took, max(s.within, 5*time.Second), "the time for lingering")
					<-driven
					require.NoError(t, l.Close())
				})
			})
		}
	}
}

// A client that is just registering its methods when the listener is shut down gets an
// error that says so, and knows that it may come back.
func TestShutdownWhileAClientRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2000 // more than are written at once
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
		time.Sleep(time.Minute) // until its last write has ended
	})
}

// slowConn writes a piece at a time.
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

// A client that exchanges methods when the listener is closed is told of an orderly
// end. When it is shut down, the exchange is let end, within ctx.
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

// An exchange that comes to its end while the listener is shut down leads to an End that
// is shut down, and not handed out.
func TestShutdownLetsTheExchangeEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetWaitRemoteRPCs("r")
		nl, l := newPipeServer(t, opt)
		end, err := client.NewEndWithDialer(nl.Dial)
		require.NoError(t, err)
		defer end.Close()
		down := kit.Start(func() error { return geminio.Shutdown(context.Background(), l) })
		synctest.Wait()
		require.Empty(t, down)
		require.NoError(t, end.Register(context.Background(), "r", rig.Echo))
		require.NoError(t, <-down)
		_, err = l.AcceptEnd()
		require.Equal(t, net.ErrClosed, err)
	})
}

// Close closes what was not handed out also while the listener is being shut down, and
// what was handed out is Shutdown's still.
func TestCloseDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nl, l := newPipeServer(t)
		var ends []geminio.End
		for range 2 {
			end, err := client.NewEndWithDialer(nl.Dial)
			require.NoError(t, err)
			defer end.Close()
			_, err = end.OpenStream() // which keeps Shutdown waiting
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
		assert.False(t, over(ends[0]), "handed out")
		assert.True(t, over(ends[1]), "not handed out")
		cancel()
		require.Equal(t, context.Canceled, <-down)
		synctest.Wait()
		assert.True(t, over(ends[0]))
	})
}

// Shutdown after Close shuts down what was handed out.
func TestShutdownAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nl, l := newPipeServer(t)
		end, err := client.NewEndWithDialer(nl.Dial)
		require.NoError(t, err)
		defer end.Close()
		_, err = l.AcceptEnd()
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.NoError(t, end.Publish(context.Background(), onceMessage(end)), "it goes on")
		require.NoError(t, geminio.Shutdown(context.Background(), l))
		synctest.Wait()
		_, err = end.AcceptStream()
		require.Equal(t, io.EOF, err)
	})
}

// The time for lingering bounds Close, whatever the clients do that were not handed out.
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
				require.NoError(t, err) // and reads nothing
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
