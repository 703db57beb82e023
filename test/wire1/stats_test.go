package wire1

import (
	"context"
	"errors"
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
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

// failedHandshakes collects the events of handshakes that have failed.
func failedHandshakes() (geminio.Stats, <-chan geminio.HandshakeEvent) {
	events := make(chan geminio.HandshakeEvent, 10)
	return geminio.Stats{HandshakeFailed: func(e geminio.HandshakeEvent) { events <- e }}, events
}

// A server reports the clients of wire 1 that AcceptEnd does not return.
func TestClientsThatAreNotReturnedAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*server.EndOptions)
		send   func(nc net.Conn) // nil: the handshake of a client of wire 1
		want   geminio.Code
		is     error
	}{
		"wire 1 is not served": {change: (*server.EndOptions).SetRefuseWireV1, want: geminio.CodeVersion, is: geminio.ErrVersion},
		"the delegate refuses": {
			change: func(o *server.EndOptions) { o.SetDelegate(refusingDelegate{}) },
			want:   geminio.CodeApplication,
		},
		"the preparing function refuses": {
			change: func(o *server.EndOptions) { o.SetPrepareFunc(func(geminio.End) error { return coded{} }) },
			want:   geminio.FirstApplicationCode, is: coded{},
		},
		"a short conn": {
			send: func(nc net.Conn) { nc.Write([]byte("\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02{}")) },
			want: geminio.CodeProtocol, is: geminio.ErrProtocol,
		},
		"a heartbeat first": {
			send: func(nc net.Conn) { nc.Write(wire1.Append(nil, wire1.Packet{Type: wire1.TypeHeartbeat, ID: 5})) },
			want: geminio.CodeProtocol, is: geminio.ErrProtocol,
		},
		"a client that sends nothing": {
			send: func(nc net.Conn) { nc.Read(make([]byte, 1)) },
			want: geminio.CodeDeadline, is: geminio.ErrHandshakeTimeout,
		},
		"a client that leaves": {
			send: func(nc net.Conn) { nc.Write([]byte{1, 1, 0}); nc.Close() },
			want: geminio.CodeClosed, is: io.ErrUnexpectedEOF,
		},
		"a client that does not take note of a method": {
			change: func(o *server.EndOptions) {
				o.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: handler})
			},
			send: func(nc net.Conn) {
				nc.Write(wire1.Append(nil, wire1.Packet{Type: wire1.TypeConn, ID: 5, Flags: 0x18}))
				oldpeer.Read(nc)
				oldpeer.Read(nc) // Register
				nc.Close()
			},
			want: geminio.CodeClosed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stats, events := failedHandshakes()
				opt := server.NewEndOptions()
				opt.SetStats(stats)
				if c.change != nil {
					c.change(opt)
				}
				pipes := kit.NewPipeListener()
				l, err := server.NewListener(pipes, opt)
				require.NoError(t, err)
				defer l.Close()
				nc, err := pipes.Dial()
				require.NoError(t, err)
				defer nc.Close()
				sent := kit.Start(func() error {
					if c.send != nil {
						c.send(nc)
						return nil
					}
					_, err := oldpeer.Dial(nc, oldpeer.Config{})
					assert.Error(t, err)
					return nil
				})
				e := <-events
				<-sent
				assert.Equal(t, geminio.RecipientSide, e.Side)
				assert.Equal(t, c.want, e.Code, "%v", e.Err)
				assert.NotNil(t, e.RemoteAddr)
				if c.is != nil {
					assert.ErrorIs(t, e.Err, c.is)
				}
				synctest.Wait()
				assert.Empty(t, events, "a second event")
			})
		})
	}
}

// A client reports servers of wire 1 with which there is no connection.
func TestServersThatRefuseAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		at     func(*places) (net.Conn, error)
		refuse bool
		want   geminio.Code
	}{
		"wire 1 is not served": {at: (*places).old, refuse: true, want: geminio.CodeVersion},
		"the server refuses":   {at: (*places).oldThatRefuses, want: geminio.CodeApplication},
		"the server hangs":     {at: (*places).oldThatHangs, want: geminio.CodeDeadline},
		"the server breaks":    {at: (*places).oldThatBreaks, want: geminio.CodeClosed},
		"another protocol":     {at: (*places).another, want: geminio.CodeProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &places{t: t}
				defer p.wg.Wait()
				stats, events := failedHandshakes()
				opt := client.NewEndOptions()
				opt.SetStats(stats)
				if c.refuse {
					opt.SetRefuseWireV1()
				}
				nc, err := c.at(p)
				require.NoError(t, err)
				_, err = client.NewEndWithConn(nc, opt)
				require.Error(t, err)
				e := <-events
				assert.Equal(t, geminio.InitiatorSide, e.Side)
				assert.Equal(t, c.want, e.Code, "%v", e.Err)
				synctest.Wait()
				assert.Empty(t, events, "a second event")
			})
		})
	}
}

// balance counts what has begun and not ended.
type balance struct {
	mu    sync.Mutex
	open  map[string]int
	begun map[string]int
}

func (b *balance) add(what string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[what] += n
	if n > 0 {
		b.begun[what]++
	}
}

func (b *balance) stats() geminio.Stats {
	return geminio.Stats{
		ConnBegin:    func(geminio.ConnEvent) { b.add("connections", 1) },
		ConnEnd:      func(geminio.ConnEvent) { b.add("connections", -1) },
		StreamBegin:  func(e geminio.StreamEvent) { b.add(e.Direction.String()+" streams", 1) },
		StreamEnd:    func(e geminio.StreamEvent) { b.add(e.Direction.String()+" streams", -1) },
		CallBegin:    func(e geminio.CallEvent) { b.add(e.Direction.String()+" calls", 1) },
		CallEnd:      func(e geminio.CallEvent) { b.add(e.Direction.String()+" calls", -1) },
		MessageBegin: func(e geminio.MessageEvent) { b.add(e.Direction.String()+" messages", 1) },
		MessageEnd:   func(e geminio.MessageEvent) { b.add(e.Direction.String()+" messages", -1) },
	}
}

// The events and the snapshot of an End are those of its work, whatever the wire of the peer.
func TestStats(t *testing.T) {
	var b *balance
	set := func(c *config) {
		echoing(c)
		b = &balance{open: make(map[string]int), begun: make(map[string]int)}
		c.client.SetStats(b.stats())
		c.serve.SetStats(b.stats())
	}
	eachRole(t, set, func(t *testing.T, s *setup) {
		require.NoError(t, s.end.Register(t.Context(), "m", handler))
		_, err := s.end.Call(t.Context(), "echo", s.end.NewRequest(nil))
		require.NoError(t, err)
		_, err = s.end.Call(t.Context(), "fail", s.end.NewRequest(nil))
		require.Error(t, err)
		_, err = s.peer.Call(t.Context(), "m", nil)
		require.NoError(t, err)
		require.NoError(t, s.end.Publish(t.Context(), s.end.NewMessage(nil)))
		published := kit.Start(func() error { return s.peer.Publish(t.Context(), "t", nil) })
		m, err := s.end.Receive(t.Context())
		require.NoError(t, err)
		m.Error(errors.New("no"))
		<-published
		stream, err := s.end.OpenStream()
		require.NoError(t, err)
		require.NoError(t, stream.Close())
		_, err = s.peer.Open(t.Context(), "", nil)
		require.NoError(t, err)
		s.accept()
		hung := kit.Start(func() error {
			_, err := s.end.Call(context.Background(), "wait", s.end.NewRequest(nil))
			return err
		})
		time.Sleep(time.Second)
		snapshot, ok := geminio.SnapshotOf(s.end)
		require.True(t, ok)
		assert.Equal(t, 1, snapshot.Wire)
		assert.Equal(t, geminio.EndConnected, snapshot.State)
		assert.NotZero(t, snapshot.Received.Bytes)
		assert.EqualValues(t, 1, snapshot.OutgoingCalls.InFlight)
		assert.Zero(t, snapshot.RoundTrip)
		_, err = geminio.Ping(t.Context(), s.end)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		calls := geminio.CallsOf(s.end, 10)
		if assert.Len(t, calls, 1) {
			assert.Equal(t, "wait", calls[0].Method)
		}
		s.peer.Cut()
		require.ErrorIs(t, <-hung, geminio.ErrMaybeExecuted)
		s.end.Close()
		time.Sleep(time.Minute)
		b.mu.Lock()
		defer b.mu.Unlock()
		want := map[string]int{
			"connections": 1, "outgoing streams": 1, "incoming streams": 1, "outgoing calls": 3, "incoming calls": 1,
			"outgoing messages": 1, "incoming messages": 1,
		}
		assert.Equal(t, want, b.begun)
		for what, n := range b.open {
			assert.Zero(t, n, "%s that have begun and not ended", what)
		}
	})
}
