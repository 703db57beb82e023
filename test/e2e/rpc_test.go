package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// eachStream runs a test with caller and callee on the Ends and on streams, both
// ways.
func eachStream(t *testing.T, test func(t *testing.T, caller, callee geminio.Stream)) {
	for _, network := range []string{"tcp", "pipe"} {
		p := newPair(t, network, nil, nil)
		t.Run(network+"/End, by the client", func(t *testing.T) { test(t, p.client, p.server) })
		t.Run(network+"/End, by the server", func(t *testing.T) { test(t, p.server, p.client) })
		a, b := openStream(t, p.client, p.server)
		t.Run(network+"/stream, by its opener", func(t *testing.T) { test(t, a, b) })
		t.Run(network+"/stream, by its acceptor", func(t *testing.T) { test(t, b, a) })
	}
}

// mustRegister registers a method.
func mustRegister(t *testing.T, s geminio.RPCer, method string, rpc geminio.RPC) {
	t.Helper()
	require.NoError(t, s.Register(deadline(t), method, rpc))
}

// call calls a method with text and returns the text of the response.
func call(t *testing.T, s geminio.RPCer, method, text string, opts ...*options.CallOptions) (string, error) {
	resp, err := s.Call(deadline(t), method, s.NewRequest([]byte(text)), opts...)
	if resp == nil {
		return "", err
	}
	return string(resp.Data()), err
}

// mustCall calls a method that is to succeed.
func mustCall(t *testing.T, s geminio.RPCer, method, text string) string {
	t.Helper()
	got, err := call(t, s, method, text)
	require.NoError(t, err)
	return got
}

func TestCall(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		var req geminio.Request
		mustRegister(t, callee, "echo", func(_ context.Context, r geminio.Request, resp geminio.Response) {
			req = r
			resp.SetData(r.Data())
			resp.SetCustom(append([]byte("back "), r.Custom()...))
		})
		opt := options.NewRequest()
		opt.SetCustom([]byte("custom"))
		mine := caller.NewRequest([]byte("hello"), nil, opt)
		mine.SetTimeout(forever)
		resp, err := caller.Call(deadline(t), "echo", mine)
		require.NoError(t, err)
		require.NoError(t, resp.Error())
		require.Equal(t, "hello", string(resp.Data()))
		require.Equal(t, "back custom", string(resp.Custom()))
		require.Equal(t, "echo", resp.Method())
		require.Equal(t, mine.ID(), resp.ID())
		require.Equal(t, caller.ClientID(), resp.ClientID())
		require.Equal(t, caller.StreamID(), resp.StreamID())
		require.Equal(t, mine.ID(), req.ID())
		require.Equal(t, "echo", req.Method())
		require.Equal(t, "custom", string(req.Custom()))
		require.Equal(t, callee.ClientID(), req.ClientID())
		require.Equal(t, callee.StreamID(), req.StreamID())
		require.Greater(t, req.Timeout(), forever/2)
		require.LessOrEqual(t, req.Timeout(), forever)
	})
}

func TestCallAsync(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		mustRegister(t, callee, "echo", echo)
		c, err := caller.CallAsync(deadline(t), "echo", caller.NewRequest([]byte("x")), nil)
		require.NoError(t, err)
		require.Same(t, c, await(t, forever, "the call", c.Done))
		require.NoError(t, c.Error)
		require.Equal(t, "x", string(c.Response.Data()))
		require.Equal(t, "echo", c.Method)

		given := make(chan *geminio.Call, 1)
		c, err = caller.CallAsync(deadline(t), "no", caller.NewRequest(nil), given)
		require.NoError(t, err)
		require.Same(t, c, await(t, forever, "the call", given))
		require.EqualError(t, c.Error, "no such rpc: no")

		// A channel without room holds nothing up, and loses nothing.
		full := make(chan *geminio.Call)
		for i := range 100 {
			_, err = caller.CallAsync(deadline(t), "echo", caller.NewRequest([]byte{byte(i)}), full)
			require.NoError(t, err)
		}
		mustCall(t, caller, "echo", "others go on")
		seen := make(map[byte]bool)
		for range 100 {
			c := await(t, forever, "a call", full)
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
		resp, err := caller.Call(deadline(t), "fail", caller.NewRequest(nil))
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

		mustRegister(t, callee, "echo", echo)
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
		done := start(func() error {
			_, err := caller.Call(ctx, "wait", caller.NewRequest(nil))
			return err
		})
		await(t, forever, "the handler runs", entered)
		cancel()
		require.Equal(t, context.Canceled, await(t, time.Second, "the caller returns", done))
		require.Equal(t, context.Canceled, await(t, time.Second, "the handler's context", ended))

		const short = 50 * time.Millisecond
		opt := options.Call()
		opt.SetTimeout(short)
		timedOut := func(f func() error) {
			t.Helper()
			at := time.Now()
			err := f()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.GreaterOrEqual(t, time.Since(at), short)
			handler := await(t, time.Second, "the handler runs", entered)
			_, has := handler.Deadline()
			require.True(t, has)
			require.Equal(t, context.DeadlineExceeded, await(t, time.Second, "the handler's context", ended))
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
			// The option goes before what the request says.
			req := caller.NewRequest(nil)
			req.SetTimeout(forever)
			c, err := caller.CallAsync(t.Context(), "wait", req, nil, opt)
			require.NoError(t, err)
			return await(t, forever, "the call", c.Done).Error
		})

		over, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := caller.Call(over, "wait", caller.NewRequest(nil))
		require.Equal(t, context.Canceled, err)
	})
}

// TestEndOfConnectionReachesHandler has handlers that wait for their context.
func TestEndOfConnectionReachesHandler(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			f := newBlocked(t, "tcp")
			ended := make(chan error, 1)
			s, peer := f.stream, f.peer
			entered := make(chan struct{})
			mustRegister(t, peer, "wait", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
				close(entered)
				<-ctx.Done()
				ended <- ctx.Err()
			})
			done := start(func() error {
				_, err := s.Call(context.Background(), "wait", s.NewRequest(nil))
				return err
			})
			await(t, forever, "the handler runs", entered)
			go e.end(f)
			require.Equal(t, context.Canceled, await(t, time.Second, "the handler's context", ended))
			require.ErrorIs(t, await(t, time.Second, "the caller returns", done), geminio.ErrMaybeExecuted)
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
		mustRegister(t, callee, "echo", echo)
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

func TestMethodsOfStreamsAreTheirOwn(t *testing.T) {
	so := server.NewEndOptions()
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "local", RPC: echo}, nil)
	p := newPair(t, "tcp", nil, so)
	a, b := openStream(t, p.client, p.server)
	mustRegister(t, b, "stream's", echo)
	mustRegister(t, p.server, "end's", echo)
	mustCall(t, a, "stream's", "")
	mustCall(t, p.client, "end's", "")
	mustCall(t, p.client, "local", "")
	for _, c := range []struct {
		s      geminio.Stream
		method string
	}{{a, "end's"}, {a, "local"}, {p.client, "stream's"}} {
		_, err := call(t, c.s, c.method, "")
		require.EqualError(t, err, "no such rpc: "+c.method)
	}
	require.NoError(t, p.server.Hijack(func(_ context.Context, _ string, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("hijacked"))
	}))
	require.Equal(t, "x", mustCall(t, a, "stream's", "x"))
}

func TestRemoteRPCCheckAndWait(t *testing.T) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetRemoteRPCCheck()
	co.SetWaitRemoteRPCs("one", "two")
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "one", RPC: echo}, &geminio.MethodRPC{Method: "two", RPC: echo})
	p := newPair(t, "tcp", co, so)
	mustCall(t, p.client, "one", "")
	mustCall(t, p.client, "two", "")
	_, err := call(t, p.client, "three", "")
	require.Equal(t, geminio.ErrRemoteRPCUnregistered, err)
	require.EqualError(t, err, "remote rpc unregistered")
	mustRegister(t, p.server, "three", echo)
	mustCall(t, p.client, "three", "")

	a, b := openStream(t, p.client, p.server)
	_, err = call(t, a, "one", "")
	require.Equal(t, geminio.ErrRemoteRPCUnregistered, err)
	mustRegister(t, b, "one", echo)
	mustCall(t, a, "one", "")
}

func TestMismatch(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		mustRegister(t, callee, "echo", echo)
		req := caller.NewRequest(nil)
		req.SetClientID(caller.ClientID() + 1)
		_, err := caller.Call(t.Context(), "echo", req)
		require.EqualError(t, err, "mismatch clientID")
		_, err = caller.CallAsync(t.Context(), "echo", req, nil)
		require.Equal(t, geminio.ErrMismatchClientID, err)
		req.SetClientID(caller.ClientID())
		req.SetStreamID(caller.StreamID() + 1)
		_, err = caller.Call(t.Context(), "echo", req)
		require.EqualError(t, err, "mismatch streamID")
		req.SetStreamID(caller.StreamID())
		_, err = caller.Call(deadline(t), "echo", req)
		require.NoError(t, err)
	})
}

func TestSizes(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		mustRegister(t, callee, "echo", echo)
		for _, n := range []int{0, 1, 5, 100, 4095, 4096, 5000, 8000, 8192, 9000, 64<<10 - 100, 64 << 10, 70_000, 1 << 20, 5 << 20} {
			data := large()[n%7:][:n]
			req := caller.NewRequest(data)
			req.SetCustom(large()[:n/50])
			resp, err := caller.Call(deadline(t), "echo", req)
			require.NoError(t, err, n)
			require.True(t, bytes.Equal(data, resp.Data()), n)
			require.True(t, bytes.Equal(req.Custom(), resp.Custom()), n)
		}
	})
}

func TestTooLargeIsRefusedHere(t *testing.T) {
	const limit = 100_000
	so := server.NewEndOptions()
	so.SetMaxMessageSize(limit)
	p := newPair(t, "tcp", nil, so)
	mustRegister(t, p.server, "echo", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		if len(req.Data()) > limit+1000 {
			t.Error("it was sent all the same")
		}
		echo(ctx, req, resp)
	})
	resp, err := p.client.Call(deadline(t), "echo", p.client.NewRequest(large()[:limit-1000]))
	require.NoError(t, err)
	require.Len(t, resp.Data(), limit-1000)

	check := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, geminio.ErrTooLarge)
		var limited *geminio.LimitError
		require.ErrorAs(t, err, &limited)
		require.NotZero(t, limited.Value)
		require.NotZero(t, limited.Limit)
	}
	_, err = p.client.Call(deadline(t), "echo", p.client.NewRequest(large()[:2*limit]))
	check(err)
	_, err = p.client.CallAsync(deadline(t), "echo", p.client.NewRequest(large()[:2*limit]), nil)
	check(err)
	req := p.client.NewRequest(nil)
	req.SetCustom(large()[:2*limit])
	_, err = p.client.Call(deadline(t), "echo", req)
	check(err)
	check(p.client.Publish(deadline(t), p.client.NewMessage(large()[:2*limit])))
	check(p.client.Publish(deadline(t), onceMessage(p.client, 2*limit)))

	// A response that is too large for the caller is an error to the caller.
	mustRegister(t, p.client, "much", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData(large()[:2*limit])
	})
	_, err = call(t, p.server, "much", "")
	require.ErrorIs(t, err, geminio.ErrTooLarge)

	require.Equal(t, "lives on", mustCall(t, p.client, "echo", "lives on"))
}

// TestMutualRecursion has each side's handler call the other side's.
func TestMutualRecursion(t *testing.T) {
	for _, depth := range []uint64{100, 1000} {
		p := newPair(t, "tcp", nil, nil)
		down := func(s geminio.RPCer) geminio.RPC {
			return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
				n := binary.BigEndian.Uint64(req.Data())
				if n == 0 {
					resp.SetData([]byte("bottom"))
					return
				}
				inner, err := s.Call(ctx, "down", s.NewRequest(binary.BigEndian.AppendUint64(nil, n-1)))
				if err != nil {
					resp.SetError(err)
					return
				}
				resp.SetData(inner.Data())
			}
		}
		mustRegister(t, p.server, "down", down(p.server))
		mustRegister(t, p.client, "down", down(p.client))
		resp, err := p.client.Call(deadline(t), "down", p.client.NewRequest(binary.BigEndian.AppendUint64(nil, depth)))
		require.NoError(t, err)
		require.Equal(t, "bottom", string(resp.Data()))
	}
}

// TestParallelCallers has 64 callers on several streams, both ways, with data of
// all sizes.
func TestParallelCallers(t *testing.T) {
	p := newPair(t, "tcp", nil, nil)
	streams := []geminio.Stream{p.client, p.server}
	for range 3 {
		a, b := openStream(t, p.client, p.server)
		streams = append(streams, a, b)
	}
	for _, s := range streams {
		mustRegister(t, s, "echo", echo)
	}
	var work []func() error
	for i := range 64 {
		s := streams[i%len(streams)]
		work = append(work, func() error {
			for k := range 200 {
				data := large()[i*1000+k:][:(k*k*i)%20_000]
				resp, err := s.Call(context.Background(), "echo", s.NewRequest(data))
				if err != nil {
					return err
				}
				if !bytes.Equal(resp.Data(), data) {
					return errors.New("another answer")
				}
			}
			return nil
		})
	}
	within(t, forever, "all calls", func() { require.NoError(t, all(work...)) })
}

func TestCallsAfterTheEnd(t *testing.T) {
	eachEnd := func(name string, end func(p *pair)) {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, "tcp", nil, nil)
			a, _ := openStream(t, p.client, p.server)
			end(p)
			_, err := p.client.AcceptStream() // returns when the end has come
			require.Equal(t, io.EOF, err)
			for _, s := range []geminio.Stream{p.client, a} {
				_, err := s.Call(t.Context(), "x", s.NewRequest(nil))
				require.Equal(t, io.EOF, err)
				_, err = s.CallAsync(t.Context(), "x", s.NewRequest(nil), nil)
				require.Equal(t, io.EOF, err)
				require.Equal(t, io.EOF, s.Register(t.Context(), "x", echo))
				require.Equal(t, io.EOF, s.Publish(t.Context(), s.NewMessage(nil)))
				_, err = s.PublishAsync(t.Context(), s.NewMessage(nil), nil)
				require.Equal(t, io.EOF, err)
				require.Equal(t, io.EOF, s.Publish(t.Context(), onceMessage(s, 1)))
				_, err = s.Receive(t.Context())
				require.Equal(t, io.EOF, err)
				_, err = s.Read(make([]byte, 1))
				require.Equal(t, io.EOF, err)
			}
			_, err = p.client.OpenStream()
			require.Equal(t, io.EOF, err)
			_, err = p.client.Accept()
			require.Equal(t, io.EOF, err)
			require.Empty(t, p.client.ListStreams())
		})
	}
	eachEnd("here", func(p *pair) { p.client.Close() })
	eachEnd("there", func(p *pair) { p.server.Close() })
	eachEnd("broken", func(p *pair) { p.srvConn.Close() })
}
