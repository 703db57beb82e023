package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// naming is a HijackRPC that answers with the method.
func naming(_ context.Context, method string, _ geminio.Request, resp geminio.Response) {
	resp.SetData([]byte(method))
}

// The first calls of many clients at once find the hijack, the methods that were registered by the
// function of SetPrepareFunc, and what that function has noted about their End.
func TestFirstCallsOfManyClients(t *testing.T) {
	const clients = 500
	var table sync.Map // the client id of each prepared End, by End
	so := server.NewEndOptions()
	match := options.Hijack()
	match.SetMatch(true, "^hijacked$")
	so.SetHijack(naming, match)
	so.SetPrepareFunc(func(end geminio.End) error {
		table.Store(end, end.ClientID())
		return end.Register(context.Background(), "registered", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			end, _ := geminio.EndFrom(ctx)
			id, found := table.Load(end)
			assert.True(t, found)
			assert.Equal(t, req.ClientID(), id)
			resp.SetData([]byte(req.Method()))
		})
	})
	l := listen(t, so)
	defer l.Close()
	go func() {
		for {
			if _, err := l.AcceptEnd(); err != nil {
				return
			}
		}
	}()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			var end geminio.End
			var err error
			if i%5 == 0 {
				end, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { return kit.Dial(l.Addr().String()) })
			} else {
				end, err = dial(l.Addr().String())
			}
			if !assert.NoError(t, err) {
				return
			}
			defer end.Close()
			for _, method := range []string{"hijacked", "registered"} {
				resp, err := end.Call(t.Context(), method, end.NewRequest(nil))
				if assert.NoError(t, err) {
					assert.Equal(t, method, string(resp.Data()))
				}
			}
		})
	}
	all.Wait()
}

// The client's hijack, methods and function of SetPrepareFunc are in effect before the server can
// call, over all connections of a RetryEnd.
func TestFirstCallsToAClient(t *testing.T) {
	for _, retry := range []bool{false, true} {
		t.Run(fmt.Sprint("retry ", retry), func(t *testing.T) {
			l := listen(t, nil)
			defer l.Close()
			var prepared atomic.Int64
			co := client.NewEndOptions()
			match := options.Hijack()
			match.SetMatch(true, "^hijacked$")
			co.SetHijack(naming, match)
			co.SetPrepareFunc(func(end geminio.End) error {
				prepared.Add(1)
				assert.NotZero(t, end.ClientID())
				assert.Equal(t, l.Addr().String(), end.RemoteAddr().String())
				assert.NotNil(t, end.LocalAddr())
				return end.Register(context.Background(), "registered", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
					from, _ := geminio.EndFrom(ctx)
					assert.True(t, from == end)
					resp.SetData([]byte(req.Method()))
				})
			})
			d := &breakableDialer{address: l.Addr().String()}
			made := kit.Start(func() (err error) {
				var end geminio.End
				if retry {
					end, err = client.NewRetryEndWithDialer(d.dial, co)
				} else {
					end, err = client.NewEndWithDialer(d.dial, co)
				}
				if err == nil {
					t.Cleanup(func() { end.Close() })
				}
				return err
			})
			connections := 1
			if retry {
				connections = 3
			}
			for i := range connections {
				far, err := l.AcceptEnd()
				require.NoError(t, err)
				for _, method := range []string{"hijacked", "registered"} {
					got, err := call(t, far, method, "")
					require.NoError(t, err)
					require.Equal(t, method, got)
				}
				if i == 0 {
					require.NoError(t, <-made)
				}
				far.Close() // so that the next connection is a fresh one
			}
			require.EqualValues(t, 1, prepared.Load())
		})
	}
}

var errDecline = &quota{9}

// refusals are functions of SetPrepareFunc that refuse the connection, and what the peer gets.
var refusals = map[string]struct {
	f    func(geminio.End) error
	code geminio.Code
	text string
}{
	"an error":           {func(geminio.End) error { return errors.New("not today") }, geminio.CodeApplication, "not today"},
	"an error with code": {func(geminio.End) error { return fmt.Errorf("door: %w", errDecline) }, codeQuota, "door: 9 left"},
	"a panic":            {func(geminio.End) error { panic("oops") }, geminio.CodePanic, "the function of SetPrepareFunc panicked"},
	"CloseWithError": {func(e geminio.End) error {
		return errors.Join(geminio.CloseWithError(e, codeQuota, "full"), e.Close())
	}, codeQuota, "full"},
}

func TestServerRefusesWhenPreparing(t *testing.T) {
	for name, c := range refusals {
		for _, retry := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, retry %v", name, retry), func(t *testing.T) {
				sd := newRecorder()
				so := server.NewEndOptions()
				so.SetDelegate(sd)
				var refused geminio.End
				so.SetPrepareFunc(func(e geminio.End) error {
					refused = e
					return c.f(e)
				})
				l := listen(t, so)
				defer l.Close()
				var err error
				if retry {
					_, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { return kit.Dial(l.Addr().String()) })
				} else {
					_, err = dial(l.Addr().String())
				}
				require.Equal(t, &geminio.RefusedError{Code: c.code, Text: c.text}, err)
				kit.Within(t, kit.Forever, "the end of the End", func() { <-geminio.Done(refused) })
				_, err = refused.Call(t.Context(), "m", refused.NewRequest(nil))
				require.Equal(t, io.EOF, err)
				require.NoError(t, refused.Close())
				l.Close()
				_, err = l.AcceptEnd()
				require.ErrorIs(t, err, net.ErrClosed)
			})
		}
	}
}

func TestClientRefusesWhenPreparing(t *testing.T) {
	for name, c := range refusals {
		for _, retry := range []bool{false, true} {
			if retry && name == "CloseWithError" {
				continue
			}
			t.Run(fmt.Sprintf("%s, retry %v", name, retry), func(t *testing.T) {
				l := listen(t, nil)
				defer l.Close()
				co := client.NewEndOptions()
				co.SetRetryFirst(t.Context())
				var refused geminio.End
				co.SetPrepareFunc(func(e geminio.End) error {
					refused = e
					return c.f(e)
				})
				var err error
				if retry {
					_, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { return kit.Dial(l.Addr().String()) }, co)
				} else {
					_, err = dial(l.Addr().String(), co)
				}
				require.ErrorContains(t, err, c.text)
				kit.Within(t, kit.Forever, "the end of the End", func() { <-geminio.Done(refused) })
				far, err := l.AcceptEnd()
				require.NoError(t, err)
				kit.Within(t, kit.Forever, "the end of the peer's End", func() { <-geminio.Done(far) })
				require.Equal(t, &geminio.RemoteError{Code: c.code, Text: c.text}, geminio.Cause(far))
			})
		}
	}
}

// Operations of goroutines that the function of SetPrepareFunc has started succeed when the End
// has begun, and none does anything before.
func TestOperationsOfPreparingGoroutines(t *testing.T) {
	for _, side := range []string{"client", "server", "retry"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				results := make(chan error, 10)
				prepare := func(end geminio.End) error {
					for _, op := range []func() error{
						func() error { _, err := end.Call(t.Context(), "m", end.NewRequest(nil)); return err },
						func() error { return end.Publish(t.Context(), end.NewMessage(nil)) },
						func() error { _, err := end.OpenStream(); return err },
						func() error { _, err := end.AcceptStream(); return err },
						func() error {
							m, err := end.Receive(t.Context())
							if err == nil {
								err = m.Done()
							}
							return err
						},
						func() error { _, err := end.Write([]byte("hello")); return err },
						func() error { _, err := io.ReadFull(end, make([]byte, 5)); return err },
					} {
						go func() { results <- op() }()
					}
					time.Sleep(time.Second)
					return nil
				}
				co, so := client.NewEndOptions(), server.NewEndOptions()
				if side == "server" {
					so.SetPrepareFunc(prepare)
				} else {
					co.SetPrepareFunc(prepare)
				}
				co.SetHijack(naming)
				so.SetHijack(naming)
				near, far := net.Pipe()
				peers := make(chan geminio.End, 2)
				go func() {
					e, err := server.NewEndWithConn(far, so)
					assert.NoError(t, err)
					peers <- e
				}()
				start := time.Now()
				var c geminio.End
				var err error
				if side == "retry" {
					c, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { return near, nil }, co)
				} else {
					c, err = client.NewEndWithConn(near, co)
				}
				require.NoError(t, err)
				assert.Equal(t, time.Second, time.Since(start))
				peer := c
				if s := <-peers; side != "server" {
					peer = s
					defer c.Close()
				} else {
					defer s.Close()
				}
				defer peer.Close()
				_, err = peer.AcceptStream()
				require.NoError(t, err)
				_, err = peer.OpenStream()
				require.NoError(t, err)
				m, err := peer.Receive(t.Context())
				require.NoError(t, err)
				require.NoError(t, m.Done())
				require.NoError(t, peer.Publish(t.Context(), peer.NewMessage(nil)))
				_, err = peer.Write([]byte("hello"))
				require.NoError(t, err)
				_, err = io.ReadFull(peer, make([]byte, 5))
				require.NoError(t, err)
				for range 7 {
					assert.NoError(t, <-results)
				}
			})
		})
	}
}

// A function of SetPrepareFunc that waits for its peer fails the handshake when its time is over.
func TestPreparingThatWaitsForThePeer(t *testing.T) {
	for _, side := range []string{"client", "server", "retry"} {
		for name, op := range map[string]func(geminio.End) error{
			"Call":         func(e geminio.End) error { _, err := e.Call(context.Background(), "m", e.NewRequest(nil)); return err },
			"Publish":      func(e geminio.End) error { return e.Publish(context.Background(), e.NewMessage(nil)) },
			"OpenStream":   func(e geminio.End) error { _, err := e.OpenStream(); return err },
			"AcceptStream": func(e geminio.End) error { _, err := e.AcceptStream(); return err },
			"Receive":      func(e geminio.End) error { _, err := e.Receive(context.Background()); return err },
			"Read":         func(e geminio.End) error { _, err := e.Read(make([]byte, 1)); return err },
			"Write":        func(e geminio.End) error { _, err := e.Write(make([]byte, 1<<20)); return err },
		} {
			t.Run(side+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					co, so := client.NewEndOptions(), server.NewEndOptions()
					var inner error
					prepare := func(e geminio.End) error {
						inner = op(e)
						return nil
					}
					if side == "server" {
						so.SetPrepareFunc(prepare)
					} else {
						co.SetPrepareFunc(prepare)
					}
					near, far := net.Pipe()
					served := kit.Start(func() error {
						e, err := server.NewEndWithConn(far, so)
						if err == nil {
							<-geminio.Done(e)
						}
						return err
					})
					var err error
					if side == "retry" {
						co.SetConnectWait(0)
						_, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { return near, nil }, co)
					} else {
						_, err = client.NewEndWithConn(near, co)
					}
					require.Error(t, err)
					serr := <-served
					require.Error(t, inner)
					if side == "server" {
						err = serr
					}
					require.ErrorIs(t, err, geminio.ErrHandshakeTimeout)
				})
			})
		}
	}
}

// No handler of a client runs before its function of SetPrepareFunc has returned.
func TestNoHandlerRunsBeforeTheEndIsPrepared(t *testing.T) {
	for _, retry := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			var prepared atomic.Bool
			co := client.NewEndOptions()
			co.SetHijack(func(_ context.Context, _ string, _ geminio.Request, resp geminio.Response) {
				assert.True(t, prepared.Load())
			})
			co.SetPrepareFunc(func(geminio.End) error {
				time.Sleep(5 * time.Second)
				prepared.Store(true)
				return nil
			})
			called := kit.Start(func() error {
				e, err := server.NewEndWithConn(far)
				if err != nil {
					return err
				}
				defer e.Close()
				_, err = e.Call(t.Context(), "m", e.NewRequest(nil))
				return err
			})
			var c geminio.End
			var err error
			if retry {
				c, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { return near, nil }, co)
			} else {
				c, err = client.NewEndWithConn(near, co)
			}
			require.NoError(t, err)
			require.NoError(t, <-called)
			c.Close()
		})
	}
}
