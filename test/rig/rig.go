package rig

import (
	"context"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/stretchr/testify/require"
)

// Forever is how long a test waits for what has no bound of its own before it
// calls it a Hang.
const Forever = 30 * time.Second

// Pair is two Ends with a connection between them.
type Pair struct {
	Client, Server         geminio.End
	ClientConn, ServerConn net.Conn // the transport; closing one breaks the connection
}

// NewPair makes a Pair over a network, and closes it when the test is over.
func NewPair(t testing.TB, network string, co *client.EndOptions, so *server.EndOptions) *Pair {
	t.Helper()
	cc, sc, err := RawPair(network)
	require.NoError(t, err)
	p, err := JoinPair(cc, sc, co, so)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// JoinPair makes a Pair over two ends of a transport.
func JoinPair(cc, sc net.Conn, co *client.EndOptions, so *server.EndOptions) (*Pair, error) {
	p := &Pair{ClientConn: cc, ServerConn: sc}
	var serr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Server, serr = server.NewEndWithConn(sc, so)
	}()
	var err error
	p.Client, err = client.NewEndWithConn(cc, co)
	<-done
	if err == nil && serr == nil {
		return p, nil
	}
	if err == nil {
		p.Client.Close()
		return nil, serr
	}
	if serr == nil {
		p.Server.Close()
	}
	return nil, err
}

// Close closes both Ends.
func (p *Pair) Close() {
	var wg sync.WaitGroup
	wg.Go(func() { p.Client.Close() })
	wg.Go(func() { p.Server.Close() })
	wg.Wait()
}

// OpenStream opens a stream from one End to the other and returns both sides.
func OpenStream(t testing.TB, from, to geminio.End, opts ...*options.OpenStreamOptions) (opener, acceptor geminio.Stream) {
	t.Helper()
	opener, acceptor, err := StreamPair(from, to, opts...)
	require.NoError(t, err)
	return opener, acceptor
}

// StreamPair is OpenStream for goroutines other than the test's.
func StreamPair(from, to geminio.End, opts ...*options.OpenStreamOptions) (opener, acceptor geminio.Stream, err error) {
	if opener, err = from.OpenStream(opts...); err != nil {
		return nil, nil, err
	}
	if acceptor, err = to.AcceptStream(); err != nil {
		return nil, nil, err
	}
	return opener, acceptor, nil
}

// Within runs f and fails the test if it takes longer than d.
func Within(t testing.TB, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	Await(t, d, what, done)
}

// Await waits for a channel to have something, or to be closed.
func Await[T any](t testing.TB, d time.Duration, what string, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		t.Fatalf("%s: not Within %v\n\n%s", what, d, stacks)
		panic("unreachable")
	}
}

// Start runs f in a goroutine and returns where its result will be.
func Start[T any](f func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return ch
}

// BytesOf returns n bytes that look random and depend on seed alone.
func BytesOf(n int, seed uint64) []byte {
	p := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	src.Read(p)
	return p
}

// Deadline returns a context of the test that ends when it must have hung.
func Deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Forever)
	t.Cleanup(cancel)
	return ctx
}

// Echo answers with what it got.
func Echo(_ context.Context, req geminio.Request, resp geminio.Response) {
	resp.SetData(req.Data())
	resp.SetCustom(req.Custom())
}

// Hang waits for its context to end.
func Hang(ctx context.Context, _ geminio.Request, resp geminio.Response) {
	<-ctx.Done()
	resp.SetError(ctx.Err())
}

// AnswerAll says Done to all messages of a stream until it ends.
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
