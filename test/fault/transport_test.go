package fault

import (
	"context"
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

// limited is a transport as limiters of connections make them: it cannot be the key of a
// map, and its own Close gives a place back.
type limited struct {
	*net.TCPConn
	wrapped []net.Conn // what NetConn returns
	places  *atomic.Int32
	closed  *atomic.Bool
}

func newLimited(nc net.Conn, places *atomic.Int32) limited {
	places.Add(1)
	return limited{TCPConn: nc.(*net.TCPConn), wrapped: []net.Conn{nc}, places: places, closed: &atomic.Bool{}}
}

func (l limited) NetConn() net.Conn { return l.wrapped[0] }

func (l limited) Close() error {
	if l.closed.CompareAndSwap(false, true) {
		l.places.Add(-1)
	}
	return l.TCPConn.Close()
}

// A transport's own Close is called at both sides, however the connection ends.
func TestLimitedTransportsGiveTheirPlacesBack(t *testing.T) {
	for name, end := range map[string]func(p *rig.Pair){
		"broken": func(p *rig.Pair) { p.ClientConn.(limited).TCPConn.Close() },
		"reset": func(p *rig.Pair) {
			p.ClientConn.(limited).TCPConn.SetLinger(0)
			p.ClientConn.(limited).TCPConn.Close()
		},
		"closed by the client": func(p *rig.Pair) { p.Client.Close() },
		"closed by the server": func(p *rig.Pair) { p.Server.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			cc, sc, err := kit.RawPair("tcp")
			require.NoError(t, err)
			var places atomic.Int32
			p, err := rig.JoinPair(newLimited(cc, &places), newLimited(sc, &places), nil, nil)
			require.NoError(t, err)
			register(t, p.Server, "echo", rig.Echo)
			_, err = p.Client.Call(kit.Deadline(t), "echo", p.Client.NewRequest([]byte("x")))
			require.NoError(t, err)
			require.EqualValues(t, 2, places.Load())
			end(p)
			for e := range 2 {
				done := geminio.Done([]geminio.End{p.Client, p.Server}[e])
				kit.Await(t, kit.Forever, "the end", done)
			}
			p.Close()
			assert.Zero(t, places.Load())
		})
	}
}

// sticky is a wire whose Close does not return.
type sticky struct {
	*wire
	stuck chan struct{}
}

func (s sticky) Close() error {
	s.wire.Close()
	<-s.stuck
	return nil
}

// closing is how much longer than the time for lingering Close of an End may take.
const closing = time.Second

// A transport whose Close does not return: Close of the End returns all the same, shortly
// after its time for lingering at the latest, and at once when the connection is broken.
func TestCloseOfATransportThatHangs(t *testing.T) {
	for name, test := range map[string]struct {
		before func(p *rig.Pair, near, far *wire)
		most   time.Duration
	}{
		"in good order": {func(*rig.Pair, *wire, *wire) {}, linger + closing},
		"the peer has closed": {func(p *rig.Pair, _, _ *wire) {
			go p.Server.Close()
			time.Sleep(time.Second)
		}, linger + closing},
		"the peer is silent": {func(_ *rig.Pair, _, far *wire) { far.lose() }, linger + closing},
		"broken": {func(_ *rig.Pair, near, far *wire) {
			near.Close()
			far.Close()
			time.Sleep(time.Second)
		}, closing},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := newWire(64 << 10)
				hung := sticky{near, make(chan struct{})}
				p, err := rig.JoinPair(hung, far, nil, nil)
				require.NoError(t, err)
				test.before(p, near, far)
				begin := time.Now()
				assert.NoError(t, kit.Await(t, time.Hour, "Close", kit.Start(p.Client.Close)))
				assert.LessOrEqual(t, time.Since(begin), test.most)
				close(hung.stuck)
				p.Close()
			})
		})
	}
}

// thrifty is a wire whose Write takes less than it is given, from some moment on, and
// says nothing.
type thrifty struct {
	*wire
	from *atomic.Bool
}

func (s thrifty) Write(p []byte) (int, error) {
	if s.from.Load() {
		return s.wire.Write(p[:len(p)/2])
	}
	return s.wire.Write(p)
}

// A transport that loses bytes of a Write ends the connection: what the reader gets is
// the beginning of what was written, and never anything else.
func TestTransportThatWritesShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := newWire(64 << 10)
		short := thrifty{near, &atomic.Bool{}}
		p, err := rig.JoinPair(short, far, nil, nil)
		require.NoError(t, err)
		sent := kit.BytesOf(1<<20, 1)
		_, err = p.Client.Write(sent[:1000])
		require.NoError(t, err)
		synctest.Wait()
		short.from.Store(true)
		go p.Client.Write(sent[1000:])
		got, _ := io.ReadAll(p.Server)
		require.LessOrEqual(t, len(got), len(sent))
		assert.Equal(t, sent[:len(got)], got)
		assert.ErrorIs(t, geminio.Cause(p.Client), io.ErrShortWrite)
		p.Close()
	})
}

// panicky is a wire whose methods panic from some moment on.
type panicky struct {
	*wire
	from *atomic.Bool
}

func (s panicky) Read(p []byte) (int, error) {
	n, err := s.wire.Read(p)
	if s.from.Load() {
		panic("Read")
	}
	return n, err
}

func (s panicky) Write(p []byte) (int, error) {
	if s.from.Load() {
		panic("Write")
	}
	return s.wire.Write(p)
}

func (s panicky) Close() error {
	s.wire.Close()
	panic("Close")
}

func (s panicky) LocalAddr() net.Addr {
	if s.from.Load() {
		panic("LocalAddr")
	}
	return s.wire.LocalAddr()
}

func (s panicky) RemoteAddr() net.Addr {
	if s.from.Load() {
		panic("RemoteAddr")
	}
	return s.wire.RemoteAddr()
}

// A transport that panics costs its connection; other Ends of the process go on.
func TestTransportThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := newLink(t, nil, nil)
		register(t, other.Server, "echo", rig.Echo)
		for _, side := range []string{"client", "server"} {
			near, far := newWire(64 << 10)
			bad := panicky{near, &atomic.Bool{}}
			var p *rig.Pair
			var err error
			if side == "client" {
				p, err = rig.JoinPair(bad, far, nil, nil)
			} else {
				p, err = rig.JoinPair(far, bad, nil, nil)
			}
			require.NoError(t, err)
			bad.from.Store(true)
			assert.NotNil(t, p.Client.LocalAddr())
			assert.NotNil(t, p.Client.RemoteAddr())
			assert.NotNil(t, p.Server.RemoteAddr())
			_, err = p.Client.Call(context.Background(), "m", p.Client.NewRequest(nil))
			assert.Error(t, err)
			p.Close()
		}
		_, err := other.Client.Call(context.Background(), "echo", other.Client.NewRequest(nil))
		assert.NoError(t, err)
	})
}

// slow is a wire that gives nothing, without an error, more often than not.
type slow struct {
	*wire
	calls *atomic.Int32
}

func (s slow) Read(p []byte) (int, error) {
	if s.calls.Add(1)%90 != 0 {
		return 0, nil
	}
	return s.wire.Read(p)
}

// A transport that mostly reads nothing works; one that never reads anything ends with
// the time of the handshake.
func TestTransportThatReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := newWire(64 << 10)
		p, err := rig.JoinPair(slow{near, &atomic.Int32{}}, far, nil, nil)
		require.NoError(t, err)
		register(t, p.Server, "echo", rig.Echo)
		_, err = p.Client.Call(context.Background(), "echo", p.Client.NewRequest(nil))
		assert.NoError(t, err)
		p.Close()

		for _, make := range []func(net.Conn) (geminio.End, error){
			func(nc net.Conn) (geminio.End, error) { return client.NewEndWithConn(nc) },
			func(nc net.Conn) (geminio.End, error) { return server.NewEndWithConn(nc) },
		} {
			near, far := newWire(64 << 10)
			begin := time.Now()
			_, err = make(void{near})
			assert.ErrorIs(t, err, geminio.ErrHandshakeTimeout)
			assert.Equal(t, 10*time.Second, time.Since(begin))
			far.Close()
		}
	})
}

// void is a wire that never reads anything.
type void struct{ *wire }

func (void) Read([]byte) (int, error) { return 0, nil }
