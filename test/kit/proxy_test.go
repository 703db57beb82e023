package kit

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// proxiedPair returns the two ends of a connection through p to l.
func proxiedPair(t *testing.T, p *Proxy, l net.Listener) (near, far net.Conn) {
	t.Helper()
	near, err := DialRaw(p.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { near.Close() })
	far, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { far.Close() })
	// A byte each way proves that the proxy carries the connection.
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		_, err = way[0].Write([]byte{1})
		require.NoError(t, err)
		_, err = io.ReadFull(way[1], make([]byte, 1))
		require.NoError(t, err)
	}
	return near, far
}

// target returns a listener for a Proxy.
func target(t *testing.T) net.Listener {
	t.Helper()
	l, err := ListenRaw()
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// readEnd returns the number of bytes that c has before its end, and its last error.
func readEnd(c net.Conn) (int64, error) {
	c.SetReadDeadline(time.Now().Add(Forever))
	return io.Copy(io.Discard, c)
}

func TestProxyCut(t *testing.T) {
	for name, cut := range map[string]func(p *Proxy) int{
		"Cut":         (*Proxy).Cut,
		"CutRandomly": func(p *Proxy) int { return p.CutRandomly(rand.New(rand.NewPCG(1, 2))) },
	} {
		t.Run(name, func(t *testing.T) {
			l := target(t)
			p := NewProxy(t, l.Addr().String())
			near, far := proxiedPair(t, p, l)
			assert.Equal(t, 1, cut(p), "connections that were cut")
			assert.Zero(t, cut(p), "connections that were cut again")
			for _, c := range []net.Conn{near, far} {
				_, err := readEnd(c)
				assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			}
		})
	}
}

func TestProxyCutNear(t *testing.T) {
	l := target(t)
	p := NewProxy(t, l.Addr().String())
	near, far := proxiedPair(t, p, l)
	require.Equal(t, 1, p.CutNear(), "connections that were cut")
	require.Zero(t, p.CutNear(), "connections that were cut again")
	readEnd(near)
	far.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := far.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the target must not learn of the cut")
	require.Equal(t, 1, p.Cut(), "the connection that is open at the target alone")
	_, err = readEnd(far)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestProxyTarget(t *testing.T) {
	first, second := target(t), target(t)
	p := NewProxy(t, first.Addr().String())
	proxiedPair(t, p, first)
	p.SetTarget(second.Addr().String())
	proxiedPair(t, p, second)
	p.SetTarget("")
	c, err := DialRaw(p.Addr)
	require.NoError(t, err)
	defer c.Close()
	n, err := readEnd(c)
	assert.Zero(t, n)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestProxyLimit(t *testing.T) {
	l := target(t)
	p := NewProxy(t, l.Addr().String())
	p.SetLimit(5)
	near, far := proxiedPair(t, p, l) // one byte
	_, err := far.Write(make([]byte, 100))
	require.NoError(t, err)
	_, err = io.ReadFull(near, make([]byte, 4))
	require.NoError(t, err)
	far.Close()
	n, err := readEnd(near)
	require.NoError(t, err)
	require.Zero(t, n, "bytes after the limit")
}
