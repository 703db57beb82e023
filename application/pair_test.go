package application

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/pkg/id"
)

func connConfig() *conn.Config {
	return &conn.Config{
		Base: &conn.Base{
			Clock: clock.Runtime(), Log: slog.New(slog.DiscardHandler),
			HandshakeTimeout: 10 * time.Second, Heartbeat: time.Hour, Linger: 5 * time.Second,
			Settings: packet.Settings{
				MaxFrame: packet.DefaultMaxFrame, MaxMessage: 1 << 20, MaxStreams: 100,
				Raw: 16 << 10, Messages: 16 << 10, Handlers: 200, Large: 4 << 20,
				MaxMetadata: 64 << 10,
			},
		},
		Admit: func(*conn.Conn, uint64, uint64, <-chan struct{}) (uint64, error) { return 42, nil },
	}
}

func endConfig() *Config {
	return &Config{
		IDs:    packet.NewPacketFactory(id.NewIDCounter(id.Odd)),
		Limits: multiplexer.Limits{Backlog: 10, MaxWindow: 1 << 20, Windows: 16 << 20, SendQueue: 64 << 10},
	}
}

// shake makes Conns of both ends of a pipe.
func shake(t testing.TB, near, far net.Conn) (client, server *conn.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		var err error
		client, err = conn.Client(near, connConfig())
		done <- err
	}()
	server, err := conn.Server(far, connConfig())
	require.NoError(t, err)
	require.NoError(t, <-done)
	return client, server
}

// Start starts an End over c.
func Start(c *conn.Conn, cfg *Config) *End {
	e, err := Prepare(c, cfg)
	if err != nil {
		panic(err)
	}
	e.begin()
	return e
}

// startPair starts two Ends, which exchange no methods.
func startPair(t *testing.T, clientCfg, serverCfg *Config) (client, server *End) {
	t.Helper()
	near, far := net.Pipe()
	c, s := shake(t, near, far)
	return Start(c, clientCfg), Start(s, serverCfg)
}

// withPair runs a test on two Ends in a bubble. A nil configuration stands for that of endConfig.
func withPair(t *testing.T, clientCfg, serverCfg *Config, test func(t *testing.T, client, server *End)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, s := shake(t, near, far)
		if clientCfg == nil {
			clientCfg = endConfig()
		}
		if serverCfg == nil {
			serverCfg = endConfig()
		}
		client, err := New(t.Context(), c, clientCfg)
		require.NoError(t, err)
		server, err := New(t.Context(), s, serverCfg)
		require.NoError(t, err)
		defer func() {
			client.Close()
			server.Close()
		}()
		test(t, client, server)
	})
}

// withPeer runs a test on a client's End whose peer is a program of raw bytes.
func withPeer(t *testing.T, test func(t *testing.T, e *End, peer net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, _ := shake(t, near, far)
		e, err := New(t.Context(), c, endConfig())
		require.NoError(t, err)
		defer func() {
			far.Close()
			e.Close()
		}()
		test(t, e, far)
	})
}

// register registers a method.
func register(t *testing.T, e *End, method string, f geminio.RPC) {
	t.Helper()
	require.NoError(t, e.Register(t.Context(), method, f))
}

// call calls a method without data and returns only the error.
func call(ctx context.Context, e *End, method string) error {
	_, err := e.Call(ctx, method, e.NewRequest(nil))
	return err
}
