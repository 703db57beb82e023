package tunnel

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// ends returns the two Ends of a connection, and a function that cuts the connection.
func ends(t *testing.T) (near, far geminio.End, cut func()) {
	t.Helper()
	a, b := kit.TCPPair(t)
	accepted := make(chan error, 1)
	go func() {
		var err error
		far, err = server.NewEndWithConn(b)
		accepted <- err
	}()
	near, err := client.NewEndWithConn(a)
	require.NoError(t, err)
	require.NoError(t, <-accepted)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far, func() { b.Close() }
}

// streamPair returns the two sides of a stream, and a function that cuts its connection.
func streamPair(t *testing.T) (near, far geminio.Stream, cut func()) {
	t.Helper()
	a, b, cut := ends(t)
	near, err := a.OpenStream()
	require.NoError(t, err)
	far, err = b.AcceptStream()
	require.NoError(t, err)
	return near, far, cut
}

// path consists of two TCP connections and a stream that joins them.
type path struct {
	client, target *net.TCPConn // the outer sides
	near, far      geminio.Stream
	cut            func()        // cuts the connection of the stream
	joins          [2]chan error // the results of the two Joins
	traffic        Traffic       // of the client's Join
}

func newPath(t *testing.T, ctx context.Context) *path {
	t.Helper()
	p := &path{joins: [2]chan error{make(chan error, 1), make(chan error, 1)}}
	var in, out *net.TCPConn
	p.client, in = kit.TCPPair(t)
	out, p.target = kit.TCPPair(t)
	p.near, p.far, p.cut = streamPair(t)
	go func() { p.joins[0] <- Join(ctx, TCP(in), Stream(p.near), &p.traffic) }()
	go func() { p.joins[1] <- Join(ctx, Stream(p.far), TCP(out), new(Traffic)) }()
	return p
}

// send writes n random bytes and returns their checksum.
func send(t *testing.T, w io.Writer, n int, seed byte) [32]byte {
	t.Helper()
	sum := sha256.New()
	_, err := io.CopyN(io.MultiWriter(w, sum), rand.NewChaCha8([32]byte{seed}), int64(n))
	require.NoError(t, err)
	return [32]byte(sum.Sum(nil))
}

// receive reads until the end, and returns the checksum.
func receive(t *testing.T, r io.Reader) [32]byte {
	t.Helper()
	sum := sha256.New()
	_, err := io.Copy(sum, r)
	require.NoError(t, err)
	return [32]byte(sum.Sum(nil))
}
