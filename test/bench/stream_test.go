package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/singchia/geminio"
	"github.com/stretchr/testify/require"
)

// BenchmarkOpen opens a stream, writes a byte and closes it, one by one and 64 at once,
// beside raw connections, each of which is opened for the byte. An operation is done when
// the other side has read the byte and the end and has closed.
func BenchmarkOpen(b *testing.B) {
	for _, workers := range []int{1, many} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			l := rawListener(b)
			c, s := ends(b)
			contest{
				raw:   by(workers, opening(dialer(l), l)),
				ours:  by(workers, opening(streamOpener(c), s)),
				least: 2 * workers,
			}.run(b)
		})
	}
}

// opening returns a function that opens a connection or stream to l, writes a byte,
// closes it and waits until the other side is done with one.
func opening(open func() (net.Conn, error), l net.Listener) func() error {
	over := serve(l, func(c net.Conn) error {
		var p [1]byte
		if _, err := io.ReadFull(c, p[:]); err != nil {
			return err
		}
		return untilEnd(c)
	})
	data := []byte{1}
	return func() error {
		c, err := open()
		if err != nil {
			return err
		}
		if _, err := c.Write(data); err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
		return <-over
	}
}

// serve uses and closes each connection of l, concurrently, and reports the result of
// each. It ends with l.
func serve(l net.Listener, use func(net.Conn) error) <-chan error {
	over := make(chan error, many)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { over <- errors.Join(use(c), c.Close()) }()
		}
	}()
	return over
}

// untilEnd waits for the end of c, before which no byte may arrive.
func untilEnd(c net.Conn) error {
	var p [1]byte
	if n, err := c.Read(p[:]); n != 0 || err != io.EOF {
		return fmt.Errorf("read %d bytes and %v, not the end", n, err)
	}
	return nil
}

func rawListener(tb testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { l.Close() })
	return l
}

// dialer returns a function that dials l.
func dialer(l net.Listener) func() (net.Conn, error) {
	network, address := l.Addr().Network(), l.Addr().String()
	return func() (net.Conn, error) { return net.Dial(network, address) }
}

// streamOpener returns a function that opens streams of end.
func streamOpener(end geminio.End) func() (net.Conn, error) {
	return func() (net.Conn, error) { return end.OpenStream() }
}
