package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// oddConn is a net.Conn whose methods a test can replace. It cannot be compared, nor be the key
// of a map.
type oddConn struct {
	net.Conn
	*oddities
	_ []int
}

// oddities has the functions of an oddConn. They may be changed at any time.
type oddities struct {
	mu         sync.Mutex
	read       func(p []byte) (int, error)
	write      func(p []byte) (int, error)
	close      func() error
	closeWrite func() error
	netConn    func() net.Conn
	localAddr  func() net.Addr
	remoteAddr func() net.Addr

	closes atomic.Int32 // the number of calls of Close
}

// set changes the oddities.
func (o *oddities) set(change func(o *oddities)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

// oddity returns one of the functions, or nil.
func oddity[F any](o *oddities, which func(o *oddities) F) F {
	o.mu.Lock()
	defer o.mu.Unlock()
	return which(o)
}

func newOddConn(nc net.Conn) oddConn { return oddConn{Conn: nc, oddities: &oddities{}} }

func (o oddConn) Read(p []byte) (int, error) {
	if f := oddity(o.oddities, func(o *oddities) func([]byte) (int, error) { return o.read }); f != nil {
		return f(p)
	}
	return o.Conn.Read(p)
}

func (o oddConn) Write(p []byte) (int, error) {
	if f := oddity(o.oddities, func(o *oddities) func([]byte) (int, error) { return o.write }); f != nil {
		return f(p)
	}
	return o.Conn.Write(p)
}

func (o oddConn) Close() error {
	o.closes.Add(1)
	if f := oddity(o.oddities, func(o *oddities) func() error { return o.close }); f != nil {
		return f()
	}
	return o.Conn.Close()
}

func (o oddConn) CloseWrite() error {
	if f := oddity(o.oddities, func(o *oddities) func() error { return o.closeWrite }); f != nil {
		return f()
	}
	return nil
}

func (o oddConn) NetConn() net.Conn {
	if f := oddity(o.oddities, func(o *oddities) func() net.Conn { return o.netConn }); f != nil {
		return f()
	}
	return o.Conn
}

func (o oddConn) LocalAddr() net.Addr {
	if f := oddity(o.oddities, func(o *oddities) func() net.Addr { return o.localAddr }); f != nil {
		return f()
	}
	return o.Conn.LocalAddr()
}

func (o oddConn) RemoteAddr() net.Addr {
	if f := oddity(o.oddities, func(o *oddities) func() net.Addr { return o.remoteAddr }); f != nil {
		return f()
	}
	return o.Conn.RemoteAddr()
}

// onOddConn is onPipe with an oddConn, whose methods are replaced after the handshake.
func onOddConn(t *testing.T, cfg *Config, test func(c *Conn, u *fakeHandler, o oddConn, p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o, p := newOddConn(near), &peer{t, far}
		c, u := startOn(t, geminio.RecipientSide, o, p, cfg)
		synctest.Wait() // until Read blocks
		test(c, u, o, p)
		far.Close()
		near.Close()
		<-c.Done()
		synctest.Wait()
	})
}

// Close of the transport is called once, however the connection ends. Limiters count
// connections in it.
func TestOwnCloseOfTheTransport(t *testing.T) {
	for name, end := range map[string]func(c *Conn, u *fakeHandler, o oddConn, p *peer){
		"the peer is gone": func(_ *Conn, _ *fakeHandler, _ oddConn, p *peer) { p.nc.Close() },
		"reading fails": func(_ *Conn, _ *fakeHandler, o oddConn, _ *peer) {
			o.set(func(o *oddities) { o.read = func([]byte) (int, error) { return 0, errBroken } })
			o.Conn.SetReadDeadline(time.Now())
		},
		"writing fails": func(c *Conn, u *fakeHandler, o oddConn, _ *peer) {
			o.set(func(o *oddities) { o.write = func([]byte) (int, error) { return 0, errBroken } })
			u.give(dataFrame(1))
			c.Kick()
		},
		"the peer is silent": func(*Conn, *fakeHandler, oddConn, *peer) { time.Sleep(time.Minute) },
		"a violation of the peer": func(_ *Conn, _ *fakeHandler, _ oddConn, p *peer) {
			p.drain()
			p.write(make([]byte, 100), "zeros, which are no frame")
		},
		"the peer does not answer": func(c *Conn, _ *fakeHandler, _ oddConn, p *peer) { p.drain(); c.Close(io.EOF, packet.Reason{}) },
		"both have closed": func(c *Conn, _ *fakeHandler, _ oddConn, p *peer) {
			c.Close(io.EOF, packet.Reason{})
			p.want(packet.TypeClose, "ours")
			p.writeClose(packet.Reason{}, "theirs")
		},
	} {
		t.Run(name, func(t *testing.T) {
			onOddConn(t, testConfig(), func(c *Conn, u *fakeHandler, o oddConn, p *peer) {
				end(c, u, o, p)
				<-c.Done()
				synctest.Wait()
				assert.EqualValues(t, 1, o.closes.Load())
			})
		})
	}
}

// Close of the transport is called once when the handshake fails.
func TestOwnCloseAfterAFailedHandshake(t *testing.T) {
	for name, fail := range map[string]func(far net.Conn){
		"the peer is silent": func(net.Conn) {},
		"the peer is gone":   func(far net.Conn) { far.Close() },
		"nonsense":           func(far net.Conn) { far.Write(make([]byte, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				o := newOddConn(near)
				ch := shake(geminio.RecipientSide, o, testConfig())
				go fail(far)
				require.Error(t, (<-ch).err)
				assert.EqualValues(t, 1, o.closes.Load())
				far.Close()
			})
		})
	}
}

// Close of the transport never returns. The connection waits for it for a short time beyond the
// linger time.
func TestCloseThatNeverReturns(t *testing.T) {
	for name, end := range map[string]struct {
		how  func(c *Conn, p *peer)
		most time.Duration
	}{
		"broken": {func(_ *Conn, p *peer) { p.nc.Close() }, closeGrace},
		"closed": {func(c *Conn, p *peer) {
			c.Close(io.EOF, packet.Reason{})
			p.want(packet.TypeClose, "ours")
			p.writeClose(packet.Reason{}, "theirs")
		}, 5*time.Second + closeGrace},
		"not answered": {func(c *Conn, p *peer) { p.drain(); c.Close(io.EOF, packet.Reason{}) }, 5*time.Second + closeGrace},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			onOddConn(t, testConfig(), func(c *Conn, u *fakeHandler, o oddConn, p *peer) {
				release = make(chan struct{})
				o.set(func(o *oddities) { o.close = func() error { <-release; return nil } })
				start := time.Now()
				end.how(c, p)
				select {
				case <-c.Done():
				case <-time.After(time.Hour):
					t.Error("Done is not closed, though Close of the transport does not return")
				}
				assert.LessOrEqual(t, time.Since(start), end.most)
				close(release)
			})
		})
	}
}

// If Close of a transport writes and the peer does not read, the link closes the connection
// beneath it, which lets Close return.
func TestCloseThatWaitsForThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o, p := newOddConn(near), &peer{t, far}
		c, u := startOn(t, geminio.RecipientSide, o, p, testConfig())
		released := false
		o.set(func(o *oddities) {
			o.close = func() error {
				_, err := near.Write([]byte("goodbye"))
				released = true
				return err
			}
		})
		start := time.Now()
		time.Sleep(40 * time.Second) // the peer is silent
		<-c.Done()
		synctest.Wait()
		assert.True(t, released)
		assert.Equal(t, 40*time.Second, time.Since(start))
		assert.ErrorIs(t, c.Cause(), geminio.ErrSilent)
		<-u.over
		far.Close()
	})
}

// The handshake ends at its timeout, whatever the transport does.
func TestHandshakeKeepsItsTime(t *testing.T) {
	for name, change := range map[string]func(o *oddities, release chan struct{}){
		"Close blocks": func(o *oddities, release chan struct{}) { o.close = func() error { <-release; return nil } },
		"Read ignores Close": func(o *oddities, release chan struct{}) {
			o.read = func([]byte) (int, error) { <-release; return 0, io.EOF }
		},
		"Write ignores Close": func(o *oddities, release chan struct{}) {
			o.write = func([]byte) (int, error) { <-release; return 0, io.EOF }
		},
		"both, and Close blocks": func(o *oddities, release chan struct{}) {
			o.read = func([]byte) (int, error) { <-release; return 0, io.EOF }
			o.write = func([]byte) (int, error) { <-release; return 0, io.EOF }
			o.close = func() error { <-release; return nil }
		},
		"Read gives nothing": func(o *oddities, release chan struct{}) {
			o.read = func([]byte) (int, error) {
				select {
				case <-release:
					return 0, io.EOF
				default:
					return 0, nil
				}
			}
		},
	} {
		for _, side := range []geminio.Side{geminio.InitiatorSide, geminio.RecipientSide} {
			t.Run(name+", "+side.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					near, far := net.Pipe()
					go io.Copy(io.Discard, far)
					o, release := newOddConn(near), make(chan struct{})
					change(o.oddities, release)
					start := time.Now()
					select {
					case r := <-shake(side, o, testConfig()):
						assert.ErrorIs(t, r.err, geminio.ErrHandshakeTimeout)
						assert.GreaterOrEqual(t, time.Since(start), 10*time.Second)
						assert.LessOrEqual(t, time.Since(start), 10*time.Second+closeGrace)
					case <-time.After(time.Hour):
						t.Error("the handshake did not end within an hour")
					}
					close(release)
					near.Close()
					far.Close()
					synctest.Wait()
					assert.EqualValues(t, 1, o.closes.Load())
				})
			})
		}
	}
}

// A Write that returns another number than its length, and no error, ends the connection,
// since bytes may be lost.
func TestShortWrite(t *testing.T) {
	for name, count := range map[string]func(p []byte) int{
		"less":     func(p []byte) int { return len(p) - 1 },
		"nothing":  func([]byte) int { return 0 },
		"more":     func(p []byte) int { return len(p) + 1 },
		"negative": func([]byte) int { return -1 },
	} {
		short := func(p []byte) (int, error) { return count(p), nil }
		t.Run(name, func(t *testing.T) {
			onOddConn(t, testConfig(), func(c *Conn, u *fakeHandler, o oddConn, p *peer) {
				o.set(func(o *oddities) { o.write = short })
				u.give(dataFrame(1, 2, 3))
				c.Kick()
				<-c.Done()
				assert.ErrorIs(t, c.Cause(), io.ErrShortWrite)
			})
		})
		t.Run(name+", in the handshake", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				o := newOddConn(near)
				o.set(func(o *oddities) { o.write = short })
				r := <-shake(geminio.InitiatorSide, o, testConfig())
				assert.ErrorIs(t, r.err, io.ErrShortWrite)
			})
		})
	}
}

// A Read that returns 0, nil is repeated up to a hundred times in a row.
func TestReadsOfNothing(t *testing.T) {
	onOddConn(t, testConfig(), func(c *Conn, u *fakeHandler, o oddConn, p *peer) {
		var left atomic.Int32
		left.Store(99)
		under := o.Conn
		o.set(func(o *oddities) {
			o.read = func(b []byte) (int, error) {
				if left.Add(-1) >= 0 {
					return 0, nil
				}
				return under.Read(b)
			}
		})
		p.write(dataFrame(1), "a frame that ends the blocked Read")
		p.write(dataFrame(2), "a frame after 99 Reads of nothing")
		synctest.Wait()
		assert.Len(t, u.seen().got, 2)
		assert.NoError(t, c.Cause())

		left.Store(1 << 30)
		p.write(dataFrame(3), "a frame that ends the blocked Read")
		<-c.Done()
		assert.ErrorIs(t, c.Cause(), io.ErrNoProgress)
	})
}

// A Read that returns more than the length of its buffer, or a negative number, ends the
// connection.
func TestReadsOfImpossibleLengths(t *testing.T) {
	for name, n := range map[string]int{"more": 1 << 20, "negative": -1} {
		t.Run(name, func(t *testing.T) {
			onOddConn(t, testConfig(), func(c *Conn, u *fakeHandler, o oddConn, p *peer) {
				o.set(func(o *oddities) { o.read = func([]byte) (int, error) { return n, nil } })
				p.write(dataFrame(1), "a frame that ends the blocked Read")
				<-c.Done()
				assert.ErrorContains(t, c.Cause(), "Read returned")
			})
		})
	}
}

// A nil transport is an error, and so is a nil pointer to one.
func TestNoTransport(t *testing.T) {
	for name, nc := range map[string]net.Conn{
		"nil": nil, "*net.TCPConn": (*net.TCPConn)(nil), "*tls.Conn": (*tls.Conn)(nil), "*net.UnixConn": (*net.UnixConn)(nil),
	} {
		t.Run(name, func(t *testing.T) {
			for _, do := range []func(net.Conn, *Config) (*Conn, error){Client, Server} {
				c, err := do(nc, testConfig())
				assert.Nil(t, c)
				assert.ErrorContains(t, err, "nil")
			}
		})
	}
}

// A transport that panics costs its connection, and nothing else.
func TestTransportThatPanics(t *testing.T) {
	boom := func(string) { panic("boom") }
	for name, test := range map[string]struct {
		change func(o *oddities)
		begin  func(c *Conn, u *fakeHandler, p *peer)
		want   string // a part of the cause; "": the connection does not end
	}{
		"Read": {
			func(o *oddities) { o.read = func([]byte) (int, error) { boom(""); return 0, nil } },
			func(_ *Conn, _ *fakeHandler, p *peer) { p.write(dataFrame(1), "a frame that ends the blocked Read") },
			"panicked",
		},
		"Read ends its goroutine": {
			func(o *oddities) { o.read = func([]byte) (int, error) { runtime.Goexit(); return 0, nil } },
			func(_ *Conn, _ *fakeHandler, p *peer) { p.write(dataFrame(1), "a frame that ends the blocked Read") },
			"ended its goroutine",
		},
		"Write": {
			func(o *oddities) { o.write = func([]byte) (int, error) { boom(""); return 0, nil } },
			func(c *Conn, u *fakeHandler, _ *peer) { u.give(dataFrame(1)); c.Kick() },
			"panicked",
		},
		"Write ends its goroutine": {
			func(o *oddities) { o.write = func([]byte) (int, error) { runtime.Goexit(); return 0, nil } },
			func(c *Conn, u *fakeHandler, _ *peer) { u.give(dataFrame(1)); c.Kick() },
			"ended its goroutine",
		},
		"the error of Read": {
			func(o *oddities) { o.read = func([]byte) (int, error) { return 0, (*nilPanicsError)(nil) } },
			func(_ *Conn, _ *fakeHandler, p *peer) { p.write(dataFrame(1), "a frame that ends the blocked Read") },
			"nilPanicsError",
		},
		"the error of Write": {
			func(o *oddities) { o.write = func([]byte) (int, error) { return 0, (*nilPanicsError)(nil) } },
			func(c *Conn, u *fakeHandler, _ *peer) { u.give(dataFrame(1)); c.Kick() },
			"nilPanicsError",
		},
		"Close": {
			func(o *oddities) { o.close = func() error { boom(""); return nil } },
			func(_ *Conn, _ *fakeHandler, p *peer) { p.nc.Close() },
			"EOF",
		},
		"Close ends its goroutine": {
			func(o *oddities) { o.close = func() error { runtime.Goexit(); return nil } },
			func(_ *Conn, _ *fakeHandler, p *peer) { p.nc.Close() },
			"EOF",
		},
		"NetConn": {
			func(o *oddities) { o.netConn = func() net.Conn { boom(""); return nil } },
			func(_ *Conn, _ *fakeHandler, p *peer) { p.nc.Close() },
			"EOF",
		},
		"NetConn is nil": {
			func(o *oddities) { o.netConn = func() net.Conn { return (*net.TCPConn)(nil) } },
			func(_ *Conn, _ *fakeHandler, p *peer) { p.nc.Close() },
			"EOF",
		},
		"CloseWrite": {
			func(o *oddities) { o.closeWrite = func() error { boom(""); return nil } },
			func(c *Conn, _ *fakeHandler, p *peer) {
				c.Close(errMine, packet.Reason{})
				p.want(packet.TypeClose, "ours")
				p.writeClose(packet.Reason{}, "theirs")
			},
			"mine",
		},
	} {
		t.Run(name, func(t *testing.T) {
			onOddConn(t, testConfig(), func(c *Conn, u *fakeHandler, o oddConn, p *peer) {
				o.set(test.change)
				test.begin(c, u, p)
				<-c.Done()
				assert.ErrorContains(t, c.Cause(), test.want)
				assert.EqualValues(t, 1, o.closes.Load())
			})
		})
	}
	t.Run("the addresses", func(t *testing.T) {
		onOddConn(t, testConfig(), func(c *Conn, _ *fakeHandler, o oddConn, _ *peer) {
			for _, f := range []func() net.Addr{nil, func() net.Addr { boom(""); return nil }, func() net.Addr { return nil }} {
				o.set(func(o *oddities) { o.localAddr, o.remoteAddr = f, f })
				for _, a := range []net.Addr{c.LocalAddr(), c.RemoteAddr()} {
					assert.NotEmpty(t, a.Network())
					assert.NotEmpty(t, a.String())
				}
			}
			assert.NoError(t, c.Cause())
		})
	})
	t.Run("the handshake", func(t *testing.T) {
		for _, test := range []struct {
			name   string
			change func(o *oddities)
		}{
			{"Read", func(o *oddities) { o.read = func([]byte) (int, error) { boom(""); return 0, nil } }},
			{"Read ends its goroutine", func(o *oddities) { o.read = func([]byte) (int, error) { runtime.Goexit(); return 0, nil } }},
			{"Write", func(o *oddities) { o.write = func([]byte) (int, error) { boom(""); return 0, nil } }},
		} {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				go io.Copy(io.Discard, far)
				o := newOddConn(near)
				test.change(o.oddities)
				r := <-shake(geminio.InitiatorSide, o, testConfig())
				require.Error(t, r.err, test.name)
				assert.NotErrorIs(t, r.err, geminio.ErrHandshakeTimeout)
				assert.EqualValues(t, 1, o.closes.Load())
			})
		}
	})
}

// nilPanicsError is an error whose methods panic if it is nil.
type nilPanicsError struct{ text string }

func (e *nilPanicsError) Error() string     { return e.text }
func (e *nilPanicsError) Is(err error) bool { return e.text == err.Error() }

// The handshake can be given up before its timeout.
func TestHandshakeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o, release := newOddConn(near), make(chan struct{})
		o.set(func(o *oddities) { o.read = func([]byte) (int, error) { <-release; return 0, io.EOF } })
		cfg := testConfig()
		var stop context.CancelFunc
		cfg.Context, stop = context.WithCancel(context.Background())
		start := time.Now()
		ch := shake(geminio.RecipientSide, o, cfg)
		time.Sleep(time.Second)
		stop()
		r := <-ch
		assert.ErrorIs(t, r.err, net.ErrClosed)
		assert.False(t, errors.Is(r.err, geminio.ErrHandshakeTimeout))
		assert.Equal(t, time.Second, time.Since(start))
		assert.EqualValues(t, 1, o.closes.Load())
		close(release)
		far.Close()
	})
}

// The handshake can be given up during a callback. The transport is closed at once, and the
// result of the callback is ignored.
func TestHandshakeIsGivenUpInACallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		stop, giveUp := context.WithCancel(t.Context())
		entered, release := make(chan struct{}), make(chan struct{})
		offline := 0
		cfg := testConfig()
		cfg.Context = stop
		cfg.Online = func(*Conn) error {
			close(entered)
			<-release
			return nil
		}
		cfg.Offline = func(*Conn) { offline++ }
		o := newOddConn(near)
		ch := shake(geminio.RecipientSide, o, cfg)
		go shake(geminio.InitiatorSide, far, testConfig())
		<-entered
		giveUp()
		synctest.Wait()
		assert.EqualValues(t, 1, o.closes.Load())
		assert.Empty(t, ch)
		close(release)
		assert.ErrorIs(t, (<-ch).err, net.ErrClosed)
		assert.EqualValues(t, 1, o.closes.Load())
		assert.Equal(t, 1, offline)
	})
}

// halfConn is a net.Conn whose Write takes half of its bytes and returns no error.
type halfConn struct {
	net.Conn
	took []byte
}

func (c *halfConn) Write(p []byte) (int, error) {
	c.took = append(c.took, p[:len(p)/2]...)
	return len(p) / 2, nil
}

// After a Write that has failed nothing more is written, since the peer would take it for the
// missing bytes.
func TestNothingIsWrittenAfterAnError(t *testing.T) {
	nc := &halfConn{}
	l := &link{nc: nc}
	require.ErrorIs(t, l.write([]byte("data")), io.ErrShortWrite)
	require.ErrorIs(t, l.write([]byte("ping")), io.ErrShortWrite)
	require.Equal(t, "da", string(nc.took))
}
