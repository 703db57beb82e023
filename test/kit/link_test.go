package kit

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// path is a path for tests: a piece takes half a millisecond.
var path = Path{Rate: 10 << 20, RTT: 100 * time.Millisecond}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestLinkTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := NewLink(path).Pipe()
		sent := randomBytes(10 << 20)
		start := time.Now()
		_, err := near.Write(sent)
		require.NoError(t, err)
		assert.Zero(t, time.Since(start), "a queue without a bound takes all at once")
		got := make([]byte, 1)
		_, err = io.ReadFull(far, got)
		require.NoError(t, err)
		assert.InDelta(t, 50, time.Since(start).Milliseconds(), 1, "the first byte")
		require.NoError(t, near.Close())
		rest, err := io.ReadAll(far)
		require.NoError(t, err)
		assert.InDelta(t, 1050, time.Since(start).Milliseconds(), 1, "the last byte")
		assert.True(t, bytes.Equal(sent, append(got, rest...)), "the bytes are changed")
	})
}

func TestLinkWithQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := path
		p.Queue = p.BDP()
		require.Equal(t, 1<<20, p.Queue)
		near, far := NewLink(p).Pipe()
		go io.Copy(io.Discard, far)
		defer time.Sleep(time.Second) // the rest arrives
		start := time.Now()
		_, err := near.Write(make([]byte, 10<<20))
		require.NoError(t, err)
		assert.InDelta(t, 900, time.Since(start).Milliseconds(), 1, "all but the queue has left")
		near.Close()
	})
}

func TestLinkChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink(path)
		near, far := l.Pipe()
		start := time.Now()
		near.Write(make([]byte, 10<<20))
		time.Sleep(500 * time.Millisecond)
		p := path
		p.RTT = time.Second
		l.Set(p)
		n, err := io.ReadFull(far, make([]byte, 4<<20))
		require.NoError(t, err, n)
		io.ReadFull(far, make([]byte, 1000<<10))
		assert.Less(t, time.Since(start), 600*time.Millisecond, "half was on the path before the change")
		io.ReadFull(far, make([]byte, 6<<20-1000<<10))
		assert.InDelta(t, 1500, time.Since(start).Milliseconds(), 1, "the last byte")
	})
}

func TestLinkCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink(path)
		near, far := l.Pipe()
		near.Write([]byte("lost"))
		go l.Cut()
		_, err := io.ReadAll(far)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = near.Write([]byte("lost"))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

func TestLinkDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := path
		p.Queue = 1
		near, _ := NewLink(p).Pipe()
		start := time.Now()
		near.SetDeadline(start.Add(time.Second))
		_, err := near.Write(make([]byte, 100<<20))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = near.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		near.Close()
	})
}

func TestLinkProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	p, err := NewLinkProxy(NewLink(Path{Rate: 100 << 20, RTT: 10 * time.Millisecond}), l.Addr().String())
	require.NoError(t, err)
	defer p.Close()
	near, err := net.Dial("tcp", p.Addr)
	require.NoError(t, err)
	defer near.Close()
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()
	sent := randomBytes(8 << 20)
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		start := time.Now()
		go func() {
			way[0].Write(sent)
			way[0].(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(way[1])
		require.NoError(t, err)
		assert.True(t, bytes.Equal(sent, got), "the bytes are changed")
		assert.GreaterOrEqual(t, time.Since(start), 80*time.Millisecond, "faster than the path")
	}
}
