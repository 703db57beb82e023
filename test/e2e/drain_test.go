package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// drained is a connection over a slow link. One side is shut down while operations of the other
// side are in flight.
type drained struct {
	leaver, peer geminio.End // the side that is shut down, and the other side

	mu       sync.Mutex
	handled  int // requests that the leaver's handlers have had
	received int // messages that the leaver has received
	bytes    int // raw bytes that the leaver has read
}

// slowRate is the number of bytes that the slow link carries in a second. A full batch takes
// longer than the linger time.
const slowRate = 40 << 10

// bodyOf is the size of a large packet, which needs several batches.
const bodyOf = 600 << 10

// longer bounds Shutdown. The slow link carries everything in that time.
const longer = time.Hour

// draining is a kind of operations that are in flight when a side is shut down.
type draining struct {
	name string
	// begin does the operations at the peer of the side that is shut down. It joins the errors of
	// the operations.
	begin func(d *drained) error
	// check is called after the end with the error of begin.
	check func(t *testing.T, d *drained, err error)
}

// orderly fails the test unless each operation was executed, or has an error that says that
// it was not.
func orderly(t *testing.T, _ *drained, err error) {
	for _, err := range joined(err) {
		if !errors.Is(err, geminio.ErrGoingAway) && !errors.Is(err, geminio.ErrNotExecuted) || errors.Is(err, geminio.ErrMaybeExecuted) {
			t.Errorf("%v (%T)", err, err)
		}
	}
}

// joined returns the errors that err joins.
func joined(err error) []error {
	if err == nil {
		return nil
	}
	if _, one := err.(*geminio.InterruptedError); one {
		return []error{err}
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return []error{err}
}

// together runs f n times at once and joins the errors.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (d *drained) call(method string, size int) error {
	resp, err := d.peer.Call(context.Background(), method, d.peer.NewRequest(make([]byte, size)))
	if err == nil && resp.Error() != nil {
		err = resp.Error()
	}
	return err
}

var drainings = []draining{
	{"a large request", func(d *drained) error { return d.call("take", bodyOf) }, orderly},
	{"a large response", func(d *drained) error { return d.call("echo", bodyOf) }, orderly},
	{"large requests that wait for their turns and for credit", func(d *drained) error {
		return together(6, func(int) error { return d.call("take", bodyOf/4) })
	}, orderly},
	{"many small requests", func(d *drained) error {
		return together(100, func(int) error { return d.call("echo", 4<<10) })
	}, orderly},
	{"messages", func(d *drained) error {
		return together(4, func(i int) error {
			return d.peer.Publish(context.Background(), d.peer.NewMessage(make([]byte, 1<<10+i%2*bodyOf/4)))
		})
	}, orderly},
	{"messages without an answer", func(d *drained) error {
		return together(4, func(i int) error {
			o := options.NewMessage()
			o.SetCnss(options.CnssAtMostOnce)
			return d.peer.Publish(context.Background(), d.peer.NewMessage(make([]byte, 1<<10+i%2*bodyOf/4), o))
		})
	}, func(t *testing.T, d *drained, err error) {
		orderly(t, d, err)
		assert.Equal(t, 4-len(joined(err)), d.received, "messages or bytes that arrived, want those that were accepted")
	}},
	{"registrations", func(d *drained) error {
		return together(20, func(i int) error {
			return d.peer.Register(context.Background(), fmt.Sprint(i, string(bytes.Repeat([]byte("x"), 900))), rig.Echo)
		})
	}, orderly},
	{"raw bytes", func(d *drained) error {
		n, err := d.peer.Write(make([]byte, 12<<10))
		if err != nil {
			return fmt.Errorf("%w: %d bytes were written", geminio.ErrNotExecuted, n)
		}
		return err
	}, func(t *testing.T, d *drained, err error) {
		if err == nil {
			assert.Equal(t, 12<<10, d.bytes, "messages or bytes that arrived, want those that were accepted")
		}
	}},
	{"a stream", func(d *drained) error {
		s, err := d.peer.OpenStream()
		if err != nil {
			return err
		}
		defer s.Close()
		if _, err := s.Write(make([]byte, bodyOf/2)); err != nil {
			return err
		}
		_, err = s.Call(context.Background(), "take", s.NewRequest(make([]byte, bodyOf/4)))
		var none *geminio.RemoteError // the method is the default stream's
		if errors.As(err, &none) && none.Code == geminio.CodeNoMethod {
			err = nil
		}
		return err
	}, orderly},
	{"streams that are being opened", func(d *drained) error {
		return together(5, func(i int) error {
			if i == 0 {
				return d.call("take", bodyOf/2)
			}
			time.Sleep(time.Duration(i) * 2 * time.Second)
			s, err := d.peer.OpenStream()
			if err == nil {
				err = s.Close()
			}
			if err == io.EOF && d.peer.(geminio.Causer).Cause() != nil {
				err = nil // the operation began after the end
			}
			return err
		})
	}, orderly},
}

// drain starts operations and shuts down one side, or both, after a time. It returns the time that
// the operations took.
func drain(t *testing.T, w draining, side geminio.Side, both bool, after time.Duration) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		co, so := client.NewEndOptions(), server.NewEndOptions()
		co.SetMaxHandlers(4)
		so.SetMaxHandlers(4)
		near, far := kit.SlowPipe(slowRate)
		p, err := rig.JoinPair(near, far, co, so)
		require.NoError(t, err)
		defer time.Sleep(time.Minute) // the link carries its last piece
		defer p.Close()
		d := &drained{leaver: p.Server, peer: p.Client}
		if side == geminio.InitiatorSide {
			d.leaver, d.peer = d.peer, d.leaver
		}
		take := func(_ context.Context, req geminio.Request, resp geminio.Response) {
			d.mu.Lock()
			d.handled++
			d.mu.Unlock()
		}
		mustRegister(t, d.leaver, "take", take)
		mustRegister(t, d.leaver, "echo", rig.Echo)
		var all sync.WaitGroup
		all.Go(func() {
			for {
				m, err := d.leaver.Receive(context.Background())
				if err != nil {
					return
				}
				m.Done()
				d.mu.Lock()
				d.received++
				d.mu.Unlock()
			}
		})
		all.Go(func() {
			n, _ := io.Copy(io.Discard, d.leaver)
			d.mu.Lock()
			d.bytes += int(n)
			d.mu.Unlock()
		})
		all.Go(func() {
			for {
				s, err := d.leaver.AcceptStream()
				if err != nil {
					return
				}
				all.Go(func() {
					io.Copy(io.Discard, s)
					s.Close()
				})
			}
		})
		start := time.Now()
		result := kit.Start(func() error {
			err := w.begin(d)
			took = time.Since(start)
			return err
		})
		time.Sleep(after)
		ends := []geminio.End{d.leaver}
		if both {
			ends = append(ends, d.peer)
		}
		for _, e := range ends {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), longer)
				defer cancel()
				if err := geminio.Shutdown(ctx, e); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			})
		}
		all.Wait()
		err = <-result
		w.check(t, d, err)
		if t.Failed() {
			t.Logf("%s: %v after %v", w.name, side, after)
		}
	})
	return took
}

// A shutdown at any moment of a transfer over a slow link cuts off no operation that the peer
// has begun before it learns of the shutdown.
func TestShutdownOnASlowLink(t *testing.T) {
	for _, w := range drainings {
		for _, side := range []geminio.Side{geminio.InitiatorSide, geminio.RecipientSide} {
			for _, both := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, side %v, both %v", w.name, side, both), func(t *testing.T) {
					took := drain(t, w, side, both, longer)
					steps := time.Duration(kit.Amount("pipe", 24))
					for i := range steps {
						drain(t, w, side, both, i*took*5/4/steps+i)
						if t.Failed() {
							return
						}
					}
				})
			}
		}
	}
}

// The same holds if the connection breaks during the shutdown and the session is resumed.
func TestShutdownOfAResumedSession(t *testing.T) {
	steps := kit.Amount("pipe", 12)
	for i := range steps {
		for j := range steps {
			shutDownAndCut(t, time.Duration(i)*20*time.Second/time.Duration(steps), time.Duration(j)*20*time.Second/time.Duration(steps)+time.Millisecond)
			if t.Failed() {
				return
			}
		}
	}
}

// shutDownAndCut starts a large call of a RetryEnd, shuts down the End of the server after a time,
// and breaks the connection after another time.
func shutDownAndCut(t *testing.T, shutAfter, cutAfter time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		so := server.NewEndOptions()
		so.SetResumeKeep(longer)
		taken := 0
		so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "take", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
			taken++
			resp.SetData(req.Data()[:bodyOf/2])
		}})
		nl := kit.NewPipeListener()
		l, err := server.NewListener(nl, so)
		require.NoError(t, err)
		defer time.Sleep(time.Minute) // the link carries its last piece
		defer l.Close()
		co := client.NewEndOptions()
		co.SetResumeKeep(longer)
		var links []net.Conn
		retry, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
			near, far := kit.SlowPipe(slowRate)
			links = append(links, near)
			return near, nl.Give(far)
		}, co)
		require.NoError(t, err)
		defer retry.Close()
		end, err := l.AcceptEnd()
		require.NoError(t, err)
		called := kit.Start(func() error {
			_, err := retry.Call(context.Background(), "take", retry.NewRequest(make([]byte, bodyOf)))
			return err
		})
		down := kit.Start(func() error {
			time.Sleep(shutAfter)
			ctx, cancel := context.WithTimeout(context.Background(), longer)
			defer cancel()
			return geminio.Shutdown(ctx, end)
		})
		time.Sleep(cutAfter)
		links[0].Close()
		assert.NoError(t, <-called)
		assert.NoError(t, <-down)
		assert.Equal(t, 1, taken)
		if t.Failed() {
			t.Logf("shut down after %v, cut after %v, %d links", shutAfter, cutAfter, len(links))
		}
	})
}
