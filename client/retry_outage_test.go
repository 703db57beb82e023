package client

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// operations returns each operation that waits for a connection by its name, as a function
// that returns its outcome. They have the given context and timeout (0: none).
func (l *retryTest) operations(ctx context.Context, timeout time.Duration) map[string]func() error {
	end := l.end
	call, publish, open := options.Call(), options.Publish(), options.OpenStream()
	call.SetTimeout(timeout)
	publish.SetTimeout(timeout)
	open.SetTimeout(timeout)
	return map[string]func() error{
		"Call": func() error {
			_, err := end.Call(ctx, "echo", end.NewRequest(nil), call)
			return err
		},
		"CallAsync": func() error {
			c, err := end.CallAsync(ctx, "echo", end.NewRequest(nil), nil, call)
			if err != nil {
				return err
			}
			return (<-c.Done).Error
		},
		"Publish": func() error { return end.Publish(ctx, end.NewMessage(nil), publish) },
		"PublishAsync": func() error {
			p, err := end.PublishAsync(ctx, end.NewMessage(nil), nil, publish)
			if err != nil {
				return err
			}
			return (<-p.Done).Error
		},
		"Publish at most once": func() error {
			opt := options.NewMessage()
			opt.SetCnss(options.CnssAtMostOnce)
			return end.Publish(ctx, end.NewMessage(nil, opt), publish)
		},
		"Register": func() error { return end.Register(ctx, "m", echo) },
		"OpenStream": func() error {
			_, err := end.OpenStream(open)
			return err
		},
	}
}

// write writes a byte.
func (l *retryTest) write() error {
	_, err := l.end.Write([]byte("x"))
	return err
}

// withOperations runs a test for each operation, with a RetryEnd of its own.
func withOperations(t *testing.T, opt *EndOptions, test func(t *testing.T, l *retryTest, name string)) {
	for _, name := range []string{
		"Call", "CallAsync", "Publish", "PublishAsync", "Publish at most once", "Register", "OpenStream",
	} {
		t.Run(name, func(t *testing.T) {
			withRetryEnd(t, serving("echo", echo), opt, func(t *testing.T, l *retryTest) { test(t, l, name) })
		})
	}
}

// answer starts a goroutine in which the server receives and answers messages.
func (l *retryTest) answer() {
	peer := l.server()
	go func() {
		for {
			m, err := peer.Receive(context.Background())
			if err != nil {
				return
			}
			m.Done()
		}
	}()
}

// endsAfter requires that an operation ends after exactly d, and returns its error.
func endsAfter(t *testing.T, d time.Duration, ch <-chan error) error {
	t.Helper()
	time.Sleep(d - 1)
	kit.Blocked(t, ch)
	time.Sleep(time.Nanosecond)
	return kit.Returned(t, ch)
}

func TestConnectWait(t *testing.T) {
	ten, second, forever := 10*time.Second, time.Second, time.Duration(0)
	for name, c := range map[string]struct {
		set  *time.Duration
		want time.Duration
	}{"by default": {nil, ten}, "one second": {&second, second}, "for ever": {&forever, 0}} {
		t.Run(name, func(t *testing.T) {
			opt := NewEndOptions()
			if c.set != nil {
				opt.SetConnectWait(*c.set)
			}
			withOperations(t, opt, func(t *testing.T, l *retryTest, name string) {
				l.cut()
				time.Sleep(time.Minute)
				op := kit.Run(l.operations(context.Background(), 0)[name])
				if c.want > 0 {
					err := endsAfter(t, c.want, op)
					assert.ErrorIs(t, err, geminio.ErrNotConnected)
					assert.ErrorIs(t, err, errShut, "the last failure of the dialer")
					l.waiting(0)
				} else {
					time.Sleep(2 * time.Hour)
					kit.Blocked(t, op)
				}
				l.mend()
				l.answer()
				if c.want == 0 {
					require.NoError(t, kit.Returned(t, op))
				}
				require.NoError(t, l.operations(context.Background(), 0)[name](), "with the next connection")
			})
		})
	}
}

// The time begins with the operation, or later with the end of a connection.
func TestConnectWaitBegins(t *testing.T) {
	t.Run("with the end of a connection that takes nothing new", func(t *testing.T) {
		withOperations(t, nil, func(t *testing.T, l *retryTest, name string) {
			require.NoError(t, l.server().Register(t.Context(), "hang", hang))
			kit.Run(func() error {
				_, err := l.end.Call(context.Background(), "hang", l.end.NewRequest(nil))
				return err
			})
			kit.Run(func() error { return geminio.Shutdown(context.Background(), l.server()) })
			op := kit.Run(l.operations(context.Background(), 0)[name])
			time.Sleep(time.Minute)
			kit.Blocked(t, op)
			l.cut()
			assert.ErrorIs(t, endsAfter(t, 10*time.Second, op), geminio.ErrNotConnected)
		})
	})
	t.Run("again with each connection that is lost", func(t *testing.T) {
		withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
			l.cut()
			first := kit.Run(func() error { return l.end.Register(context.Background(), "m", echo) })
			time.Sleep(9 * time.Second)
			l.mend()
			require.NoError(t, kit.Returned(t, first))
			l.cut()
			second := kit.Run(func() error { return l.end.Register(context.Background(), "m", echo) })
			assert.ErrorIs(t, endsAfter(t, 10*time.Second, second), geminio.ErrNotConnected)
		})
	})
}

// The time does not run while the client stays away because the server has asked for that.
func TestConnectWaitBeginsAfterRetryAfter(t *testing.T) {
	opt := NewEndOptions()
	opt.SetMaxRetryAfter(time.Hour)
	check := func(t *testing.T, l *retryTest, dials int64, op <-chan error) {
		t.Helper()
		for l.dials.Load() < dials { // until the client comes back
			time.Sleep(time.Millisecond)
			kit.Blocked(t, op)
		}
		time.Sleep(10*time.Second - 2*time.Millisecond)
		kit.Blocked(t, op)
		time.Sleep(2 * time.Millisecond)
		err := kit.Returned(t, op)
		assert.ErrorIs(t, err, geminio.ErrNotConnected)
		assert.ErrorIs(t, err, errShut)
	}
	withOperations(t, opt, func(t *testing.T, l *retryTest, name string) {
		door := new(refusingDelegate)
		l.sopt = server.NewEndOptions()
		l.sopt.SetDelegate(door)
		door.err.Store(&geminio.RefusedError{Text: "full", RetryAfter: time.Minute})
		l.lose()
		op := kit.Run(l.operations(context.Background(), 0)[name])
		for l.dials.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		l.close()
		start := time.Now()
		check(t, l, 3, op)
		assert.GreaterOrEqual(t, time.Since(start), time.Minute)
	})
	// The announcement of a server that goes away counts as well.
	withRetryEnd(t, nil, opt, func(t *testing.T, l *retryTest) {
		l.sopt = server.NewEndOptions()
		l.sopt.SetRetryAfter(time.Minute)
		l.lose()
		time.Sleep(2 * time.Second)
		start := time.Now()
		l.close()
		require.NoError(t, geminio.Shutdown(t.Context(), l.server()))
		op := kit.Run(func() error { return l.end.Register(context.Background(), "m", echo) })
		check(t, l, 3, op)
		assert.GreaterOrEqual(t, time.Since(start), time.Minute)
	})
}

// A context or timeout of the operation takes the place of SetConnectWait. Its error has the
// last failure as well.
func TestTimeIsUpWithoutAConnection(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, time.Minute, time.Hour} {
		t.Run(wait.String(), func(t *testing.T) {
			withOperations(t, nil, func(t *testing.T, l *retryTest, name string) {
				l.cut()
				time.Sleep(time.Minute)
				ctx, cancel := context.WithTimeout(context.Background(), wait)
				defer cancel()
				var all []<-chan error
				if name != "OpenStream" { // it has no context
					all = append(all, kit.Run(l.operations(ctx, 0)[name]))
				}
				if name != "Register" { // it has no timeout
					all = append(all, kit.Run(l.operations(context.Background(), wait)[name]))
				}
				time.Sleep(wait - 1)
				for _, op := range all {
					kit.Blocked(t, op)
				}
				time.Sleep(time.Nanosecond)
				for _, op := range all {
					err := kit.Returned(t, op)
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					assert.ErrorIs(t, err, errShut)
					assert.NotErrorIs(t, err, geminio.ErrNotConnected)
				}
				l.waiting(0)
			})
		})
	}
}

// A context that is canceled has no deadline: the operation ends with it, or before it.
func TestCanceledWithoutAConnection(t *testing.T) {
	withOperations(t, nil, func(t *testing.T, l *retryTest, name string) {
		if name == "OpenStream" {
			return // it has no context
		}
		l.cut()
		time.Sleep(time.Minute)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		assert.ErrorIs(t, endsAfter(t, 10*time.Second, kit.Run(l.operations(ctx, 0)[name])), geminio.ErrNotConnected)
		op := kit.Run(l.operations(ctx, 0)[name])
		time.Sleep(9 * time.Second)
		kit.Blocked(t, op)
		cancel()
		err := kit.Returned(t, op)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, errShut)
	})
}

// Receive waits for the server, whether there is a connection or not. The error of its
// context has the last failure too.
func TestReceiveWithoutAConnection(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		receive := kit.Run(func() error { _, err := l.end.Receive(ctx); return err })
		accept := kit.Run(func() error { _, err := l.end.AcceptStream(); return err })
		read := kit.Run(func() error { _, err := l.end.Read(make([]byte, 1)); return err })
		err := endsAfter(t, time.Hour, receive)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, errShut)
		kit.Blocked(t, accept)
		kit.Blocked(t, read)
	})
}

// Operations that were sent wait for the next connection without a bound.
func TestConnectWaitIsForWhatWasNotSent(t *testing.T) {
	withRetryEnd(t, serving("hang", hang), nil, func(t *testing.T, l *retryTest) {
		idempotent := options.Call()
		idempotent.SetIdempotent(true)
		ctx := context.Background()
		call := kit.Run(func() error {
			_, err := l.end.Call(ctx, "hang", l.end.NewRequest(nil), idempotent)
			return err
		})
		callAsync := kit.Run(func() error {
			c, err := l.end.CallAsync(ctx, "hang", l.end.NewRequest(nil), nil, idempotent)
			if err != nil {
				return err
			}
			return (<-c.Done).Error
		})
		publish := kit.Run(func() error { return l.end.Publish(ctx, l.end.NewMessage(nil)) })
		publishAsync := kit.Run(l.operations(ctx, 0)["PublishAsync"])
		synctest.Wait()
		l.cut()
		l.waiting(4)
		time.Sleep(time.Hour)
		for _, op := range []<-chan error{call, callAsync, publish, publishAsync} {
			kit.Blocked(t, op)
		}
		l.sopt = serving("hang", echo)
		l.mend()
		l.answer()
		for _, op := range []<-chan error{call, callAsync, publish, publishAsync} {
			require.NoError(t, kit.Returned(t, op))
		}
	})
}

// Calls that were waiting for credit when the connection was lost wait like new ones.
func TestConnectWaitOfWhatWaitedForCredit(t *testing.T) {
	sopt := serving("hang", hang)
	sopt.SetMaxHandlers(1)
	withRetryEnd(t, sopt, nil, func(t *testing.T, l *retryTest) {
		hanging := func() error {
			_, err := l.end.Call(context.Background(), "hang", l.end.NewRequest(nil))
			return err
		}
		sent := kit.Run(hanging)
		var waits []<-chan error
		for range 3 {
			waits = append(waits, kit.Run(hanging))
		}
		l.cut()
		assert.ErrorIs(t, kit.Returned(t, sent), geminio.ErrMaybeExecuted)
		time.Sleep(10*time.Second - 1)
		kit.Blocked(t, waits[len(waits)-1])
		time.Sleep(time.Nanosecond)
		assert.ErrorIs(t, kit.Returned(t, waits[len(waits)-1]), geminio.ErrNotConnected)
	})
}

// Raw bytes: Write waits as other operations do, Read as Receive does.
func TestWriteWithoutAConnection(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		time.Sleep(time.Minute)
		err := endsAfter(t, 10*time.Second, kit.Run(l.write))
		assert.ErrorIs(t, err, geminio.ErrNotConnected)
		assert.ErrorIs(t, err, errShut)

		require.NoError(t, l.end.SetWriteDeadline(time.Now().Add(time.Hour)))
		write := kit.Run(l.write)
		time.Sleep(time.Minute)
		kit.Blocked(t, write)
		require.NoError(t, l.end.SetWriteDeadline(time.Time{}))
		synctest.Wait()
		assert.ErrorIs(t, kit.Returned(t, write), geminio.ErrNotConnected, "without the deadline")

		require.NoError(t, l.end.SetWriteDeadline(time.Now().Add(time.Minute)))
		assert.Equal(t, os.ErrDeadlineExceeded, endsAfter(t, time.Minute, kit.Run(l.write)), "as of every net.Conn")

		require.NoError(t, l.end.SetWriteDeadline(time.Time{}))
		write = kit.Run(l.write)
		time.Sleep(9 * time.Second)
		l.mend()
		require.NoError(t, kit.Returned(t, write))
		_, err = io.ReadFull(l.server(), make([]byte, 1))
		require.NoError(t, err)
	})
}

// The error matches the last failure, of dialling or of shaking hands.
func TestFailuresWithoutAConnection(t *testing.T) {
	refused := new(refusingDelegate)
	refused.err.Store(&geminio.RefusedError{Code: geminio.FirstApplicationCode, Text: "not you"})
	refusing := server.NewEndOptions()
	refusing.SetDelegate(refused)
	network := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for name, c := range map[string]struct {
		dial  func() (net.Conn, error) // nil: the handshake
		check func(*testing.T, error)
	}{
		"the network": {
			dial:  func() (net.Conn, error) { return nil, network },
			check: func(t *testing.T, err error) { var op *net.OpError; assert.ErrorAs(t, err, &op) },
		},
		"the server refuses": {
			check: func(t *testing.T, err error) {
				var r *geminio.RefusedError
				require.ErrorAs(t, err, &r)
				assert.Equal(t, "not you", r.Text)
			},
		},
		"the version": {
			dial:  func() (net.Conn, error) { return nil, geminio.ErrVersion },
			check: func(t *testing.T, err error) { assert.ErrorIs(t, err, geminio.ErrVersion) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
				l.sopt = refusing
				if c.dial != nil {
					l.end.dialing.dialer = func(context.Context) (net.Conn, error) { return c.dial() }
				}
				l.lose()
				time.Sleep(time.Minute)
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				byContext := kit.Run(func() error {
					_, err := l.end.Call(ctx, "m", l.end.NewRequest(nil))
					return err
				})
				err := endsAfter(t, 10*time.Second, kit.Run(l.operations(context.Background(), 0)["OpenStream"]))
				require.ErrorIs(t, err, geminio.ErrNotConnected)
				c.check(t, err)
				err = endsAfter(t, 50*time.Second, byContext)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				c.check(t, err)
			})
		})
	}
}

// If no attempt has failed yet, the error matches no failure.
func TestNoFailureYet(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		stuck := make(chan struct{})
		l.end.dialing.dialer = func(context.Context) (net.Conn, error) { <-stuck; return nil, errShut }
		defer close(stuck)
		l.lose()
		err := endsAfter(t, 10*time.Second, kit.Run(l.operations(context.Background(), 0)["OpenStream"]))
		assert.ErrorIs(t, err, geminio.ErrNotConnected)
		assert.EqualError(t, err, "not connected for 10s")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = l.end.Call(ctx, "m", l.end.NewRequest(nil))
		assert.Equal(t, context.DeadlineExceeded, err)
	})
}
