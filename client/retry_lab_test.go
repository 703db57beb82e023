package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/server"
)

// lab has a RetryEnd whose connections are pipes to Ends of a server, in a bubble
// where time is what is waited for.
type lab struct {
	t    *testing.T
	end  *RetryEnd
	sopt *server.EndOptions // of the next connections

	dials atomic.Int64

	mu   sync.Mutex
	shut bool     // no connection is made
	line net.Conn // of the last connection
	peer geminio.End
}

var errShut = errors.New("there is no way to the server")

// inLab runs a test with a RetryEnd, which is closed in the end.
func inLab(t *testing.T, sopt *server.EndOptions, opt *EndOptions, test func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, sopt: sopt}
		back := NewEndOptions()
		back.SetRetryBackoff(time.Second, time.Second)
		end, err := NewRetryEndWithDialer(l.dial, back, opt)
		require.NoError(t, err)
		l.end = end.(*RetryEnd)
		defer l.end.Close()
		synctest.Wait()
		test(t, l)
	})
}

func (l *lab) dial() (net.Conn, error) {
	l.dials.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		return nil, errShut
	}
	near, far := net.Pipe()
	l.line = near
	sopt := l.sopt
	go func() {
		peer, err := server.NewEndWithConn(far, sopt)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.peer = peer
		l.mu.Unlock()
	}()
	return near, nil
}

// lose breaks the connection.
func (l *lab) lose() {
	l.mu.Lock()
	l.line.Close()
	l.mu.Unlock()
	synctest.Wait()
}

// cut breaks the connection, and lets no other be made.
func (l *lab) cut() {
	l.mu.Lock()
	l.shut = true
	l.mu.Unlock()
	l.lose()
	require.False(l.t, l.end.Stats().Connected)
}

// mend lets the next connection be made, and waits for it.
func (l *lab) mend() {
	l.mu.Lock()
	l.shut = false
	l.mu.Unlock()
	l.end.mu.Lock()
	news := l.end.connChanged
	l.end.mu.Unlock()
	select {
	case <-news:
	case <-time.After(time.Hour):
		l.t.Fatal("there is no new connection")
	}
	synctest.Wait()
}

// server returns the server's End of the last connection.
func (l *lab) server() geminio.End {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer
}

// waiting requires that so many operations wait.
func (l *lab) waiting(n int) {
	l.t.Helper()
	synctest.Wait()
	require.Equal(l.t, n, l.end.Stats().Waiting, "operations that wait")
	if n == 0 {
		require.Zero(l.t, l.end.Stats().WaitingBytes, "bytes that wait")
	}
}

// in runs f in a goroutine, and returns where its error arrives.
func in(f func() error) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	synctest.Wait()
	return ch
}

// ended requires that something has ended, and returns with what error.
func ended(t *testing.T, ch <-chan error) error {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ch:
		return err
	default:
		t.Fatal("it has not ended")
		return nil
	}
}

// goesOn requires that it has not.
func goesOn(t *testing.T, ch <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ch:
		t.Fatalf("it has ended: %v", err)
	default:
	}
}

// hang is a method whose calls take as long as their connection.
func hang(ctx context.Context, _ geminio.Request, _ geminio.Response) { <-ctx.Done() }

// serving returns options with a method.
func serving(method string, rpc geminio.RPC) *server.EndOptions {
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: method, RPC: rpc})
	return opt
}
