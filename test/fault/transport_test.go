package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	"github.com/singchia/geminio/test/rig"
)

// limitedConn is a connection of a listener that limits their number. It cannot be the key of a
// map, and its Close releases a place.
type limitedConn struct {
	*net.TCPConn
	wrapped []net.Conn // has the connection that NetConn returns
	places  *atomic.Int32
	closed  *atomic.Bool
}

func newLimitedConn(nc net.Conn, places *atomic.Int32) limitedConn {
	places.Add(1)
	return limitedConn{TCPConn: nc.(*net.TCPConn), wrapped: []net.Conn{nc}, places: places, closed: &atomic.Bool{}}
}

func (l limitedConn) NetConn() net.Conn { return l.wrapped[0] }

func (l limitedConn) Close() error {
	if l.closed.CompareAndSwap(false, true) {
		l.places.Add(-1)
	}
	return l.TCPConn.Close()
}

// Close of the transport is called at both sides, however the connection ends. With resumption
// the places of the next transport are taken after a break, and only those.
func TestLimitedTransportsGiveTheirPlacesBack(t *testing.T) {
	for name, test := range map[string]struct {
		breaks bool
		end    func(p *rig.Pair)
	}{
		"broken": {true, func(p *rig.Pair) { p.ClientConn.(limitedConn).TCPConn.Close() }},
		"reset": {true, func(p *rig.Pair) {
			p.ClientConn.(limitedConn).TCPConn.SetLinger(0)
			p.ClientConn.(limitedConn).TCPConn.Close()
		}},
		"closed by the client": {false, func(p *rig.Pair) { p.Client.Close() }},
		"closed by the server": {false, func(p *rig.Pair) { p.Server.Close() }},
	} {
		for _, r := range []resumption{noResumption, withResumption} {
			t.Run(fmt.Sprintf("%s, %v", name, r), func(t *testing.T) {
				var places atomic.Int32
				p, err := r.join(t, func() (net.Conn, net.Conn, error) {
					cc, sc, err := kit.RawPair("tcp")
					if err != nil {
						return nil, nil, err
					}
					return newLimitedConn(cc, &places), newLimitedConn(sc, &places), nil
				}, nil, nil)
				require.NoError(t, err)
				register(t, p.Server, "echo", rig.Echo)
				_, err = p.Client.Call(kit.Deadline(t), "echo", p.Client.NewRequest([]byte("x")))
				require.NoError(t, err)
				require.EqualValues(t, 2, places.Load())
				test.end(p)
				if test.breaks && r == withResumption {
					ctx := kit.Deadline(t)
					_, err = p.Client.Call(ctx, "echo", p.Client.NewRequest([]byte("x")))
					require.NoError(t, err)
					for places.Load() > 2 && ctx.Err() == nil { // Close of the old transport runs on its own
						time.Sleep(time.Millisecond)
					}
					assert.EqualValues(t, 2, places.Load())
					p.Close()
				}
				for _, end := range []geminio.End{p.Client, p.Server} {
					if end == p.Client && r == withResumption && !test.breaks {
						end.Close() // a RetryEnd does not end with its connection
					}
					kit.Await(t, kit.Forever, "the end", geminio.Done(end))
				}
				p.Close()
				assert.Zero(t, places.Load())
			})
		}
	}
}

// hangingCloseConn is a bufferedConn whose Close does not return.
type hangingCloseConn struct {
	*bufferedConn
	stuck chan struct{}
}

func (s hangingCloseConn) Close() error {
	s.bufferedConn.Close()
	<-s.stuck
	return nil
}

// closing is the time that Close of an End may take beyond the linger time.
const closing = time.Second

// Close of the transport does not return. Close of the End returns shortly after the linger
// time at the latest, and at once when the connection is broken.
func TestCloseOfATransportThatHangs(t *testing.T) {
	for name, test := range map[string]struct {
		before func(p *rig.Pair, near, far *bufferedConn)
		most   time.Duration
	}{
		"in good order": {func(*rig.Pair, *bufferedConn, *bufferedConn) {}, linger + closing},
		"the peer has closed": {func(p *rig.Pair, _, _ *bufferedConn) {
			go p.Server.Close()
			time.Sleep(time.Second)
		}, linger + closing},
		"the peer is silent": {func(_ *rig.Pair, _, far *bufferedConn) { far.dropWrites() }, linger + closing},
		"broken": {func(_ *rig.Pair, near, far *bufferedConn) {
			near.Close()
			far.Close()
			time.Sleep(time.Second)
		}, closing},
	} {
		t.Run(name, func(t *testing.T) {
			eachResumption(t, func(t *testing.T, r resumption) {
				stuck := make(chan struct{})
				var first [2]*bufferedConn
				p, err := r.join(t, func() (net.Conn, net.Conn, error) {
					near, far := newBufferedPair(64 << 10)
					if first[0] == nil {
						first = [2]*bufferedConn{near, far}
					}
					return hangingCloseConn{near, stuck}, far, nil
				}, nil, nil)
				require.NoError(t, err)
				test.before(p, first[0], first[1])
				most := test.most
				if r == withResumption && name == "broken" {
					most = linger + closing // there is another transport
					assert.EqualValues(t, 1, p.Client.(*client.RetryEnd).Stats().Resumes)
				}
				begin := time.Now()
				assert.NoError(t, kit.Await(t, time.Hour, "Close", kit.Start(p.Client.Close)))
				assert.LessOrEqual(t, time.Since(begin), most)
				close(stuck)
				p.Close()
			})
		})
	}
}

// shortWriteConn is a bufferedConn whose Write writes half of its bytes and returns no error
// while from is set.
type shortWriteConn struct {
	*bufferedConn
	from *atomic.Bool
}

func (s shortWriteConn) Write(p []byte) (int, error) {
	if s.from.Load() {
		return s.bufferedConn.Write(p[:len(p)/2])
	}
	return s.bufferedConn.Write(p)
}

// A transport that loses bytes of a Write ends the connection. The reader gets a prefix of the
// written bytes, and with resumption the rest over the next transport.
func TestTransportThatWritesShort(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		dials := 0
		var failing atomic.Bool
		p, err := r.join(t, func() (net.Conn, net.Conn, error) {
			near, far := newBufferedPair(64 << 10)
			if dials++; dials > 1 {
				return near, far, nil
			}
			return shortWriteConn{near, &failing}, far, nil
		}, nil, nil)
		require.NoError(t, err)
		sent := kit.BytesOf(1<<20, 1)
		_, err = p.Client.Write(sent[:1000])
		require.NoError(t, err)
		synctest.Wait()
		failing.Store(true)
		wrote := kit.Start(func() error {
			_, err := p.Client.Write(sent[1000:])
			return errors.Join(err, geminio.CloseWrite(p.Client))
		})
		got, _ := io.ReadAll(p.Server)
		require.LessOrEqual(t, len(got), len(sent))
		assert.Equal(t, sent[:len(got)], got)
		if r == withResumption {
			assert.NoError(t, <-wrote)
			assert.Len(t, got, len(sent))
			assert.Equal(t, 2, dials)
		} else {
			assert.Error(t, <-wrote)
			assert.ErrorIs(t, geminio.Cause(p.Client), io.ErrShortWrite)
		}
		p.Close()
	})
}

// panickingConn is a bufferedConn whose methods panic while from is set.
type panickingConn struct {
	*bufferedConn
	from *atomic.Bool
}

func (s panickingConn) Read(p []byte) (int, error) {
	n, err := s.bufferedConn.Read(p)
	if s.from.Load() {
		panic("Read")
	}
	return n, err
}

func (s panickingConn) Write(p []byte) (int, error) {
	if s.from.Load() {
		panic("Write")
	}
	return s.bufferedConn.Write(p)
}

func (s panickingConn) Close() error {
	s.bufferedConn.Close()
	panic("Close")
}

func (s panickingConn) LocalAddr() net.Addr {
	if s.from.Load() {
		panic("LocalAddr")
	}
	return s.bufferedConn.LocalAddr()
}

func (s panickingConn) RemoteAddr() net.Addr {
	if s.from.Load() {
		panic("RemoteAddr")
	}
	return s.bufferedConn.RemoteAddr()
}

// A transport that panics costs its connection. The other Ends of the process continue. With
// resumption, the session continues over the next transport.
func TestTransportThatPanics(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		other := newObservedPair(t, r, nil, nil)
		register(t, other.Server, "echo", rig.Echo)
		for _, side := range []string{"client", "server"} {
			dials := 0
			var bad atomic.Bool
			p, err := r.join(t, func() (net.Conn, net.Conn, error) {
				near, far := newBufferedPair(64 << 10)
				if dials++; dials > 1 {
					return near, far, nil
				}
				if side == "client" {
					return panickingConn{near, &bad}, far, nil
				}
				return near, panickingConn{far, &bad}, nil
			}, nil, nil)
			require.NoError(t, err)
			register(t, p.Server, "echo", rig.Echo)
			synctest.Wait()
			bad.Store(true)
			assert.NotNil(t, p.Client.LocalAddr())
			assert.NotNil(t, p.Client.RemoteAddr())
			assert.NotNil(t, p.Server.RemoteAddr())
			_, err = p.Client.Call(context.Background(), "echo", p.Client.NewRequest(nil))
			if r == withResumption {
				assert.NoError(t, err)
			} else {
				assert.Error(t, err)
			}
			p.Close()
		}
		_, err := other.Client.Call(context.Background(), "echo", other.Client.NewRequest(nil))
		assert.NoError(t, err)
	})
}

// emptyReadConn is a bufferedConn whose Read mostly returns 0, nil.
type emptyReadConn struct {
	*bufferedConn
	calls *atomic.Int32
}

func (s emptyReadConn) Read(p []byte) (int, error) {
	if s.calls.Add(1)%90 != 0 {
		return 0, nil
	}
	return s.bufferedConn.Read(p)
}

// A transport whose Read mostly returns 0, nil works. If it always does, the handshake ends at
// its timeout.
func TestTransportThatReadsNothing(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		p, err := r.join(t, func() (net.Conn, net.Conn, error) {
			near, far := newBufferedPair(64 << 10)
			return emptyReadConn{near, &atomic.Int32{}}, far, nil
		}, nil, nil)
		require.NoError(t, err)
		register(t, p.Server, "echo", rig.Echo)
		_, err = p.Client.Call(context.Background(), "echo", p.Client.NewRequest(nil))
		assert.NoError(t, err)
		p.Close()

		for _, make := range []func(net.Conn) (geminio.End, error){
			func(nc net.Conn) (geminio.End, error) { return client.NewEndWithConn(nc) },
			func(nc net.Conn) (geminio.End, error) { return server.NewEndWithConn(nc) },
		} {
			near, far := newBufferedPair(64 << 10)
			begin := time.Now()
			_, err = make(neverReadConn{near})
			assert.ErrorIs(t, err, geminio.ErrHandshakeTimeout)
			assert.Equal(t, 10*time.Second, time.Since(begin))
			far.Close()
		}
	})
}

// neverReadConn is a bufferedConn whose Read always returns 0, nil.
type neverReadConn struct{ *bufferedConn }

func (neverReadConn) Read([]byte) (int, error) { return 0, nil }

// After a break, Read of the transport does not return. No handshake can take over the session
// then: it ends after the time for which it is kept, and a fresh connection takes its place. No
// goroutine of the library waits for that Read longer.
func TestReadThatIsStuckAfterABreak(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				co := client.NewEndOptions()
				co.SetRetryBackoff(time.Second, time.Second)
				l := newObservedPair(t, withResumption, co, nil)
				stuck := make(chan struct{})
				l.near.stuck, l.far.stuck = stuck, nil
				if side == "server" {
					l.near.stuck, l.far.stuck = nil, stuck
				}
				s, _ := rig.OpenStream(t, l.Client, l.Server)
				read := kit.Start(func() error { _, err := s.Read(make([]byte, 1)); return err })
				go s.Write(make([]byte, 8<<20)) // Write notices the break
				synctest.Wait()
				l.near.close()
				begin := time.Now()
				assert.ErrorIs(t, kit.Await(t, time.Hour, "Read of a stream", read), geminio.ErrConnectionLost)
				t.Logf("after %v", time.Since(begin))
				assert.LessOrEqual(t, time.Since(begin), 2*heartbeat+keptTime)
				close(stuck)
			})
		})
	}
}
