package bench

import (
	"io"
	"net"
	"testing"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/stretchr/testify/require"
)

// BenchmarkHandshake dials, shakes hands and closes, beside a raw connection that moves
// one byte in each direction. An operation is done when both sides have closed.
func BenchmarkHandshake(b *testing.B) {
	contest{raw: rawGreetings(b), ours: handshakes(b)}.run(b)
}

// handshakes makes Ends one after the other.
func handshakes(tb testing.TB) side {
	return handshakesWith(tb, client.NewEndOptions(), server.NewEndOptions())
}

// handshakesWith makes Ends with options one after the other.
func handshakesWith(tb testing.TB, co *client.EndOptions, so *server.EndOptions) side {
	l, err := server.Listen("tcp", "127.0.0.1:0", so)
	require.NoError(tb, err)
	tb.Cleanup(func() { l.Close() })
	over := serve(l, untilEnd)
	address := l.Addr().String()
	return by(1, func() error {
		c, err := client.NewEnd("tcp", address, co)
		if err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
		return <-over
	})
}

// rawGreetings makes connections one after the other.
func rawGreetings(tb testing.TB) side {
	l := rawListener(tb)
	over := serve(l, func(c net.Conn) error {
		var p [1]byte
		if _, err := io.ReadFull(c, p[:]); err != nil {
			return err
		}
		if _, err := c.Write(p[:]); err != nil {
			return err
		}
		return untilEnd(c)
	})
	dial := dialer(l)
	p := []byte{1}
	return by(1, func() error {
		c, err := dial()
		if err != nil {
			return err
		}
		if _, err := c.Write(p); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, p); err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
		return <-over
	})
}
