package rig

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/endpair"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/stretchr/testify/require"
)

// Pair is two Ends with a connection between them.
type Pair struct {
	Client, Server         geminio.End
	ClientConn, ServerConn net.Conn // the transport; closing one breaks the connection

	listener server.Listener // of Server; nil if it has none
}

// NewPair returns a Pair over a network, which is closed when the test ends.
func NewPair(t testing.TB, network string, co *client.EndOptions, so *server.EndOptions) *Pair {
	t.Helper()
	cc, sc, err := kit.RawPair(network)
	require.NoError(t, err)
	p, err := JoinPair(cc, sc, co, so)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// Expect reads as many bytes from r as want has, which a transport may deliver in pieces, and
// requires that they equal want.
func Expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	n, err := io.ReadFull(r, b)
	require.NoError(t, err)
	require.Equal(t, want, string(b[:n]))
}

// JoinPair returns a Pair over both ends of a transport.
func JoinPair(cc, sc net.Conn, co *client.EndOptions, so *server.EndOptions) (*Pair, error) {
	c, s, err := endpair.Join(cc, sc, co, so)
	if err != nil {
		return nil, err
	}
	return &Pair{Client: c, Server: s, ClientConn: cc, ServerConn: sc}, nil
}

// Close closes both Ends.
func (p *Pair) Close() {
	endpair.Close(p.Client, p.Server)
	if p.listener != nil {
		p.listener.Close()
	}
}

// OpenStream opens a stream from one End to the other and returns both sides.
func OpenStream(t testing.TB, from, to geminio.End, opts ...*options.OpenStreamOptions) (opener, acceptor geminio.Stream) {
	t.Helper()
	opener, acceptor, err := StreamPair(from, to, opts...)
	require.NoError(t, err)
	return opener, acceptor
}

// StreamPair is OpenStream for goroutines other than that of the test.
func StreamPair(from, to geminio.End, opts ...*options.OpenStreamOptions) (opener, acceptor geminio.Stream, err error) {
	if opener, err = from.OpenStream(opts...); err != nil {
		return nil, nil, err
	}
	if acceptor, err = to.AcceptStream(); err != nil {
		return nil, nil, err
	}
	return opener, acceptor, nil
}

// Echo is an RPC that answers with the data of its request.
func Echo(_ context.Context, req geminio.Request, resp geminio.Response) {
	resp.SetData(req.Data())
	resp.SetCustom(req.Custom())
}

// Hang is an RPC that returns when its context ends.
func Hang(ctx context.Context, _ geminio.Request, resp geminio.Response) {
	<-ctx.Done()
	resp.SetError(ctx.Err())
}

// AnswerAll acknowledges all messages of a stream until Receive fails, and returns the error.
func AnswerAll(s geminio.Messager) error {
	for {
		m, err := s.Receive(context.Background())
		if err != nil {
			return err
		}
		if err := m.Done(); err != nil {
			return err
		}
	}
}
