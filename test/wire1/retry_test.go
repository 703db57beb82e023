package wire1

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

// places are the servers that a RetryEnd may find. Each returns a connection to such a server, or
// the error of a dialer.
type places struct {
	t  *testing.T
	wg sync.WaitGroup // of the servers
}

// serve runs a server at the other end of a pipe.
func (p *places) serve(server func(far net.Conn)) (net.Conn, error) {
	near, far := net.Pipe()
	p.wg.Go(func() {
		defer far.Close()
		server(far)
	})
	return near, nil
}

func (p *places) nobody() (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// old is a server of wire 1.
func (p *places) old() (net.Conn, error) {
	return p.serve(func(far net.Conn) {
		if peer, err := oldpeer.Accept(far, oldpeer.Config{Handle: echo}); err == nil {
			<-peer.Over()
			peer.Cut()
		}
	})
}

// oldThatRefuses is a server of wire 1 that refuses the client.
func (p *places) oldThatRefuses() (net.Conn, error) {
	return p.serve(func(far net.Conn) {
		oldpeer.Accept(far, oldpeer.Config{Refuse: "not today"})
		far.Read(make([]byte, 1)) // until the client has closed
	})
}

// oldThatHangs is a server of wire 1 that does not answer.
func (p *places) oldThatHangs() (net.Conn, error) {
	return p.serve(func(far net.Conn) {
		for {
			if _, err := oldpeer.Read(far); err != nil {
				return
			}
		}
	})
}

// oldThatBreaks is a server of wire 1 that closes the connection within its answer.
func (p *places) oldThatBreaks() (net.Conn, error) {
	return p.serve(func(far net.Conn) {
		if hello, err := oldpeer.Read(far); err == nil {
			ack := wire1.Append(nil, wire1.Packet{Type: wire1.TypeConnAck, ID: hello.ID, Client: 7})
			far.Write(ack[:len(ack)-1])
		}
	})
}

// another is a server of another protocol.
func (p *places) another() (net.Conn, error) {
	return p.serve(func(far net.Conn) {
		go far.Write([]byte("220 mail.example.com ESMTP\r\n"))
		buf := make([]byte, 1024)
		for {
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
	})
}

// newer is a server of this library.
func (p *places) newer() (net.Conn, error) {
	return p.serve(func(far net.Conn) {
		opt := server.NewEndOptions()
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: handler})
		end, err := server.NewEndWithConn(far, opt)
		if err == nil {
			<-end.(geminio.Doner).Done()
			end.Close()
		}
	})
}

// The errors of operations of a RetryEnd say why there is no connection, whatever the server that
// it finds.
func TestWhyThereIsNoConnection(t *testing.T) {
	asOp := func(t *testing.T, err error) {
		var op *net.OpError
		assert.ErrorAs(t, err, &op)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
	is := func(want error) func(*testing.T, error) {
		return func(t *testing.T, err error) { assert.ErrorIs(t, err, want) }
	}
	for name, c := range map[string]struct {
		at    func(*places) (net.Conn, error)
		check func(*testing.T, error)
	}{
		"nobody":                     {(*places).nobody, asOp},
		"a server of wire 1":         {(*places).old, is(geminio.ErrVersion)},
		"a server that hangs":        {(*places).oldThatHangs, is(geminio.ErrHandshakeTimeout)},
		"a server that breaks":       {(*places).oldThatBreaks, func(t *testing.T, err error) { assert.ErrorContains(t, err, "EOF") }},
		"a server of something else": {(*places).another, is(geminio.ErrProtocol)},
		"a server of wire 1, refuses": {(*places).oldThatRefuses, func(t *testing.T, err error) {
			var r *geminio.RefusedError
			if assert.ErrorAs(t, err, &r) {
				assert.Equal(t, "not today", r.Text)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &places{t: t}
				defer p.wg.Wait()
				var at atomic.Value
				at.Store((*places).newer)
				var last atomic.Pointer[net.Conn]
				opt := client.NewEndOptions()
				opt.SetRefuseWireV1()
				opt.SetResumeKeep(0)
				opt.SetHandshakeTimeout(time.Second)
				opt.SetRetryBackoff(time.Second, time.Second)
				end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
					nc, err := at.Load().(func(*places) (net.Conn, error))(p)
					last.Store(&nc)
					return nc, err
				}, opt)
				require.NoError(t, err)
				defer end.Close()
				_, err = end.Call(t.Context(), "echo", end.NewRequest(nil))
				require.NoError(t, err)

				at.Store(c.at)
				(*last.Load()).Close()
				time.Sleep(time.Minute)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				bounded := kit.Start(func() error {
					_, err := end.Call(ctx, "echo", end.NewRequest(nil))
					return err
				})
				start := time.Now()
				_, err = end.Call(context.Background(), "echo", end.NewRequest(nil))
				assert.Equal(t, 10*time.Second, time.Since(start), "the default of SetConnectWait")
				require.ErrorIs(t, err, geminio.ErrNotConnected)
				c.check(t, err)
				_, err = end.OpenStream()
				require.ErrorIs(t, err, geminio.ErrNotConnected)
				c.check(t, err)
				err = <-bounded
				require.ErrorIs(t, err, context.DeadlineExceeded)
				c.check(t, err)

				at.Store((*places).newer)
				_, err = end.Call(context.Background(), "echo", end.NewRequest(nil))
				assert.NoError(t, err, "with a server again")
			})
		})
	}
}

// A RetryEnd does work while servers of both wires, broken ones and none at all take turns. Every
// operation ends with success or with an error that says why it did not take place.
func TestServersThatComeAndGo(t *testing.T) {
	const rounds = 100 / kit.Slowdown
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(rounds) {
		synctest.Test(t, func(t *testing.T) { comeAndGo(t, rand.New(rand.NewPCG(seed, i))) })
		if t.Failed() {
			t.Fatalf("round %d", i)
		}
	}
}

func comeAndGo(t *testing.T, r *rand.Rand) {
	p := &places{t: t}
	defer p.wg.Wait()
	all := []func(*places) (net.Conn, error){
		(*places).nobody, (*places).old, (*places).old, (*places).oldThatRefuses, (*places).oldThatHangs,
		(*places).oldThatBreaks, (*places).another, (*places).newer, (*places).newer,
	}
	var (
		mu   sync.Mutex
		at   = (*places).newer
		last net.Conn
	)
	opt := client.NewEndOptions()
	opt.SetResumeKeep(0)
	opt.SetHandshakeTimeout(time.Second)
	opt.SetRetryBackoff(100*time.Millisecond, time.Second)
	opt.SetHeartbeat(5 * time.Second)
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "local", RPC: handler})
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		nc, err := at(p)
		if err == nil {
			last = nc
		}
		return nc, err
	}, opt)
	require.NoError(t, err)
	retry := end.(*client.RetryEnd)

	var wg sync.WaitGroup
	work := func(seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		ctx, bound := context.Background(), 10*time.Second
		switch r.IntN(4) {
		case 0:
			bound = time.Duration(1+r.IntN(20_000)) * time.Millisecond
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, bound)
			defer cancel()
		case 1:
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			time.AfterFunc(time.Duration(1+r.IntN(8000))*time.Millisecond, cancel)
		}
		kind := r.IntN(3)
		done := make(chan struct{})
		wg.Go(func() { // measures how long the operation waits while there is no connection
			var connections uint64
			down := 0 * time.Second
			for kind != 1 { // a registration that was sent waits without this bound
				select {
				case <-done:
					return
				case <-time.After(500 * time.Millisecond):
				}
				stats := retry.Stats()
				if down += 500 * time.Millisecond; stats.Connected || stats.Connections != connections {
					down, connections = 0, stats.Connections
				}
				if !assert.LessOrEqual(t, down, bound+time.Second, "an operation waits without a connection") {
					return
				}
			}
		})
		start := time.Now()
		var err error
		switch kind {
		case 0:
			var resp geminio.Response
			resp, err = end.Call(ctx, "echo", end.NewRequest([]byte("hi")))
			if err == nil {
				assert.Contains(t, []string{"old hi", "new hi "}, string(resp.Data()))
			}
		case 1:
			err = end.Register(ctx, "other", handler)
		case 2:
			var s geminio.Stream
			s, err = geminio.OpenStreamContext(ctx, end)
			if err == nil {
				s.Close()
			}
		}
		close(done)
		switch {
		case err == nil, errors.Is(err, geminio.ErrMaybeExecuted):
		case errors.Is(err, geminio.ErrNotConnected):
			assert.GreaterOrEqual(t, time.Since(start), 10*time.Second)
			assert.True(t, isFailure(err), "no reason in %v", err)
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			assert.ErrorIs(t, err, ctx.Err())
		default:
			assert.NoError(t, err)
		}
	}
	for range 5 + r.IntN(20) {
		mu.Lock()
		at = all[r.IntN(len(all))]
		if r.IntN(2) == 0 {
			last.Close()
		}
		mu.Unlock()
		for range r.IntN(4) {
			seed := r.Uint64()
			wg.Go(func() { work(seed) })
			time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		}
		time.Sleep(time.Duration(r.IntN(6000)) * time.Millisecond)
	}
	mu.Lock()
	at = (*places).newer
	mu.Unlock()
	wg.Wait()
	time.Sleep(time.Minute) // until the End has noticed the last close
	_, err = end.Call(context.Background(), "echo", end.NewRequest(nil))
	assert.NoError(t, err)
	end.Close()
}

// isFailure reports whether an error has one of the reasons why there may be no connection.
func isFailure(err error) bool {
	var (
		op      *net.OpError
		refused *geminio.RefusedError
	)
	return errors.As(err, &op) || errors.As(err, &refused) || errors.Is(err, geminio.ErrHandshakeTimeout) ||
		errors.Is(err, geminio.ErrProtocol) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)
}
