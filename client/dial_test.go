package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// A dialer that returns no connection is an error of the constructor, and a failed attempt of a
// RetryEnd.
func TestDialersThatGiveNothing(t *testing.T) {
	for name, dialer := range map[string]Dialer{
		"nothing":            func() (net.Conn, error) { return nil, nil },
		"a nil *net.TCPConn": func() (net.Conn, error) { return (*net.TCPConn)(nil), nil },
		"a nil *tls.Conn":    func() (net.Conn, error) { return (*tls.Conn)(nil), nil },
		"an error beside a nil *tls.Conn": func() (net.Conn, error) {
			return tls.Dial("tcp", "127.0.0.1:0", nil) // returns a typed nil pointer
		},
	} {
		t.Run(name, func(t *testing.T) {
			end, err := NewEndWithDialer(dialer)
			assert.Error(t, err)
			assert.Nil(t, end)
			end, err = NewRetryEndWithDialer(dialer)
			assert.Error(t, err)
			assert.Nil(t, end)
		})
	}
	t.Run("no dialer", func(t *testing.T) {
		_, err := NewEndWithDialer(nil)
		assert.ErrorContains(t, err, "dialer is nil")
		_, err = NewRetryEndWithDialer(nil)
		assert.ErrorContains(t, err, "dialer is nil")
	})
}

// Without a connection the constructors of both sides return an error, even if the options are
// wrong too.
func TestNoConnection(t *testing.T) {
	bad := NewEndOptions()
	bad.SetMaxStreams(-1)
	badServer := server.NewEndOptions()
	badServer.SetMaxStreams(-1)
	for name, nc := range map[string]net.Conn{"nil": nil, "a nil *tls.Conn": (*tls.Conn)(nil)} {
		t.Run(name, func(t *testing.T) {
			for _, make := range []func() (geminio.End, error){
				func() (geminio.End, error) { return NewEndWithConn(nc) },
				func() (geminio.End, error) { return NewEndWithConn(nc, bad) },
				func() (geminio.End, error) { return server.NewEndWithConn(nc) },
				func() (geminio.End, error) { return server.NewEndWithConn(nc, badServer) },
			} {
				end, err := make()
				assert.Error(t, err)
				assert.Nil(t, end)
			}
		})
	}
}

// After a cut, a RetryEnd calls a dialer again that panics, ends its goroutine or returns
// nothing. It also does after the function of SetRetryFailedFunc has panicked.
func TestDialerThatFailsOddly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var failures []error
		dials := 0
		var line net.Conn
		opt := NewEndOptions()
		opt.SetRetryBackoff(time.Second, time.Second)
		opt.SetRetryFailedFunc(func(err error) {
			mu.Lock()
			failures = append(failures, err)
			mu.Unlock()
			panic("a function that panics")
		})
		end, err := NewRetryEndWithDialer(func() (net.Conn, error) {
			mu.Lock()
			dials++
			n := dials
			mu.Unlock()
			switch n {
			case 2:
				panic("a dialer that panics")
			case 3:
				runtime.Goexit()
			case 4:
				return nil, nil
			case 5:
				return (*net.TCPConn)(nil), nil
			case 6:
				return nil, errors.New("an error")
			}
			near, far := net.Pipe()
			line = near
			go server.NewEndWithConn(far)
			return near, nil
		}, opt)
		require.NoError(t, err)
		retry := end.(*RetryEnd)
		line.Close()
		time.Sleep(time.Minute)
		assert.True(t, retry.Stats().Connected)
		mu.Lock()
		assert.Len(t, failures, 5)
		assert.Equal(t, 7, dials)
		mu.Unlock()
		end.Close()
	})
}

// A connection that the dialer returns after Close is closed.
func TestDialerThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		release := make(chan struct{})
		late, lateFar := net.Pipe()
		near, far := net.Pipe()
		go server.NewEndWithConn(far)
		end, err := NewRetryEndWithDialer(func() (net.Conn, error) {
			if first {
				first = false
				return near, nil
			}
			<-release
			return late, nil
		})
		require.NoError(t, err)
		near.Close()
		time.Sleep(time.Minute)
		end.Close()
		close(release)
		synctest.Wait()
		_, err = lateFar.Read(make([]byte, 1))
		assert.Error(t, err, "Write to the connection after Close")
	})
}

// hangingDialer returns a ContextDialer that waits for the end of its context, and a channel on
// which it sends the cause then. The first calls connect to a server.
func hangingDialer(connects int) (ContextDialer, <-chan error) {
	ended := make(chan error, 10)
	return func(ctx context.Context) (net.Conn, error) {
		if connects--; connects >= 0 {
			near, far := net.Pipe()
			go server.NewEndWithConn(far)
			return near, nil
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}, ended
}

// Close and the context of SetRetryFirst abort a dial, and otherwise the time of the handshake does.
func TestContextOfADialer(t *testing.T) {
	const timeout = 3 * time.Second
	options := func(dialer ContextDialer) *EndOptions {
		opt := NewEndOptions()
		opt.SetContextDialer(dialer)
		opt.SetHandshakeTimeout(timeout)
		opt.SetRetryBackoff(time.Second, time.Second)
		return opt
	}
	t.Run("Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dialer, ended := hangingDialer(1)
			end, err := NewRetryEndWithDialer(nil, options(dialer))
			require.NoError(t, err)
			end.(*RetryEnd).last.Load().e.Close()
			time.Sleep(1500 * time.Millisecond) // the second dial has begun
			require.Empty(t, ended)
			start := time.Now()
			require.NoError(t, end.Close())
			require.Equal(t, context.Canceled, <-ended)
			assert.Equal(t, start, time.Now())
		})
	})
	t.Run("the time of the handshake", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, make := range []func(Dialer, ...*EndOptions) (geminio.End, error){NewEndWithDialer, NewRetryEndWithDialer} {
				dialer, ended := hangingDialer(0)
				start := time.Now()
				_, err := make(nil, options(dialer))
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, timeout, time.Since(start))
				assert.Equal(t, context.DeadlineExceeded, <-ended)
			}
		})
	})
	t.Run("SetRetryFirst", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dialer, ended := hangingDialer(0)
			ctx, cancel := context.WithCancel(t.Context())
			opt := options(dialer)
			opt.SetRetryFirst(ctx)
			made := kit.Run(func() error { _, err := NewRetryEndWithDialer(nil, opt); return err })
			kit.Blocked(t, made)
			cancel()
			assert.ErrorIs(t, kit.Returned(t, made), context.Canceled)
			assert.Equal(t, context.Canceled, <-ended)
		})
	})
}

// A ContextDialer that ignores its context delays nothing, and its connection is closed.
func TestContextDialerThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late, far := net.Pipe()
		opt := NewEndOptions()
		opt.SetContextDialer(func(context.Context) (net.Conn, error) {
			time.Sleep(time.Hour)
			return late, nil
		})
		start := time.Now()
		_, err := NewEndWithDialer(nil, opt)
		assert.EqualError(t, err, "client: the dialer has not returned after 10s: context deadline exceeded")
		assert.Equal(t, 10*time.Second, time.Since(start))
		_, err = far.Read(make([]byte, 1))
		assert.Error(t, err)
		assert.Equal(t, time.Hour, time.Since(start))
	})
}

// The dialer of the options takes the place of that of the constructor. NewEnd uses neither.
func TestContextDialerComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := NewEndOptions()
		opt.SetContextDialer(func(context.Context) (net.Conn, error) { return nil, errShut })
		other := func() (net.Conn, error) { panic("not called") }
		_, err := NewEndWithDialer(other, opt)
		assert.Equal(t, errShut, err)
		_, err = NewRetryEndWithDialer(other, opt)
		assert.Equal(t, errShut, err)
	})
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	opt := NewEndOptions()
	opt.SetContextDialer(func(context.Context) (net.Conn, error) { panic("not called") })
	end, err := NewEnd("tcp", l.Addr().String(), opt)
	require.NoError(t, err)
	end.Close()
}
