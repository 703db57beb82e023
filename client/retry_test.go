package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/kit"
)

// Shutdown waits for operations in flight, even if the server has sent GoAway before.
func TestShutdownAfterTheServers(t *testing.T) {
	release := make(chan struct{})
	slow := func(context.Context, geminio.Request, geminio.Response) { <-release }
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		release = make(chan struct{})
		require.NoError(t, l.server().Register(t.Context(), "slow", slow))
		call := kit.Run(func() error {
			_, err := l.end.Call(context.Background(), "slow", l.end.NewRequest(nil))
			return err
		})
		drained := kit.Run(func() error {
			return geminio.Shutdown(context.Background(), l.server())
		})
		kit.Blocked(t, call)
		shutdown := kit.Run(func() error { return l.end.Shutdown(context.Background()) })
		kit.Blocked(t, shutdown)
		kit.Blocked(t, call)
		_, err := l.end.Call(context.Background(), "slow", l.end.NewRequest(nil))
		assert.Equal(t, geminio.ErrGoingAway, err)
		close(release)
		require.NoError(t, kit.Returned(t, call))
		require.NoError(t, kit.Returned(t, shutdown))
		require.NoError(t, kit.Returned(t, drained))
		assert.Equal(t, io.EOF, l.end.Cause())
	})
}

// Shutdown continues over a reconnect: a message in flight is sent again.
func TestShutdownOverACut(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		p, err := l.end.PublishAsync(context.Background(), l.end.NewMessage([]byte("x")), nil)
		require.NoError(t, err)
		_, err = l.server().Receive(t.Context()) // without an ack
		require.NoError(t, err)
		shutdown := kit.Run(func() error { return l.end.Shutdown(context.Background()) })
		kit.Blocked(t, shutdown)
		l.cut()
		kit.Blocked(t, shutdown)
		l.waiting(1)
		l.mend()
		kit.Blocked(t, shutdown)
		m, err := l.server().Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, m.Done())
		synctest.Wait()
		require.NoError(t, (<-p.Done).Error)
		require.NoError(t, kit.Returned(t, shutdown))
		l.waiting(0)
	})
}

// Shutdown ends with its context. The operations that wait for a connection end too.
func TestShutdownWithoutAConnection(t *testing.T) {
	opt := NewEndOptions()
	opt.SetConnectWait(0)
	withRetryEnd(t, nil, opt, func(t *testing.T, l *retryTest) {
		l.cut()
		publish := kit.Run(func() error { return l.end.Publish(context.Background(), l.end.NewMessage(nil)) })
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		shutdown := kit.Run(func() error { return l.end.Shutdown(ctx) })
		second := kit.Run(func() error { return l.end.Shutdown(context.Background()) })
		time.Sleep(time.Minute - 1)
		kit.Blocked(t, shutdown)
		kit.Blocked(t, publish)
		time.Sleep(time.Nanosecond)
		assert.Equal(t, context.DeadlineExceeded, kit.Returned(t, shutdown))
		assert.NoError(t, kit.Returned(t, second))
		assert.ErrorIs(t, kit.Returned(t, publish), geminio.ErrNotExecuted)
		l.waiting(0)
	})
}

// After Close an operation returns the error of the end, even if its deadline has passed or its
// context has ended.
func TestAfterCloseAndTheDeadline(t *testing.T) {
	for _, connected := range []bool{true, false} {
		t.Run(fmt.Sprintf("connected %v", connected), func(t *testing.T) {
			withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
				if !connected {
					l.cut()
				}
				end := l.end
				end.SetDeadline(time.Now())
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				require.NoError(t, end.Close())
				for range 20 {
					_, err := end.Read(make([]byte, 1))
					require.Equal(t, io.EOF, err, "Read")
					_, err = end.Write(make([]byte, 1))
					require.Equal(t, net.ErrClosed, err, "Write")
					_, err = end.Receive(ctx)
					require.Equal(t, io.EOF, err, "Receive")
					_, err = end.Call(ctx, "m", end.NewRequest(nil))
					require.Equal(t, io.EOF, err, "Call")
				}
			})
		})
	}
}

// After Close every operation returns io.EOF itself.
func TestAfterClose(t *testing.T) {
	for _, connected := range []bool{true, false} {
		t.Run(fmt.Sprintf("connected %v", connected), func(t *testing.T) {
			withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
				if !connected {
					l.cut()
				}
				end, ctx := l.end, context.Background()
				require.NoError(t, end.Close())
				require.NoError(t, end.Close())
				_, err := end.Call(ctx, "m", end.NewRequest(nil))
				assert.Equal(t, io.EOF, err, "Call")
				_, err = end.CallAsync(ctx, "m", end.NewRequest(nil), nil)
				assert.Equal(t, io.EOF, err, "CallAsync")
				assert.Equal(t, io.EOF, end.Publish(ctx, end.NewMessage(nil)), "Publish")
				_, err = end.PublishAsync(ctx, end.NewMessage(nil), nil)
				assert.Equal(t, io.EOF, err, "PublishAsync")
				assert.Equal(t, io.EOF, end.Register(ctx, "m", func(context.Context, geminio.Request, geminio.Response) {}), "Register")
				_, err = end.OpenStream()
				assert.Equal(t, io.EOF, err, "OpenStream")
				_, err = end.AcceptStream()
				assert.Equal(t, io.EOF, err, "AcceptStream")
				_, err = end.Receive(ctx)
				assert.Equal(t, io.EOF, err, "Receive")
				_, err = end.Read(make([]byte, 1))
				assert.Equal(t, io.EOF, err, "Read")
				assert.Equal(t, io.EOF, end.Cause())
				assert.Empty(t, end.ListStreams())
				assert.False(t, end.Stats().Connected)
				dials := l.dials.Load()
				time.Sleep(time.Hour)
				assert.Equal(t, dials, l.dials.Load(), "it dials no more")
			})
		})
	}
}

func TestCloseWithErrorTellsTheServerWhy(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		assert.ErrorContains(t, l.end.CloseWithError(geminio.CodeReplaced, ""), "must not choose the code")
		assert.NoError(t, l.end.Cause(), "the cause of an End that was not closed")
		peer := l.server()
		require.NoError(t, geminio.Reset(l.end, geminio.FirstApplicationCode, "enough"))
		<-geminio.Done(peer)
		var why *geminio.RemoteError
		require.ErrorAs(t, geminio.Cause(peer), &why)
		assert.Equal(t, &geminio.RemoteError{Code: geminio.FirstApplicationCode, Text: "enough"}, why)
		assert.Equal(t, io.EOF, l.end.Cause())
	})
}

// Only the context of SetRetryFirst bounds the wait for the first connection. The error
// has the last failure, also if an attempt is under way when the context ends.
func TestFirstConnectionFails(t *testing.T) {
	for name, c := range map[string]struct {
		stuck bool
		want  time.Duration
	}{"between attempts": {false, time.Hour}, "during an attempt": {true, time.Hour}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stuck := make(chan struct{})
				defer close(stuck)
				attempts := 0
				ctx, cancel := context.WithTimeout(t.Context(), c.want)
				defer cancel()
				opt := NewEndOptions()
				opt.SetRetryFirst(ctx)
				construct := kit.Run(func() error {
					_, err := NewRetryEndWithDialer(func() (net.Conn, error) {
						if attempts++; attempts > 1 && c.stuck {
							<-stuck
						}
						return nil, errShut
					}, opt)
					return err
				})
				err := endsAfter(t, c.want, construct)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorIs(t, err, errShut)
			})
		})
	}
}
