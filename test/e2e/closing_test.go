package e2e

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// halfCloser has the methods of streams and Ends beside those of net.Conn.
type halfCloser interface {
	net.Conn
	CloseWrite() error
	CloseRead() error
}

// eachPair runs a test with both directions of a stream, and with the Ends.
func eachPair(t *testing.T, test func(t *testing.T, a, b halfCloser)) {
	for _, network := range kit.Networks("tcp", "pipe") {
		t.Run(network+"/opened by the client", func(t *testing.T) {
			p := rig.NewPair(t, network, nil, nil)
			a, b := rig.OpenStream(t, p.Client, p.Server)
			test(t, a.(halfCloser), b.(halfCloser))
		})
		t.Run(network+"/opened by the server", func(t *testing.T) {
			p := rig.NewPair(t, network, nil, nil)
			a, b := rig.OpenStream(t, p.Server, p.Client)
			test(t, b.(halfCloser), a.(halfCloser))
		})
		t.Run(network+"/Ends", func(t *testing.T) {
			p := rig.NewPair(t, network, nil, nil)
			test(t, p.Client.(halfCloser), p.Server.(halfCloser))
		})
	}
}

func TestHalfCloseBothWays(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b halfCloser) {
		request, answer := large()[:kit.Amount("tcp", 3<<20)], large()[5<<20:][:kit.Amount("tcp", 2<<20)]
		require.NoError(t, all(
			func() error {
				_, err := a.Write(request)
				return errors.Join(err, a.CloseWrite())
			},
			func() error { return expect(b, request, 50<<10) },
		))
		_, err := a.Write([]byte("more"))
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, a.CloseWrite(), "the second CloseWrite")

		// The other direction continues, and so do the calls and messages of the stream.
		require.NoError(t, b.(geminio.RPCer).Register(kit.Deadline(t), "echo", rig.Echo))
		rpc := a.(geminio.RPCer)
		resp, err := rpc.Call(kit.Deadline(t), "echo", rpc.NewRequest([]byte("hello")))
		require.NoError(t, err)
		require.Equal(t, "hello", string(resp.Data()))

		require.NoError(t, all(
			func() error {
				_, err := b.Write(answer)
				return errors.Join(err, b.CloseWrite())
			},
			func() error { return expect(a, answer, 50<<10) },
		))
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

func TestCloseReadReleasesWriter(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b halfCloser) {
		written := kit.Start(func() error {
			_, err := a.Write(make([]byte, 64<<20))
			return err
		})
		_, err := io.ReadFull(b, make([]byte, 100))
		require.NoError(t, err)
		require.NoError(t, b.CloseRead())

		err = kit.Await(t, promptly, "the return of Write", written)
		var stopped *geminio.StreamError
		require.ErrorAs(t, err, &stopped)
		require.True(t, stopped.Remote)
		require.ErrorIs(t, err, io.ErrClosedPipe)
		_, err = a.Write([]byte("more"))
		require.ErrorIs(t, err, io.ErrClosedPipe)
		n, err := b.Read(make([]byte, 1))
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
		require.NoError(t, b.CloseRead(), "the second CloseRead")

		// The other direction continues.
		require.NoError(t, all(
			func() error { return push(b, large()[:1<<20], 0) },
			func() error { return expect(a, large()[:1<<20], 10<<10) },
		))
	})
}

func TestCloseReadBehindTheEnd(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b halfCloser) {
		_, err := a.Write([]byte("hello"))
		require.NoError(t, err)
		require.NoError(t, a.CloseWrite())
		_, err = io.ReadFull(b, make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, b.CloseRead())
		n, err := b.Read(make([]byte, 10))
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
	})
}

// TestCloseWithUnreadData closes a side while many bytes are on their way to it. The bytes that
// this side has written arrive all the same.
func TestCloseWithUnreadData(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b halfCloser) {
		written := kit.Start(func() error {
			_, err := a.Write(make([]byte, 64<<20))
			return err
		})
		_, err := io.ReadFull(b, make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, all(
			func() error { return push(b, large()[:1<<20], 0) },
			func() error { return expect(a, large()[:1<<20], 10<<10) },
		))
		require.Error(t, kit.Await(t, promptly, "the return of Write", written))
		require.NoError(t, a.Close())
	})
}

func TestReadAndWriteAfterClose(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b halfCloser) {
		require.NoError(t, a.Close())
		require.NoError(t, a.Close(), "the second Close")
		n, err := a.Read(make([]byte, 1))
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
		_, err = a.Write([]byte("x"))
		require.True(t, errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe), "%v", err)
		n, err = b.Read(make([]byte, 1))
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
		_, err = b.Write([]byte("x"))
		require.ErrorIs(t, err, io.ErrClosedPipe)
		require.NoError(t, b.Close())
	})
}

// TestBothClose closes both sides at once while both write.
func TestBothClose(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b halfCloser) {
		forever := func(c net.Conn) <-chan error {
			return kit.Start(func() error {
				for {
					if _, err := c.Write(make([]byte, 10_000)); err != nil {
						return err
					}
				}
			})
		}
		wa, wb := forever(a), forever(b)
		_, err := io.ReadFull(a, make([]byte, 50_000))
		require.NoError(t, err)
		_, err = io.ReadFull(b, make([]byte, 50_000))
		require.NoError(t, err)
		kit.Within(t, promptly, "Close of both sides", func() { all(a.Close, b.Close) })
		require.Error(t, kit.Await(t, promptly, "the return of Write on a", wa))
		require.Error(t, kit.Await(t, promptly, "the return of Write on b", wb))
	})
}

// TestStreamsDoNotPile opens and closes many more streams than may be open at a
// time, closed by either side or both.
func TestStreamsDoNotPile(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	for i := range 5000 {
		s, peer := rig.OpenStream(t, p.Client, p.Server)
		first, second := s, peer
		if i%2 == 1 {
			first, second = peer, s
		}
		require.NoError(t, first.Close())
		if i%3 != 0 {
			_, err := second.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)
			continue // the other side has closed the stream
		}
		require.NoError(t, second.Close())
	}
	require.Len(t, p.Client.ListStreams(), 1)
}
