package e2e

import (
	"context"
	"errors"
	"math"
	"net"
	"runtime"
	"sync"
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

// memoryNetwork is a listener whose connections are pipes. It records the times of the dials.
type memoryNetwork struct {
	mu    sync.Mutex
	l     *memoryListener // nil: dials fail
	dials []time.Time
	conns []net.Conn // the sides of the servers
}

var errNotListening = errors.New("nobody listens")

func (m *memoryNetwork) dial() (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dials = append(m.dials, time.Now())
	if m.l == nil {
		return nil, errNotListening
	}
	near, far := net.Pipe()
	select {
	case m.l.conns <- far:
		m.conns = append(m.conns, far)
		return near, nil
	case <-m.l.closed:
		return nil, errNotListening
	}
}

func (m *memoryNetwork) listen() *memoryListener {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.l = &memoryListener{conns: make(chan net.Conn, 1<<16), closed: make(chan struct{})}
	return m.l
}

// crash closes all connections. Dials fail until listen is called.
func (m *memoryNetwork) crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.l = nil
	for _, nc := range m.conns {
		nc.Close()
	}
	m.conns = nil
}

// taken returns the times of all dials since the last call.
func (m *memoryNetwork) taken() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	dials := m.dials
	m.dials = nil
	return dials
}

type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

// Ten thousand clients lose their server at once, and reconnect spread over time. After a
// Shutdown with a retry time, they come back between that time and twice that time. After
// a crash, they come back spread over the range that the back-off has reached, and the
// number of failed attempts is within what the back-off allows.
func TestReconnectStorm(t *testing.T) {
	storm := kit.Amount("memory", 10_000)
	if kit.StandIn() != "" {
		storm = 1000 // the same network in memory, whatever stands in for TCP
	}
	synctest.Test(t, func(t *testing.T) {
		m := &memoryNetwork{}
		const hint = 10 * time.Second
		sopt := server.NewEndOptions()
		sopt.SetRetryAfter(hint)
		open := func() server.Listener {
			l, err := server.NewListener(m.listen(), sopt)
			require.NoError(t, err)
			go func() {
				for {
					if _, err := l.AcceptEnd(); err != nil {
						return
					}
				}
			}()
			return l
		}
		l := open()
		ends := make([]*client.RetryEnd, storm)
		for i := range ends {
			end, err := client.NewRetryEndWithDialer(m.dial)
			require.NoError(t, err)
			ends[i] = end.(*client.RetryEnd)
		}
		time.Sleep(time.Minute)
		assert.Len(t, m.taken(), storm)

		// A shutdown with a time to reconnect.
		begin := time.Now()
		require.NoError(t, geminio.Shutdown(context.Background(), l))
		l = open()
		time.Sleep(2 * time.Minute)
		dials := m.taken()
		assert.Len(t, dials, storm, "dials after a shutdown, want one for each client")
		spread(t, "after the hint", dials, begin.Add(hint), begin.Add(2*hint))
		connected(t, ends)

		// A crash: all clients notice it at once, and dials fail for a minute.
		l.Close()
		m.crash()
		time.Sleep(time.Minute)
		// The bounds of full jitter double from 100 ms on: the waits of the first nine
		// attempts are half a minute together, on average, those that follow a quarter
		// of a minute each.
		vain := m.taken()
		assert.Less(t, len(vain), 14*storm)
		assert.Greater(t, len(vain), 6*storm)
		begin = time.Now()
		l = open()
		time.Sleep(time.Minute)
		dials = m.taken()
		assert.Len(t, dials, storm, "dials after the server has returned, want one for each client")
		late := begin
		for _, at := range dials {
			if at.After(late) {
				late = at
			}
		}
		assert.LessOrEqual(t, late.Sub(begin), 30*time.Second)
		assert.GreaterOrEqual(t, late.Sub(begin), 20*time.Second, "the time of the last dial")
		connected(t, ends)

		// Each connection has one goroutine at each side when it is idle.
		synctest.Wait()
		assert.Less(t, runtime.NumGoroutine(), 2*storm+100)
		for _, end := range ends {
			go end.Close()
		}
		l.Close()
		time.Sleep(time.Minute)
	})
}

// spread fails the test unless the times are spread evenly from first to last.
func spread(t *testing.T, what string, times []time.Time, first, last time.Time) {
	t.Helper()
	const parts = 20
	var histogram [parts]int
	for _, at := range times {
		part := int(int64(parts) * int64(at.Sub(first)) / int64(last.Sub(first)))
		if !assert.False(t, at.Before(first) || part >= parts, "%s: at %v, not between %v and %v", what, at, first, last) {
			return
		}
		histogram[part]++
	}
	for _, n := range histogram {
		assert.InDelta(t, len(times)/parts, n, 6*math.Sqrt(float64(len(times)/parts)), "%s: %v", what, histogram)
	}
}

func connected(t *testing.T, ends []*client.RetryEnd) {
	t.Helper()
	for _, end := range ends {
		if !assert.True(t, end.Stats().Connected) {
			return
		}
	}
}
