package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// scriptedListener is a listener whose Accept calls the functions of script one after the other,
// and then accepts.
type scriptedListener struct {
	*kit.PipeListener
	script []func() (net.Conn, error)
	calls  atomic.Int64
}

func (s *scriptedListener) Accept() (net.Conn, error) {
	if n := int(s.calls.Add(1)); n <= len(s.script) {
		return s.script[n-1]()
	}
	return s.PipeListener.Accept()
}

// fails returns an Accept that returns an error.
func fails(err error) func() (net.Conn, error) { return func() (net.Conn, error) { return nil, err } }

// opError returns an error as Accept of a TCP listener returns it.
func opError(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
}

// uncomparableConn is a net.Conn that cannot be the key of a map.
type uncomparableConn struct {
	net.Conn
	tags []string
}

// temporary is an error whose Temporary returns true.
type temporary struct{ error }

func (temporary) Temporary() bool { return true }

// After a temporary error of Accept the listener tries again after a pause.
func TestAcceptErrorsThatPass(t *testing.T) {
	var none *net.TCPConn
	for name, accept := range map[string]func() (net.Conn, error){
		"too many open files":           fails(opError(syscall.EMFILE)),
		"of the system":                 fails(opError(syscall.ENFILE)),
		"of one connection":             fails(opError(syscall.ECONNABORTED)),
		"reset":                         fails(opError(syscall.ECONNRESET)),
		"no buffers":                    fails(opError(syscall.ENOBUFS)),
		"no memory":                     fails(opError(syscall.ENOMEM)),
		"interrupted":                   fails(opError(syscall.EINTR)),
		"would wait":                    fails(opError(syscall.EAGAIN)),
		"a time-out":                    fails(opError(os.ErrDeadlineExceeded)),
		"by its own word":               fails(temporary{errors.New("later")}),
		"inside another":                fails(fmt.Errorf("wrapped: %w", opError(syscall.EMFILE))),
		"neither connection nor error":  func() (net.Conn, error) { return nil, nil },
		"a nil of a type and no error":  func() (net.Conn, error) { return none, nil },
		"a nil of a type and one error": func() (net.Conn, error) { return none, opError(syscall.EMFILE) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const times = 12
				nl := &scriptedListener{PipeListener: kit.NewPipeListener()}
				for range times {
					nl.script = append(nl.script, accept)
				}
				var logged bytes.Buffer
				opt := server.NewEndOptions()
				opt.SetLogger(slog.New(slog.NewTextHandler(&logged, nil)))
				start := time.Now()
				l, err := server.NewListener(nl, opt)
				require.NoError(t, err)
				end, err := client.NewEndWithDialer(nl.Dial)
				require.NoError(t, err)
				defer end.Close()
				// 5, 10, 20 ms and so on up to a second, then a second each.
				pauses := 5*time.Millisecond*(1<<8-1) + (times-8)*time.Second
				assert.Equal(t, pauses, time.Since(start))
				assert.Equal(t, times, strings.Count(logged.String(), "Accept failed"))
				acceptEnd(t, l)
				require.NoError(t, l.Close())
			})
		})
	}
}

// Any other error ends the listener. AcceptEnd returns the Ends that are ready, and then the
// error.
func TestAcceptErrorsThatStay(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		accept func() (net.Conn, error)
		check  func(*testing.T, error)
	}{
		"of the network": {fails(opError(syscall.EINVAL)), func(t *testing.T, err error) {
			assert.ErrorIs(t, err, syscall.EINVAL)
			var op *net.OpError
			assert.ErrorAs(t, err, &op)
		}},
		"not a socket":      {fails(opError(syscall.ENOTSOCK)), func(t *testing.T, err error) { assert.ErrorIs(t, err, syscall.ENOTSOCK) }},
		"an OpError":        {fails(&net.OpError{Op: "accept", Err: boom}), func(t *testing.T, err error) { assert.ErrorIs(t, err, boom) }},
		"of another kind":   {fails(boom), func(t *testing.T, err error) { assert.Equal(t, boom, err) }},
		"closed by another": {fails(net.ErrClosed), func(t *testing.T, err error) { assert.Equal(t, net.ErrClosed, err) }},
		"a panic": {func() (net.Conn, error) { panic(boom) }, func(t *testing.T, err error) {
			assert.ErrorContains(t, err, "Accept of the listener panicked")
		}},
		"the end of the goroutine": {func() (net.Conn, error) { runtime.Goexit(); return nil, nil }, func(t *testing.T, err error) {
			assert.ErrorContains(t, err, "ended its goroutine")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nl := kit.NewPipeListener()
				s := &scriptedListener{PipeListener: nl}
				fail := make(chan struct{})
				for range 4 {
					s.script = append(s.script, nl.Accept)
				}
				s.script = append(s.script, func() (net.Conn, error) {
					<-fail
					return c.accept()
				})
				opt := server.NewEndOptions()
				opt.SetWaitRemoteRPCs("r")
				l, err := server.NewListener(s, opt)
				require.NoError(t, err)
				clients := make([]geminio.End, 4)
				for i := range clients {
					clients[i], err = client.NewEndWithDialer(nl.Dial)
					require.NoError(t, err)
					defer clients[i].Close()
				}
				register := func(i int) {
					require.NoError(t, clients[i].Register(context.Background(), "r", rig.Echo))
					synctest.Wait()
				}
				register(0)
				register(1)
				close(fail)
				synctest.Wait()
				for i := range 2 {
					assert.Equal(t, clients[i].ClientID(), acceptEnd(t, l).ClientID(), "the End that was ready")
				}
				type result struct {
					end geminio.End
					err error
				}
				accepted := make(chan result, 10)
				go func() {
					for {
						end, err := l.AcceptEnd()
						accepted <- result{end, err}
						if err != nil {
							return
						}
					}
				}()
				synctest.Wait()
				require.Empty(t, accepted)
				register(2) // its handshake was in progress
				assert.Equal(t, clients[2].ClientID(), (<-accepted).end.ClientID())
				require.NoError(t, clients[3].Close()) // a client that leaves
				assert.Equal(t, clients[3].ClientID(), (<-accepted).end.ClientID())
				c.check(t, (<-accepted).err)
				_, err = l.Accept()
				c.check(t, err)
				_, err = nl.Dial()
				require.Error(t, err, "the handshake of a client after the listener has ended")
				require.NoError(t, l.Close())
				_, err = l.AcceptEnd()
				c.check(t, err)
			})
		})
	}
}

// The listener can be closed during the pause after a temporary error.
func TestCloseDuringThePause(t *testing.T) {
	for _, s := range stops {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nl := &scriptedListener{PipeListener: kit.NewPipeListener()}
				for range 100 {
					nl.script = append(nl.script, fails(opError(syscall.EMFILE)))
				}
				l, err := server.NewListener(nl)
				require.NoError(t, err)
				time.Sleep(10500 * time.Millisecond)
				start := time.Now()
				require.NoError(t, s.stop(l))
				assert.Zero(t, time.Since(start))
				_, err = l.AcceptEnd()
				assert.Equal(t, net.ErrClosed, err)
			})
		})
	}
}

// The listener accepts connections of any type.
func TestConnectionsOfAnyType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nl, l := newPipeServer(t)
		for range 3 {
			near, far := net.Pipe()
			require.NoError(t, nl.Give(uncomparableConn{Conn: far, tags: []string{"a"}}))
			end, err := client.NewEndWithConn(near)
			require.NoError(t, err)
			defer end.Close()
			synctest.Wait()
			assert.Equal(t, end.ClientID(), acceptEnd(t, l).ClientID())
		}
		near, far := net.Pipe() // a client that does not complete the handshake
		defer near.Close()
		require.NoError(t, nl.Give(uncomparableConn{Conn: far}))
		synctest.Wait()
		require.NoError(t, l.Close())
		_, err := near.Read(make([]byte, 1))
		require.Error(t, err)
	})
}

// hangingCloser is a connection or a listener whose Close does not return.
type hangingCloser struct {
	net.Conn
	nl      *kit.PipeListener
	release chan struct{}
}

func (b *hangingCloser) Close() error {
	<-b.release
	if b.nl != nil {
		return b.nl.Close()
	}
	return b.Conn.Close()
}

func (b *hangingCloser) Accept() (net.Conn, error) { return b.nl.Accept() }
func (b *hangingCloser) Addr() net.Addr            { return b.nl.Addr() }

// Close returns in time, even if Close of the listener or of the transports does not return.
func TestStopOverATransportThatBlocks(t *testing.T) {
	for _, s := range stops {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt := server.NewEndOptions()
				opt.SetLinger(2 * time.Second)
				nl, release := kit.NewPipeListener(), make(chan struct{})
				l, err := server.NewListener(&hangingCloser{nl: nl, release: release}, opt)
				require.NoError(t, err)
				for range 3 {
					near, far := net.Pipe()
					defer near.Close()
					require.NoError(t, nl.Give(&hangingCloser{Conn: far, release: release}))
				}
				synctest.Wait()
				start := time.Now()
				require.Equal(t, s.err, s.stop(l))
				assert.LessOrEqual(t, time.Since(start), 2*time.Second)
				close(release)
				synctest.Wait()
				require.NoError(t, l.Close())
			})
		})
	}
}
