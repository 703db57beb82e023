package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// town has servers by address. Its method dial is an AddressDialer.
type town struct {
	mu    sync.Mutex
	down  map[string]bool // addresses that refuse connections
	tried []string        // the addresses of all dials
	serve func(address string, nc net.Conn)
}

func newTown() *town {
	return &town{down: make(map[string]bool), serve: func(_ string, nc net.Conn) { nc.Close() }}
}

func (w *town) dial(_ context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried = append(w.tried, address)
	if w.down[address] {
		return nil, errShut
	}
	near, far := net.Pipe()
	go w.serve(address, far)
	return near, nil
}

// set makes exactly these addresses refuse connections.
func (w *town) set(down ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.down)
	for _, address := range down {
		w.down[address] = true
	}
}

// take returns the addresses of the dials since the last call.
func (w *town) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	tried := w.tried
	w.tried = nil
	return tried
}

// connect calls a ContextDialer, and returns the addresses that were tried.
func (w *town) connect(t *testing.T, dialer ContextDialer) []string {
	t.Helper()
	nc, err := dialer(t.Context())
	require.NoError(t, err)
	nc.Close()
	return w.take()
}

// The first address is random, and the others follow if it fails, in random order.
func TestDialAnySpreadsTheLoad(t *testing.T) {
	w := newTown()
	orders := make(map[string]bool)
	for range 500 {
		w.set("a", "b", "c")
		_, err := DialAny(Addresses("a", "b", "c"), w.dial)(t.Context())
		require.ErrorIs(t, err, errShut)
		tried := w.take()
		orders[fmt.Sprint(tried)] = true
		slices.Sort(tried)
		require.Equal(t, []string{"a", "b", "c"}, tried)
	}
	assert.Len(t, orders, 6)
}

// The last good address comes first, as long as the resolver returns it.
func TestDialAnyPrefersTheLastAddress(t *testing.T) {
	w := newTown()
	list := []string{"a", "b", "c"}
	dialer := DialAny(func(context.Context) ([]string, error) { return list, nil }, w.dial)
	good := w.connect(t, dialer)[0]
	for range 50 {
		require.Equal(t, []string{good}, w.connect(t, dialer))
	}
	w.set(good)
	tried := w.connect(t, dialer)
	require.Len(t, tried, 2)
	assert.Equal(t, good, tried[0])
	w.set()
	for range 50 {
		require.Equal(t, tried[1:], w.connect(t, dialer))
	}
	list = []string{"x"}
	assert.Equal(t, list, w.connect(t, dialer))
}

func TestDialAnyErrors(t *testing.T) {
	failed := errors.New("no names")
	w := newTown()
	w.set("a", "b")
	for name, c := range map[string]struct {
		resolve Resolver
		dial    AddressDialer
		want    []string
	}{
		"no resolver":   {nil, w.dial, []string{"dial: the resolver is nil"}},
		"a resolver":    {func(context.Context) ([]string, error) { return nil, failed }, w.dial, []string{"no names"}},
		"no addresses":  {Addresses(), w.dial, []string{"returned no addresses"}},
		"all addresses": {Addresses("a", "b"), w.dial, []string{"a: " + errShut.Error(), "b: " + errShut.Error()}},
		"nothing": {Addresses("a", "b"), func(context.Context, string) (net.Conn, error) { return nil, nil },
			[]string{"a: ", "b: "}},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := DialAny(c.resolve, c.dial)(t.Context())
			assert.Nil(t, nc)
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

// Each address has an equal part of the time that is left. The end of the context ends all.
func TestDialAnyDividesTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		start := time.Now()
		dialer := DialAny(Addresses("a", "b", "c"), func(ctx context.Context, _ string) (net.Conn, error) {
			if len(times) == 0 {
				times = append(times, time.Since(start))
				return nil, errShut // at once: the others have more time
			}
			<-ctx.Done()
			times = append(times, time.Since(start))
			return nil, ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := dialer(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []time.Duration{0, 5 * time.Second, 10 * time.Second}, times)

		ctx, cancel = context.WithCancel(t.Context())
		calls := 0
		dialed := kit.Run(func() error {
			_, err := DialAny(Addresses("a", "b", "c"), func(ctx context.Context, _ string) (net.Conn, error) {
				calls++
				<-ctx.Done()
				return nil, ctx.Err()
			})(ctx)
			return err
		})
		kit.Blocked(t, dialed)
		cancel()
		assert.ErrorIs(t, kit.Returned(t, dialed), context.Canceled)
		assert.Equal(t, 1, calls)
	})
}

// fullDelegate refuses all clients for the moment.
type fullDelegate struct {
	*delegate.UnimplementedDelegate
}

func (fullDelegate) ConnOnline(delegate.ConnDescriber) error { return errors.New("full") }

// A RetryEnd leaves an address whose handshake fails, and comes back to the address of its
// session. RetryEnds that share a ContextDialer do not share their last address.
func TestDialAnyOfRetryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown()
		full := map[string]bool{}
		conns := make(map[string]net.Conn)
		w.serve = func(address string, nc net.Conn) {
			w.mu.Lock()
			refuses := full[address]
			conns[address] = nc
			w.mu.Unlock()
			opt := server.NewEndOptions()
			if refuses {
				opt.SetDelegate(fullDelegate{})
			}
			server.NewEndWithConn(nc, opt)
		}
		opt := NewEndOptions()
		opt.SetContextDialer(DialAny(Addresses("a", "b", "c"), w.dial))
		opt.SetRetryBackoff(time.Second, time.Second)
		used := make(map[string]bool)
		var ends []geminio.End
		var addresses []string
		for range 50 {
			end, err := NewRetryEndWithDialer(nil, opt)
			require.NoError(t, err)
			defer end.Close()
			tried := w.take()
			require.Len(t, tried, 1)
			used[tried[0]] = true
			ends, addresses = append(ends, end), append(addresses, tried[0])
		}
		assert.Len(t, used, 3, "addresses of 50 RetryEnds with one ContextDialer")

		end, address := ends[len(ends)-1], addresses[len(addresses)-1]
		cut := func() {
			w.mu.Lock()
			conns[address].Close()
			w.mu.Unlock()
			time.Sleep(time.Minute)
			require.True(t, end.(*RetryEnd).Stats().Connected)
		}
		cut()
		assert.Equal(t, []string{address}, w.take())
		w.mu.Lock()
		full[address] = true
		w.mu.Unlock()
		cut()
		tried := w.take()
		require.Len(t, tried, 2, "dials after the address refuses the handshake")
		assert.Equal(t, address, tried[0])
		assert.NotEqual(t, address, tried[1])
	})
}

// A RetryEnd with several TCP addresses stays connected when servers end one after the other.
func TestDialAnyOverTCP(t *testing.T) {
	servers := make(map[string]*server.Server)
	var addresses []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		srv := server.New(serving("echo", echo))
		go srv.Serve(l)
		go func() {
			for {
				if _, err := srv.AcceptEnd(); err != nil {
					return
				}
			}
		}()
		addresses = append(addresses, l.Addr().String())
		servers[l.Addr().String()] = srv
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone.Close()
	opt := NewEndOptions()
	opt.SetContextDialer(DialAny(Addresses(append(addresses, gone.Addr().String())...), nil))
	opt.SetRetryBackoff(time.Millisecond, 10*time.Millisecond)
	end, err := NewRetryEndWithDialer(nil, opt)
	require.NoError(t, err)
	defer end.Close()
	repeat := options.Call()
	repeat.SetIdempotent(true)
	for len(servers) > 0 {
		resp, err := end.Call(kit.Deadline(t), "echo", end.NewRequest([]byte("x")), repeat)
		require.NoError(t, err)
		assert.Equal(t, "x", string(resp.Data()))
		address := end.RemoteAddr().String()
		srv := servers[address]
		require.NotNil(t, srv, address)
		delete(servers, address)
		require.NoError(t, srv.Close()) // before its Ends are closed, so that end does not come back
		for e := range srv.Ends() {
			e.Close()
		}
	}
}

// A dial that panics, or ends its goroutine, at the last address has the others tried next time.
func TestDialAnyWhoseDialPanics(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("oops") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			var bad string
			w := newTown()
			dialer := DialAny(Addresses("a", "b", "c"), func(ctx context.Context, address string) (net.Conn, error) {
				if address == bad {
					fail()
				}
				return w.dial(ctx, address)
			})
			d := dialing{dialer: dialer}
			nc, err := d.dial(t.Context(), slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			nc.Close()
			bad = w.take()[0]
			_, err = d.dial(t.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				nc, err = d.dial(t.Context(), slog.New(slog.DiscardHandler))
			}
			require.NoError(t, err)
			nc.Close()
			assert.NotContains(t, w.take(), bad)
		})
	}
}
