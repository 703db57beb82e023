package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
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
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// serve has srv serve n listeners in memory. It returns them, and a channel for each with the
// error of Serve.
func serve(srv *server.Server, n int) (listeners []*kit.PipeListener, served []<-chan error) {
	for range n {
		nl := kit.NewPipeListener()
		listeners = append(listeners, nl)
		served = append(served, kit.Start(func() error { return srv.Serve(nl) }))
	}
	synctest.Wait()
	return listeners, served
}

// dialAs connects to nl as the client with an id; 0 leaves the id to the server.
func dialAs(t *testing.T, nl *kit.PipeListener, id uint64) geminio.End {
	t.Helper()
	opt := client.NewEndOptions()
	opt.SetClientID(id)
	end, err := client.NewEndWithDialer(nl.Dial, opt)
	require.NoError(t, err)
	return end
}

// online returns the ids of the Ends of srv, in order.
func online(srv *server.Server) (ids []uint64) {
	for end := range srv.Ends() {
		ids = append(ids, end.ClientID())
	}
	slices.Sort(ids)
	return ids
}

// The clients of all listeners share ids and AcceptEnd.
func TestListenersShareClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := server.New()
		nl, served := serve(srv, 3)
		first, other := dialAs(t, nl[0], 7), dialAs(t, nl[1], 8)
		defer other.Close()
		synctest.Wait()
		old, accepted := acceptEnd(t, srv), acceptEnd(t, srv)
		assert.ElementsMatch(t, []uint64{7, 8}, []uint64{old.ClientID(), accepted.ClientID()})
		if old.ClientID() != 7 {
			old = accepted
		}

		second := dialAs(t, nl[2], 7) // another listener than the first connection
		defer second.Close()
		<-geminio.Done(first)
		assert.ErrorIs(t, geminio.Cause(first), geminio.ErrReplaced)
		assert.ErrorIs(t, geminio.Cause(old), geminio.ErrReplaced)
		synctest.Wait()
		end, ok := srv.End(7)
		require.True(t, ok)
		assert.Same(t, acceptEnd(t, srv), end)
		assert.Equal(t, []uint64{7, 8}, online(srv))

		require.NoError(t, geminio.Shutdown(t.Context(), srv))
		for _, ch := range served {
			assert.Equal(t, net.ErrClosed, <-ch, "Serve")
		}
		assert.Empty(t, online(srv))
		_, ok = srv.End(7)
		assert.False(t, ok)
	})
}

// A client that comes back over another listener resumes its session there. Without resumption, a
// message that it sends again is handed out once.
func TestListenersShareSessions(t *testing.T) {
	for _, keep := range []time.Duration{time.Minute, 0} {
		t.Run(keep.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt := server.NewEndOptions()
				opt.SetResumeKeep(keep)
				srv := server.New(opt)
				nl, _ := serve(srv, 2)
				w := new(switchingDialer)
				w.set(nl[0])
				end, err := client.NewRetryEndWithDialer(w.dial)
				require.NoError(t, err)
				defer end.Close()
				synctest.Wait()
				peer := acceptEnd(t, srv)
				published := kit.Start(func() error { return end.Publish(t.Context(), end.NewMessage([]byte("m"))) })
				msg, err := peer.Receive(t.Context())
				require.NoError(t, err)
				w.set(nl[1])
				w.cut()
				synctest.Wait()
				msg.Done() // the acknowledgement is lost, unless the session continues
				require.NoError(t, <-published)
				if keep > 0 {
					assert.EqualValues(t, 1, srv.ResumeStats().Resumes)
				} else {
					peer = acceptEnd(t, srv)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err = peer.Receive(ctx)
				assert.ErrorIs(t, err, context.DeadlineExceeded, "Receive of a second copy")
				require.NoError(t, srv.Close())
			})
		})
	}
}

// The error of a listener ends its Serve. The other listeners and all clients continue, and a
// further listener may take its place.
func TestListenerThatFails(t *testing.T) {
	for name, fail := range map[string]func() (net.Conn, error){
		"an error": fails(opError(io.ErrUnexpectedEOF)),
		"a panic":  func() (net.Conn, error) { panic("oops") },
		"Goexit":   func() (net.Conn, error) { runtime.Goexit(); return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := server.New()
				steady, _ := serve(srv, 1)
				nl := kit.NewPipeListener()
				now := make(chan struct{})
				script := []func() (net.Conn, error){nl.Accept, func() (net.Conn, error) { <-now; return fail() }}
				served, exited := make(chan error, 1), make(chan struct{})
				go func() {
					defer close(exited)
					served <- srv.Serve(&scriptedListener{PipeListener: nl, script: script})
				}()
				before := dialAs(t, nl, 1)
				defer before.Close()
				accept := func() (id uint64) {
					if end, err := srv.AcceptEnd(); assert.NoError(t, err) {
						id = end.ClientID()
					}
					return id
				}
				assert.EqualValues(t, 1, accept())
				accepting := kit.Start(accept)
				close(now)
				<-exited
				switch name {
				case "an error":
					assert.ErrorIs(t, <-served, io.ErrUnexpectedEOF)
				case "a panic":
					assert.ErrorContains(t, <-served, "Accept of the listener panicked")
				}
				_, err := nl.Dial()
				assert.Error(t, err, "Serve has closed the listener")
				synctest.Wait()
				kit.Blocked(t, accepting)

				after := dialAs(t, steady[0], 2)
				defer after.Close()
				assert.EqualValues(t, 2, <-accepting)
				further, _ := serve(srv, 1)
				last := dialAs(t, further[0], 3)
				defer last.Close()
				assert.EqualValues(t, 3, accept())
				assert.Equal(t, []uint64{1, 2, 3}, online(srv))
				require.NoError(t, srv.Close())
			})
		})
	}
}

// A Server of NewListener may serve further listeners. AcceptEnd returns an error when the last one
// has failed.
func TestFurtherListenersOfNewListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, l := newPipeServer(t)
		srv := l.(*server.Server)
		nl, served := serve(srv, 1)
		accepted := kit.Start(func() error { _, err := l.AcceptEnd(); return err })
		first.Close()
		synctest.Wait()
		kit.Blocked(t, accepted)
		end := dialAs(t, nl[0], 0)
		defer end.Close()
		require.NoError(t, <-accepted)
		nl[0].Close()
		assert.Equal(t, net.ErrClosed, <-served[0])
		_, err := l.AcceptEnd()
		assert.Equal(t, net.ErrClosed, err)
		late := kit.NewPipeListener()
		assert.Equal(t, net.ErrClosed, srv.Serve(late))
		_, err = late.Dial()
		assert.Error(t, err, "Serve has closed the listener that it does not serve")
		require.NoError(t, l.Close())
	})
}

// Close and Shutdown end all Serves. A later Serve closes its listener.
func TestStopOfSeveralListeners(t *testing.T) {
	for _, s := range stops {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := server.New()
				nl, served := serve(srv, 3)
				require.NoError(t, s.stop(srv))
				for i, ch := range served {
					assert.Equal(t, net.ErrClosed, kit.Returned(t, ch))
					_, err := nl[i].Dial()
					assert.Error(t, err)
				}
				_, err := srv.AcceptEnd()
				assert.Equal(t, net.ErrClosed, err)
				late := kit.NewPipeListener()
				assert.Equal(t, net.ErrClosed, srv.Serve(late))
				_, err = late.Dial()
				assert.Error(t, err, "Serve has closed the listener that it does not serve")
				require.NoError(t, s.stop(srv))
			})
		})
	}
}

// A Server without listeners can be stopped, and wakes AcceptEnd.
func TestStopWithoutListeners(t *testing.T) {
	for _, s := range stops {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := server.New()
				accepted := kit.Start(func() error { _, err := srv.AcceptEnd(); return err })
				synctest.Wait()
				kit.Blocked(t, accepted)
				require.NoError(t, s.stop(srv))
				assert.Equal(t, net.ErrClosed, <-accepted)
			})
		})
	}
}

// failingCloser is a listener whose Close returns an error.
type failingCloser struct {
	*kit.PipeListener
	err error
}

func (l failingCloser) Close() error {
	l.PipeListener.Close()
	return l.err
}

// Close returns the errors of closing all listeners.
func TestCloseErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := server.New()
		first, second := errors.New("first"), errors.New("second")
		for _, why := range []error{first, nil, second, net.ErrClosed} {
			go srv.Serve(failingCloser{kit.NewPipeListener(), why})
		}
		synctest.Wait()
		err := srv.Close()
		assert.ErrorIs(t, err, first)
		assert.ErrorIs(t, err, second)
		assert.NotErrorIs(t, err, net.ErrClosed)
		require.NoError(t, srv.Close())
	})
}

func TestServeArguments(t *testing.T) {
	srv := server.New()
	defer srv.Close()
	for _, none := range []net.Listener{nil, (*net.TCPListener)(nil)} {
		assert.EqualError(t, srv.Serve(none), "server: the net.Listener is nil")
	}

	bad := server.NewEndOptions()
	bad.SetMaxStreams(-1)
	srv = server.New(bad)
	nl := kit.NewPipeListener()
	assert.ErrorContains(t, srv.Serve(nl), "MaxStreams of -1")
	_, err := nl.Dial()
	assert.Error(t, err, "Serve has closed the listener")
	_, err = srv.AcceptEnd()
	assert.ErrorContains(t, err, "MaxStreams of -1")
	assert.Empty(t, online(srv))
	require.NoError(t, srv.Close())
	require.NoError(t, geminio.Shutdown(t.Context(), srv))
}

// addressed is a listener with an address of its own.
type addressed struct {
	*kit.PipeListener
	name string
}

func (a addressed) Addr() net.Addr { return &net.UnixAddr{Name: a.name} }

// Addr is the address of the oldest listener that is served, or else of the last one.
func TestAddrOfSeveralListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := server.New()
		assert.Nil(t, srv.Addr())
		listeners := make(map[string]addressed)
		for _, name := range []string{"a", "b", "c"} {
			listeners[name] = addressed{kit.NewPipeListener(), name}
			go srv.Serve(listeners[name])
			synctest.Wait()
		}
		for _, step := range []struct{ end, want string }{{"", "a"}, {"b", "a"}, {"a", "c"}, {"c", "c"}} {
			if step.end != "" {
				listeners[step.end].Close()
				synctest.Wait()
			}
			assert.Equal(t, step.want, srv.Addr().String(), "after the end of %q", step.end)
		}
		require.NoError(t, srv.Close())
		assert.Equal(t, "c", srv.Addr().String())
	})
}

// End returns the newest of the Ends with an id, and never one that has ended.
func TestNewestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangingDelegate("ConnOffline")
		opt := server.NewEndOptions()
		opt.SetDelegate(h) // all clients get the id 7
		opt.SetDuplicateID(server.DuplicateAllowed)
		srv := server.New(opt)
		nl, _ := serve(srv, 2)
		clients, ends := make([]geminio.End, 5), make([]geminio.End, 5)
		for i := range clients {
			clients[i] = dialAs(t, nl[i%2], 0)
			synctest.Wait()
			ends[i] = acceptEnd(t, srv)
		}
		newest := func() geminio.End {
			end, _ := srv.End(7)
			return end
		}
		left := ends
		for _, i := range []int{4, 0, 2, 3, 1} { // the newest, the oldest, one between, …
			assert.Same(t, left[len(left)-1], newest())
			assert.Len(t, online(srv), len(left))
			clients[i].Close()
			<-geminio.Done(ends[i])
			left = slices.DeleteFunc(slices.Clone(left), func(e geminio.End) bool { return e == ends[i] })
			if i == 4 { // its ConnOffline hangs
				<-h.entered
				assert.Same(t, ends[3], newest())
				close(h.release)
			}
			synctest.Wait()
		}
		_, ok := srv.End(7)
		assert.False(t, ok)
		require.NoError(t, srv.Close())
	})
}

// A loop over Ends may end Ends and stop early.
func TestEndsInALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := server.New()
		nl, _ := serve(srv, 1)
		for id := range uint64(5) {
			defer dialAs(t, nl[0], id+1).Close()
		}
		synctest.Wait()
		var seen []geminio.End
		for end := range srv.Ends() {
			if seen = append(seen, end); len(seen) == 2 {
				for end := range srv.Ends() {
					end.Close()
				}
			}
		}
		assert.Len(t, seen, 2, "a loop that closes all Ends")
		synctest.Wait()
		assert.Empty(t, online(srv))
		for id := range uint64(5) {
			defer dialAs(t, nl[0], id+1).Close()
		}
		for range srv.Ends() {
			break
		}
		require.NoError(t, srv.Close())
	})
}

// An End that is interrupted is online until its session ends.
func TestInterruptedEndIsOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetResumeKeep(time.Minute)
		srv := server.New(opt)
		nl, _ := serve(srv, 1)
		w := new(switchingDialer)
		w.set(nl[0])
		end, err := client.NewRetryEndWithDialer(w.dial)
		require.NoError(t, err)
		defer end.Close()
		synctest.Wait()
		peer := acceptEnd(t, srv)
		unreachable := kit.NewPipeListener()
		unreachable.Close()
		w.set(unreachable)
		w.cut()
		time.Sleep(59 * time.Second)
		found, ok := srv.End(end.ClientID())
		require.True(t, ok)
		assert.Same(t, peer, found)
		assert.Len(t, online(srv), 1)
		time.Sleep(2 * time.Second)
		_, ok = srv.End(end.ClientID())
		assert.False(t, ok)
		assert.Empty(t, online(srv))
		require.NoError(t, srv.Close())
	})
}

// A handler of the first call of a client, and the function for its first stream, find its End,
// although AcceptEnd may not have returned it yet.
func TestFirstCallFindsItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 500
		var srv *server.Server
		var missing atomic.Int64
		find := func(id uint64) {
			if _, ok := srv.End(id); !ok {
				missing.Add(1)
			}
		}
		opt := server.NewEndOptions()
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: func(_ context.Context, req geminio.Request, _ geminio.Response) {
			find(req.ClientID())
		}})
		opt.SetAcceptStreamFunc(func(s geminio.Stream) { find(s.ClientID()) })
		srv = server.New(opt)
		nl, _ := serve(srv, 2)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				end, err := client.NewEndWithDialer(nl[i%2].Dial)
				if !assert.NoError(t, err) {
					return
				}
				_, err = end.Call(t.Context(), "m", end.NewRequest(nil))
				assert.NoError(t, err)
				_, err = end.OpenStream()
				assert.NoError(t, err)
			})
		}
		all.Wait()
		synctest.Wait()
		for end := range srv.Ends() {
			end.Close()
		}
		require.NoError(t, srv.Close())
		assert.Zero(t, missing.Load())
	})
}

// One Server serves TCP and a unix socket.
func TestServeSockets(t *testing.T) {
	srv := server.New()
	var ends []geminio.End
	served := make(chan error, 2)
	for _, where := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", t.TempDir() + "/s"}} {
		l, err := net.Listen(where[0], where[1])
		require.NoError(t, err)
		go func() { served <- srv.Serve(l) }()
		opt := client.NewEndOptions()
		opt.SetClientID(uint64(len(ends) + 1))
		end, err := client.NewEnd(where[0], l.Addr().String(), opt)
		require.NoError(t, err)
		defer end.Close()
		ends = append(ends, end)
		accepted, err := srv.AcceptEnd()
		require.NoError(t, err)
		assert.Equal(t, *opt.ClientID, accepted.ClientID(), where[0])
	}
	for i, end := range ends {
		peer, ok := srv.End(uint64(i + 1))
		require.True(t, ok)
		go fmt.Fprint(peer, "hello")
		got := make([]byte, 5)
		_, err := io.ReadFull(end, got)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(got))
	}
	require.NoError(t, srv.Close())
	for range ends {
		assert.Equal(t, net.ErrClosed, <-served)
	}
}
