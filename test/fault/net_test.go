package fault

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/rig"
)

// bufferedConn is one end of a connection in memory that buffers written bytes, as a kernel
// does. It can discard all bytes, like a network that drops all packets.
type bufferedConn struct {
	net.Conn // for the addresses
	in, out  *bufferedDirection
	stuck    chan struct{} // if not nil: Read ignores Close until this is closed
	perByte  time.Duration // the time that Write takes for a byte
}

// bufferedDirection is one direction of a connection.
type bufferedDirection struct {
	mu      sync.Mutex
	changed *sync.Cond
	data    []byte
	room    int
	closed  bool
	drop    bool
}

func newBufferedDirection(room int) *bufferedDirection {
	b := &bufferedDirection{room: room}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// newBufferedPair returns both ends of a connection that buffers room bytes in each direction.
func newBufferedPair(room int) (near, far *bufferedConn) {
	a, b := newBufferedDirection(room), newBufferedDirection(room)
	n, f := net.Pipe()
	return &bufferedConn{Conn: n, in: a, out: b}, &bufferedConn{Conn: f, in: b, out: a}
}

func (w *bufferedConn) Read(p []byte) (int, error) {
	b := w.in
	b.mu.Lock()
	for len(b.data) == 0 && !b.closed {
		b.changed.Wait()
	}
	if len(b.data) == 0 {
		b.mu.Unlock()
		if w.stuck != nil {
			<-w.stuck
		}
		return 0, net.ErrClosed
	}
	defer b.mu.Unlock()
	n := copy(p, b.data)
	b.data = b.data[n:]
	b.changed.Broadcast()
	return n, nil
}

func (w *bufferedConn) Write(p []byte) (n int, err error) {
	if w.perByte == 0 {
		return w.write(p)
	}
	for len(p) > 0 && err == nil {
		piece := p[:min(len(p), slowPiece)]
		time.Sleep(time.Duration(len(piece)) * w.perByte)
		var k int
		k, err = w.write(piece)
		n, p = n+k, p[k:]
	}
	return n, err
}

// slowPiece is the number of bytes that a slow connection carries at one time.
const slowPiece = 500

func (w *bufferedConn) write(p []byte) (n int, err error) {
	b := w.out
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(p) > 0 {
		if b.closed {
			return n, net.ErrClosed
		}
		if b.drop {
			return n + len(p), nil
		}
		k := min(len(p), b.room-len(b.data))
		if k == 0 {
			b.changed.Wait()
			continue
		}
		b.data = append(b.data, p[:k]...)
		n, p = n+k, p[k:]
		b.changed.Broadcast()
	}
	return n, nil
}

// Close ends this side. The other side does not notice it if its direction discards all bytes.
func (w *bufferedConn) Close() error {
	w.in.close()
	w.out.mu.Lock()
	drop := w.out.drop
	w.out.mu.Unlock()
	if !drop {
		w.out.close()
	}
	return nil
}

func (b *bufferedDirection) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.changed.Broadcast()
}

// dropWrites discards the bytes that are written from now on, and those that were not read yet.
func (w *bufferedConn) dropWrites() {
	b := w.out
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop, b.data = true, nil
	b.changed.Broadcast()
}

func (w *bufferedConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (w *bufferedConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (w *bufferedConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// serverLog notes when and how often an End went offline.
type offlineLog struct {
	*delegate.UnimplementedDelegate
	offline chan time.Time
}

func newOfflineLog() *offlineLog { return &offlineLog{offline: make(chan time.Time, 10)} }

func (d *offlineLog) ConnOffline(delegate.ConnDescriber) error {
	d.offline <- time.Now()
	return nil
}

// resumption tells whether the session of a pair of Ends is resumed when its transport breaks.
type resumption bool

const (
	noResumption   resumption = false // NewEndWithConn at both sides
	withResumption resumption = true  // a RetryEnd and a Listener
)

func (r resumption) String() string {
	if r {
		return "resumption on"
	}
	return "resumption off"
}

// keptTime is how long sessions are kept here.
const keptTime = 10 * time.Second

// later is the time by which bounds grow that depend on the end of a session.
func (r resumption) later() time.Duration {
	if r {
		return keptTime
	}
	return 0
}

// eachResumption runs a test in a bubble for Ends of both kinds.
func eachResumption(t *testing.T, test func(t *testing.T, r resumption)) {
	t.Helper()
	for _, r := range []resumption{noResumption, withResumption} {
		t.Run(r.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, r) })
		})
	}
}

// errUnplugged is the error of a dial without a network.
var errUnplugged = errors.New("there is no network")

// join returns a pair of Ends over transports that dial makes. When the test ends, it closes the
// pair, and requires that the events of the Ends pair off.
func (r resumption) join(t testing.TB, dial func() (near, far net.Conn, err error), co *client.EndOptions, so *server.EndOptions) (p *rig.Pair, err error) {
	tally := rig.NewTally()
	co, so = tally.Add(co, so)
	if r == noResumption {
		near, far, derr := dial()
		if derr != nil {
			return nil, derr
		}
		p, err = rig.JoinPair(near, far, co, so)
	} else {
		keptC, keptS := client.NewEndOptions(), server.NewEndOptions()
		keptC.SetResumeKeep(keptTime)
		keptS.SetResumeKeep(keptTime)
		p, err = rig.JoinSession(dial, client.MergeEndOptions(co, keptC), server.MergeEndOptions(so, keptS))
	}
	if err == nil {
		t.Cleanup(func() {
			p.Close()
			tally.Check(t)
		})
	}
	return p, err
}

// observedPair is a pair of Ends over connections in memory, with a delegate at each side.
type observedPair struct {
	*rig.Pair
	near, far            *bufferedConn // the first transport
	unplugged            atomic.Bool   // further dials fail
	clientLog, serverLog *offlineLog
}

func newObservedPair(t *testing.T, r resumption, co *client.EndOptions, so *server.EndOptions) *observedPair {
	l := &observedPair{clientLog: newOfflineLog(), serverLog: newOfflineLog()}
	dial := func() (net.Conn, net.Conn, error) {
		if l.unplugged.Load() {
			return nil, nil, errUnplugged
		}
		near, far := newBufferedPair(64 << 10)
		if l.near == nil {
			l.near, l.far = near, far
		}
		return near, far, nil
	}
	withClient, withServer := client.NewEndOptions(), server.NewEndOptions()
	withClient.SetDelegate(l.clientLog)
	withServer.SetDelegate(l.serverLog)
	var err error
	l.Pair, err = r.join(t, dial, client.MergeEndOptions(co, withClient), server.MergeEndOptions(so, withServer))
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

// register registers a method.
func register(t *testing.T, end geminio.RPCer, method string, rpc geminio.RPC) {
	t.Helper()
	require.NoError(t, end.Register(context.Background(), method, rpc))
}

// clientBeat and serverBeat return options with a heartbeat interval.
func clientBeat(d time.Duration) *client.EndOptions {
	opt := client.NewEndOptions()
	opt.SetHeartbeat(d)
	return opt
}

func serverBeat(d time.Duration) *server.EndOptions {
	opt := server.NewEndOptions()
	opt.SetHeartbeat(d)
	return opt
}
