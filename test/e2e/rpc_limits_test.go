package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

func TestMethodsOfStreamsAreTheirOwn(t *testing.T) {
	so := server.NewEndOptions()
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "local", RPC: rig.Echo}, nil)
	p := rig.NewPair(t, "tcp", nil, so)
	a, b := rig.OpenStream(t, p.Client, p.Server)
	mustRegister(t, b, "stream's", rig.Echo)
	mustRegister(t, p.Server, "end's", rig.Echo)
	mustCall(t, a, "stream's", "")
	mustCall(t, p.Client, "end's", "")
	mustCall(t, p.Client, "local", "")
	for _, c := range []struct {
		s      geminio.Stream
		method string
	}{{a, "end's"}, {a, "local"}, {p.Client, "stream's"}} {
		_, err := call(t, c.s, c.method, "")
		require.EqualError(t, err, "no such rpc: "+c.method)
	}
	require.NoError(t, p.Server.Hijack(func(_ context.Context, _ string, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("hijacked"))
	}))
	require.Equal(t, "x", mustCall(t, a, "stream's", "x"))
}

func TestRemoteRPCCheckAndWait(t *testing.T) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetRemoteRPCCheck()
	co.SetWaitRemoteRPCs("one", "two")
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "one", RPC: rig.Echo}, &geminio.MethodRPC{Method: "two", RPC: rig.Echo})
	p := rig.NewPair(t, "tcp", co, so)
	mustCall(t, p.Client, "one", "")
	mustCall(t, p.Client, "two", "")
	_, err := call(t, p.Client, "three", "")
	require.Equal(t, geminio.ErrRemoteRPCUnregistered, err)
	require.EqualError(t, err, "remote rpc unregistered")
	mustRegister(t, p.Server, "three", rig.Echo)
	mustCall(t, p.Client, "three", "")

	a, b := rig.OpenStream(t, p.Client, p.Server)
	_, err = call(t, a, "one", "")
	require.Equal(t, geminio.ErrRemoteRPCUnregistered, err)
	mustRegister(t, b, "one", rig.Echo)
	mustCall(t, a, "one", "")
}

func TestMismatch(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		mustRegister(t, callee, "echo", rig.Echo)
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
		_, err = caller.Call(kit.Deadline(t), "echo", req)
		require.NoError(t, err)
	})
}

func TestSizes(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		mustRegister(t, callee, "echo", rig.Echo)
		for _, n := range []int{0, 1, 5, 100, 4095, 4096, 5000, 8000, 8192, 9000, 64<<10 - 100, 64 << 10, 70_000, kit.Amount("tcp", 1<<20), kit.Amount("tcp", 5<<20)} {
			data := large()[n%7:][:n]
			req := caller.NewRequest(data)
			req.SetCustom(large()[:n/50])
			resp, err := caller.Call(kit.Deadline(t), "echo", req)
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
	p := rig.NewPair(t, "tcp", nil, so)
	mustRegister(t, p.Server, "echo", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		if len(req.Data()) > limit+1000 {
			t.Error("the call was sent, though its message is above the limit")
		}
		rig.Echo(ctx, req, resp)
	})
	resp, err := p.Client.Call(kit.Deadline(t), "echo", p.Client.NewRequest(large()[:limit-1000]))
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
	_, err = p.Client.Call(kit.Deadline(t), "echo", p.Client.NewRequest(large()[:2*limit]))
	check(err)
	_, err = p.Client.CallAsync(kit.Deadline(t), "echo", p.Client.NewRequest(large()[:2*limit]), nil)
	check(err)
	req := p.Client.NewRequest(nil)
	req.SetCustom(large()[:2*limit])
	_, err = p.Client.Call(kit.Deadline(t), "echo", req)
	check(err)
	check(p.Client.Publish(kit.Deadline(t), p.Client.NewMessage(large()[:2*limit])))
	check(p.Client.Publish(kit.Deadline(t), onceMessage(p.Client, 2*limit)))

	// A response above the limit of the caller is an error of the call.
	mustRegister(t, p.Client, "much", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData(large()[:2*limit])
	})
	_, err = call(t, p.Server, "much", "")
	require.ErrorIs(t, err, geminio.ErrTooLarge)

	require.Equal(t, "lives on", mustCall(t, p.Client, "echo", "lives on"))
}

// TestMutualRecursion has the handler of each side call that of the other side.
func TestMutualRecursion(t *testing.T) {
	for _, depth := range []uint64{100, 1000} {
		p := rig.NewPair(t, "tcp", nil, nil)
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
		mustRegister(t, p.Server, "down", down(p.Server))
		mustRegister(t, p.Client, "down", down(p.Client))
		resp, err := p.Client.Call(kit.Deadline(t), "down", p.Client.NewRequest(binary.BigEndian.AppendUint64(nil, depth)))
		require.NoError(t, err)
		require.Equal(t, "bottom", string(resp.Data()))
	}
}

// TestParallelCallers has 64 callers on several streams, in both directions, with data of
// many sizes.
func TestParallelCallers(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	streams := []geminio.Stream{p.Client, p.Server}
	for range 3 {
		a, b := rig.OpenStream(t, p.Client, p.Server)
		streams = append(streams, a, b)
	}
	for _, s := range streams {
		mustRegister(t, s, "echo", rig.Echo)
	}
	calls := kit.Amount("tcp", 200)
	var work []func() error
	for i := range 64 {
		s := streams[i%len(streams)]
		work = append(work, func() error {
			for k := range calls {
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
	kit.Within(t, kit.Forever, "all calls", func() { require.NoError(t, all(work...)) })
}

func TestCallsAfterTheEnd(t *testing.T) {
	eachEnd := func(name string, end func(p *rig.Pair)) {
		t.Run(name, func(t *testing.T) {
			p := rig.NewPair(t, "tcp", nil, nil)
			a, _ := rig.OpenStream(t, p.Client, p.Server)
			end(p)
			_, err := p.Client.AcceptStream() // returns when the connection has ended
			require.Equal(t, io.EOF, err)
			for _, s := range []geminio.Stream{p.Client, a} {
				_, err := s.Call(t.Context(), "x", s.NewRequest(nil))
				require.Equal(t, io.EOF, err)
				_, err = s.CallAsync(t.Context(), "x", s.NewRequest(nil), nil)
				require.Equal(t, io.EOF, err)
				require.Equal(t, io.EOF, s.Register(t.Context(), "x", rig.Echo))
				require.Equal(t, io.EOF, s.Publish(t.Context(), s.NewMessage(nil)))
				_, err = s.PublishAsync(t.Context(), s.NewMessage(nil), nil)
				require.Equal(t, io.EOF, err)
				require.Equal(t, io.EOF, s.Publish(t.Context(), onceMessage(s, 1)))
				_, err = s.Receive(t.Context())
				require.Equal(t, io.EOF, err)
				_, err = s.Read(make([]byte, 1))
				if name == "broken" {
					require.ErrorIs(t, err, geminio.ErrConnectionLost)
				} else {
					require.Equal(t, io.EOF, err)
				}
			}
			_, err = p.Client.OpenStream()
			require.Equal(t, io.EOF, err)
			_, err = p.Client.Accept()
			require.Equal(t, io.EOF, err)
			require.Empty(t, p.Client.ListStreams())
		})
	}
	eachEnd("here", func(p *rig.Pair) { p.Client.Close() })
	eachEnd("there", func(p *rig.Pair) { p.Server.Close() })
	eachEnd("broken", func(p *rig.Pair) { p.ServerConn.Close() })
}
