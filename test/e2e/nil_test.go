package e2e

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/pkg/id"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// A nil argument is an error that names it, and changes nothing.
func TestNilArguments(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	stream, _ := rig.OpenStream(t, p.Client, p.Server)
	l := listen(t)
	defer l.Close()
	retry, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return kit.Dial(l.Addr().String()) })
	require.NoError(t, err)
	defer retry.Close()
	var none context.Context
	ctx := t.Context()

	for name, s := range map[string]geminio.Stream{"server": p.Server, "client": p.Client, "stream": stream, "retry": retry} {
		t.Run(name, func(t *testing.T) {
			req, msg := s.NewRequest(nil, nil), s.NewMessage(nil, nil)
			for _, c := range []struct {
				want string
				call func() error
			}{
				{"call: the context is nil", func() error { _, err := s.Call(none, "m", req); return err }},
				{"call: the context is nil", func() error { _, err := s.Call(none, "m", nil); return err }},
				{"call: the request is nil", func() error { _, err := s.Call(ctx, "m", nil); return err }},
				{"call async: the context is nil", func() error { _, err := s.CallAsync(none, "m", req, nil); return err }},
				{"call async: the request is nil", func() error { _, err := s.CallAsync(ctx, "m", nil, nil); return err }},
				{"register: the context is nil", func() error { return s.Register(none, "m", rig.Echo) }},
				{"register: the rpc is nil", func() error { return s.Register(ctx, "m", nil) }},
				{"publish: the context is nil", func() error { return s.Publish(none, msg) }},
				{"publish: the message is nil", func() error { return s.Publish(ctx, nil) }},
				{"publish async: the context is nil", func() error { _, err := s.PublishAsync(none, msg, nil); return err }},
				{"publish async: the message is nil", func() error { _, err := s.PublishAsync(ctx, nil, nil); return err }},
				{"receive: the context is nil", func() error { _, err := s.Receive(none); return err }},
			} {
				assert.NotPanics(t, func() { assert.EqualError(t, c.call(), c.want) }, c.want)
			}
			if w, ok := s.(io.WriterTo); ok {
				_, err := w.WriteTo(nil)
				assert.EqualError(t, err, "write to: the writer is nil")
				_, err = s.(io.ReaderFrom).ReadFrom(nil)
				assert.EqualError(t, err, "read from: the reader is nil")
			}
			if e, ok := s.(shutdowner); ok {
				assert.EqualError(t, e.Shutdown(none), "shutdown: the context is nil")
			}
		})
	}
	assert.EqualError(t, l.(shutdowner).Shutdown(none), "shutdown: the context is nil")

	for name, s := range map[string]geminio.End{"server": p.Server, "client": p.Client, "retry": retry} {
		opened, err := s.OpenStream(nil, nil)
		require.NoError(t, err, name)
		require.NoError(t, opened.Close())
	}
	mustRegister(t, p.Server, "echo", rig.Echo)
	require.NoError(t, p.Server.Hijack(func(_ context.Context, _ string, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("hijacked"))
	}, nil))
	require.Equal(t, "hijacked", mustCall(t, p.Client, "echo", "x"))
	require.NoError(t, p.Server.Hijack(nil, nil))
	require.Equal(t, "x", mustCall(t, p.Client, "echo", "x"), "the hijacking has ended")
}

// shutdowner is implemented by Ends and listeners.
type shutdowner interface{ Shutdown(context.Context) error }

// A nil argument of a constructor is an error that names it.
func TestNilArgumentsOfConstructors(t *testing.T) {
	noRPC := &geminio.MethodRPC{Method: "m"}
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetRegisterLocalRPCs(nil, noRPC)
	so.SetRegisterLocalRPCs(nil, noRPC)
	dialer := func() (net.Conn, error) { return nil, nil }
	var tcp *net.TCPConn
	var tcpListener *net.TCPListener
	for name, c := range map[string]struct {
		make func() error
		text string
	}{
		"client, dialer":        {func() error { _, err := client.NewEndWithDialer(nil); return err }, "the dialer is nil"},
		"client, retry, dialer": {func() error { _, err := client.NewRetryEndWithDialer(nil); return err }, "the dialer is nil"},
		"client, conn":          {func() error { _, err := client.NewEndWithConn(nil); return err }, "the net.Conn is nil"},
		"client, tcp conn":      {func() error { _, err := client.NewEndWithConn(tcp); return err }, "the net.Conn is nil"},
		"client, dialled":       {func() error { _, err := client.NewEndWithDialer(dialer); return err }, "the net.Conn is nil"},
		"client, retry":         {func() error { _, err := client.NewRetryEndWithDialer(dialer); return err }, "the net.Conn is nil"},
		"server, conn":          {func() error { _, err := server.NewEndWithConn(nil); return err }, "the net.Conn is nil"},
		"server, tcp conn":      {func() error { _, err := server.NewEndWithConn(tcp); return err }, "the net.Conn is nil"},
		"listener":              {func() error { _, err := server.NewListener(nil); return err }, "the net.Listener is nil"},
		"tcp listener":          {func() error { _, err := server.NewListener(tcpListener); return err }, "the net.Listener is nil"},
		"client, rpc":           {func() error { _, err := client.NewEndWithConn(nil, co); return err }, `the RPC of method "m" in LocalMethods is nil`},
		"client, retry, rpc":    {func() error { _, err := client.NewRetryEndWithDialer(dialer, co); return err }, `the RPC of method "m" in LocalMethods is nil`},
		"server, rpc":           {func() error { _, err := server.NewEndWithConn(nil, so); return err }, `the RPC of method "m" in LocalMethods is nil`},
		"listener, rpc":         {func() error { _, err := server.Listen("tcp", "127.0.0.1:0", so); return err }, `the RPC of method "m" in LocalMethods is nil`},
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotPanics(t, func() { assert.ErrorContains(t, c.make(), c.text) })
		})
	}
}

// An option that may be nil has the same effect as an option that is not set.
func TestNilOptions(t *testing.T) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetTimer(nil)
	co.SetPacketFactory(nil)
	co.SetLog(nil)
	co.SetLogger(nil)
	co.SetDelegate(nil)
	co.SetMeta(nil)
	co.SetRegisterLocalRPCs(nil)
	co.SetWaitRemoteRPCs()
	so.SetTimer(nil)
	so.SetPacketFactory(nil)
	so.SetLog(nil)
	so.SetLogger(nil)
	so.SetDelegate(nil)
	so.SetAcceptStreamFunc(nil)
	so.SetClosedStreamFunc(nil)
	so.SetRegisterLocalRPCs(nil)
	l := listen(t, nil, so, nil)
	defer l.Close()
	dialer := func() (net.Conn, error) { return kit.Dial(l.Addr().String()) }
	ro := client.NewEndOptions()
	ro.SetRetryFailedFunc(nil)
	var none context.Context
	ro.SetRetryFirst(none)
	for name, make := range map[string]func() (geminio.End, error){
		"plain": func() (geminio.End, error) { return client.NewEndWithDialer(dialer, nil, co, nil) },
		"retry": func() (geminio.End, error) { return client.NewRetryEndWithDialer(dialer, co, ro, nil) },
	} {
		end, err := make()
		require.NoError(t, err, name)
		far, err := l.AcceptEnd()
		require.NoError(t, err)
		mustRegister(t, far, "echo", rig.Echo)
		mustCall(t, end, "echo", "x")
		require.NoError(t, end.Close())
		require.NoError(t, far.Close())
	}
	assert.NotZero(t, packet.NewPacketFactory(nil).NewPacketID())
	assert.NotZero(t, (&id.IDCounter{}).GetID())
}
