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

// retryTest has a RetryEnd whose connections are pipes to Ends of a server, in a bubble.
type retryTest struct {
	t    *testing.T
	end  *RetryEnd
	sopt *server.EndOptions // the options of the next connections

	dials atomic.Int64

	mu   sync.Mutex
	shut bool     // dials fail
	conn net.Conn // the side of the RetryEnd of the last connection
	peer geminio.End
}

var errShut = errors.New("the server cannot be reached")

// withRetryEnd runs a test with a RetryEnd in a bubble, and closes it at the end.
func withRetryEnd(t *testing.T, sopt *server.EndOptions, opt *EndOptions, test func(t *testing.T, l *retryTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &retryTest{t: t, sopt: sopt}
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

func (l *retryTest) dial() (net.Conn, error) {
	l.dials.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		return nil, errShut
	}
	near, far := net.Pipe()
	l.conn = near
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
func (l *retryTest) lose() {
	l.mu.Lock()
	l.conn.Close()
	l.mu.Unlock()
	synctest.Wait()
}

// close makes dials fail.
func (l *retryTest) close() {
	l.mu.Lock()
	l.shut = true
	l.mu.Unlock()
}

// cut breaks the connection, and makes dials fail.
func (l *retryTest) cut() {
	l.close()
	l.lose()
	require.False(l.t, l.end.Stats().Connected)
}

// mend makes dials succeed, and waits for the next connection.
func (l *retryTest) mend() {
	l.mu.Lock()
	l.shut = false
	l.mu.Unlock()
	l.end.mu.Lock()
	connChanged := l.end.connChanged
	l.end.mu.Unlock()
	select {
	case <-connChanged:
	case <-time.After(time.Hour):
		l.t.Fatal("no new connection within an hour")
	}
	synctest.Wait()
}

// server returns the End of the server of the last connection.
func (l *retryTest) server() geminio.End {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer
}

// waiting requires that n operations wait for a connection.
func (l *retryTest) waiting(n int) {
	l.t.Helper()
	synctest.Wait()
	require.Equal(l.t, n, l.end.Stats().Waiting, "operations that wait")
	if n == 0 {
		require.Zero(l.t, l.end.Stats().WaitingBytes, "bytes that wait")
	}
}

// hang is an RPC that returns when its context ends.
func hang(ctx context.Context, _ geminio.Request, _ geminio.Response) { <-ctx.Done() }

// serving returns options with a method.
func serving(method string, rpc geminio.RPC) *server.EndOptions {
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: method, RPC: rpc})
	return opt
}

// echo is an RPC that answers with the data of its request.
func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }
