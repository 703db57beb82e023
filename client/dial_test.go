package client

import (
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
