package e2e

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// eachStream runs a test with caller and callee on the Ends and on streams, in both directions.
func eachStream(t *testing.T, test func(t *testing.T, caller, callee geminio.Stream)) {
	for _, network := range kit.Networks("tcp", "pipe") {
		p := rig.NewPair(t, network, nil, nil)
		t.Run(network+"/End, by the client", func(t *testing.T) { test(t, p.Client, p.Server) })
		t.Run(network+"/End, by the server", func(t *testing.T) { test(t, p.Server, p.Client) })
		a, b := rig.OpenStream(t, p.Client, p.Server)
		t.Run(network+"/stream, by its opener", func(t *testing.T) { test(t, a, b) })
		t.Run(network+"/stream, by its acceptor", func(t *testing.T) { test(t, b, a) })
	}
}

// mustRegister registers a method.
func mustRegister(t *testing.T, s geminio.RPCer, method string, rpc geminio.RPC) {
	t.Helper()
	require.NoError(t, s.Register(kit.Deadline(t), method, rpc))
}

// call calls a method with text and returns the text of the response.
func call(t *testing.T, s geminio.RPCer, method, text string, opts ...*options.CallOptions) (string, error) {
	resp, err := s.Call(kit.Deadline(t), method, s.NewRequest([]byte(text)), opts...)
	if resp == nil {
		return "", err
	}
	return string(resp.Data()), err
}

// mustCall is call for a call that must succeed.
func mustCall(t *testing.T, s geminio.RPCer, method, text string) string {
	t.Helper()
	got, err := call(t, s, method, text)
	require.NoError(t, err)
	return got
}

func TestCall(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		seen := make(chan geminio.Request, 1)
		mustRegister(t, callee, "echo", func(_ context.Context, r geminio.Request, resp geminio.Response) {
			seen <- r
			resp.SetData(r.Data())
			resp.SetCustom(append([]byte("back "), r.Custom()...))
		})
		opt := options.NewRequest()
		opt.SetCustom([]byte("custom"))
		mine := caller.NewRequest([]byte("hello"), nil, opt)
		mine.SetTimeout(kit.Forever)
		resp, err := caller.Call(kit.Deadline(t), "echo", mine)
		require.NoError(t, err)
		require.NoError(t, resp.Error())
		require.Equal(t, "hello", string(resp.Data()))
		require.Equal(t, "back custom", string(resp.Custom()))
		require.Equal(t, "echo", resp.Method())
		require.Equal(t, mine.ID(), resp.ID())
		require.Equal(t, caller.ClientID(), resp.ClientID())
		require.Equal(t, caller.StreamID(), resp.StreamID())
		req := <-seen
		require.Equal(t, mine.ID(), req.ID())
		require.Equal(t, "echo", req.Method())
		require.Equal(t, "custom", string(req.Custom()))
		require.Equal(t, callee.ClientID(), req.ClientID())
		require.Equal(t, callee.StreamID(), req.StreamID())
		require.Greater(t, req.Timeout(), kit.Forever/2)
		require.LessOrEqual(t, req.Timeout(), kit.Forever)
	})
}

func TestCallAsync(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		mustRegister(t, callee, "echo", rig.Echo)
		c, err := caller.CallAsync(kit.Deadline(t), "echo", caller.NewRequest([]byte("x")), nil)
		require.NoError(t, err)
		require.Same(t, c, kit.Await(t, kit.Forever, "the call", c.Done))
		require.NoError(t, c.Error)
		require.Equal(t, "x", string(c.Response.Data()))
		require.Equal(t, "echo", c.Method)

		given := make(chan *geminio.Call, 1)
		c, err = caller.CallAsync(kit.Deadline(t), "no", caller.NewRequest(nil), given)
		require.NoError(t, err)
		require.Same(t, c, kit.Await(t, kit.Forever, "the call", given))
		require.EqualError(t, c.Error, "no such rpc: no")

		// A full channel of outcomes blocks no other operation, and no outcome is lost.
		full := make(chan *geminio.Call)
		for i := range 100 {
			_, err = caller.CallAsync(kit.Deadline(t), "echo", caller.NewRequest([]byte{byte(i)}), full)
			require.NoError(t, err)
		}
		mustCall(t, caller, "echo", "others go on")
		seen := make(map[byte]bool)
		for range 100 {
			c := kit.Await(t, kit.Forever, "a call", full)
			require.NoError(t, c.Error)
			seen[c.Response.Data()[0]] = true
		}
		require.Len(t, seen, 100)
	})
}

func TestCallErrors(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		text := "the handler's own error: 世界"
		mustRegister(t, callee, "fail", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetData([]byte("data"))
			resp.SetCustom([]byte("custom"))
			resp.SetError(errors.New(text))
		})
		resp, err := caller.Call(kit.Deadline(t), "fail", caller.NewRequest(nil))
		require.EqualError(t, err, text)
		require.Equal(t, err, resp.Error())
		require.Equal(t, "data", string(resp.Data()))
		require.Equal(t, "custom", string(resp.Custom()))
		var remote *geminio.RemoteError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, geminio.CodeApplication, remote.Code)

		_, err = call(t, caller, "unknown method", "")
		require.EqualError(t, err, "no such rpc: unknown method")
		require.ErrorAs(t, err, &remote)
		require.Equal(t, geminio.CodeNoMethod, remote.Code)

		for name, rpc := range map[string]geminio.RPC{
			"panic":  func(context.Context, geminio.Request, geminio.Response) { panic("something happened") },
			"goexit": func(context.Context, geminio.Request, geminio.Response) { runtime.Goexit() },
			"nil":    func(context.Context, geminio.Request, geminio.Response) { panic(error(nil)) },
		} {
			mustRegister(t, callee, name, rpc)
			_, err = call(t, caller, name, "")
			require.ErrorAs(t, err, &remote)
			require.Equal(t, geminio.CodePanic, remote.Code)
		}
		_, err = call(t, caller, "panic", "")
		require.ErrorContains(t, err, "something happened")

		mustRegister(t, callee, "echo", rig.Echo)
		require.Equal(t, "lives on", mustCall(t, caller, "echo", "lives on"))
	})
}

func TestCancelAndDeadlineReachHandler(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		entered, ended := make(chan context.Context, 1), make(chan error, 1)
		mustRegister(t, callee, "wait", func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			entered <- ctx
			<-ctx.Done()
			ended <- ctx.Err()
			resp.SetError(ctx.Err())
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := kit.Start(func() error {
			_, err := caller.Call(ctx, "wait", caller.NewRequest(nil))
			return err
		})
		kit.Await(t, kit.Forever, "the start of the handler", entered)
		cancel()
		require.Equal(t, context.Canceled, kit.Await(t, promptly, "the return of Call", done))
		require.Equal(t, context.Canceled, kit.Await(t, promptly, "the end of the handler's context", ended))

		const short = 50 * time.Millisecond
		opt := options.Call()
		opt.SetTimeout(short)
		timedOut := func(f func() error) {
			t.Helper()
			at := time.Now()
			err := f()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.GreaterOrEqual(t, time.Since(at), short)
			handler := kit.Await(t, promptly, "the start of the handler", entered)
			_, has := handler.Deadline()
			require.True(t, has)
			require.Equal(t, context.DeadlineExceeded, kit.Await(t, promptly, "the end of the handler's context", ended))
		}
		timedOut(func() error { _, err := call(t, caller, "wait", "", opt); return err })
		timedOut(func() error {
			req := caller.NewRequest(nil)
			req.SetTimeout(short)
			_, err := caller.Call(t.Context(), "wait", req)
			return err
		})
		timedOut(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), short)
			defer cancel()
			_, err := caller.Call(ctx, "wait", caller.NewRequest(nil))
			return err
		})
		timedOut(func() error {
			// The timeout of the option overrides that of the request.
			req := caller.NewRequest(nil)
			req.SetTimeout(kit.Forever)
			c, err := caller.CallAsync(t.Context(), "wait", req, nil, opt)
			require.NoError(t, err)
			return kit.Await(t, kit.Forever, "the call", c.Done).Error
		})

		over, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := caller.Call(over, "wait", caller.NewRequest(nil))
		require.Equal(t, context.Canceled, err)
	})
}

// TestEndOfConnectionReachesHandler requires that the context of a handler ends with the
// connection.
func TestEndOfConnectionReachesHandler(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			f := newBlocked(t, "tcp", usualBudget, nil)
			ended := make(chan error, 1)
			s, peer := f.stream, f.peer
			entered := make(chan struct{})
			mustRegister(t, peer, "wait", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
				close(entered)
				<-ctx.Done()
				ended <- ctx.Err()
			})
			done := kit.Start(func() error {
				_, err := s.Call(context.Background(), "wait", s.NewRequest(nil))
				return err
			})
			kit.Await(t, kit.Forever, "the start of the handler", entered)
			go e.end(f)
			require.Equal(t, context.Canceled, kit.Await(t, promptly, "the end of the handler's context", ended))
			require.ErrorIs(t, kit.Await(t, promptly, "the return of Call", done), geminio.ErrMaybeExecuted)
		})
	}
}

func TestHijack(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		by := func(who string) geminio.HijackRPC {
			return func(_ context.Context, method string, req geminio.Request, resp geminio.Response) {
				resp.SetData([]byte(who + " " + method + " " + req.Method()))
			}
		}
		mustRegister(t, callee, "echo", rig.Echo)
		match := func(want bool, pattern string) *options.HijackOptions {
			opt := options.Hijack()
			opt.SetMatch(want, pattern)
			return opt
		}
		require.NoError(t, callee.Hijack(by("all")))
		require.Equal(t, "all echo echo", mustCall(t, caller, "echo", "x"))
		require.Equal(t, "all other other", mustCall(t, caller, "other", "x"))

		require.NoError(t, callee.Hijack(by("some"), match(true, "^o")))
		require.Equal(t, "x", mustCall(t, caller, "echo", "x"), "the last one has replaced the others")
		require.Equal(t, "some other other", mustCall(t, caller, "other", "x"))
		_, err := call(t, caller, "neither", "")
		require.EqualError(t, err, "no such rpc: neither")

		require.NoError(t, callee.Hijack(by("rest"), nil, match(false, "^o")))
		require.Equal(t, "rest echo echo", mustCall(t, caller, "echo", "x"))
		_, err = call(t, caller, "other", "")
		require.EqualError(t, err, "no such rpc: other")

		require.Error(t, callee.Hijack(by("nobody"), match(true, "(")))
		require.Equal(t, "rest echo echo", mustCall(t, caller, "echo", "x"), "a bad pattern changes nothing")
	})
}

func TestRegisterOverwrites(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		for i := range 50 {
			answer := fmt.Sprint(i)
			mustRegister(t, callee, "m", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
				resp.SetData([]byte(answer))
			})
			require.Equal(t, answer, mustCall(t, caller, "m", ""))
		}
	})
}
