package application

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// openPair opens a stream and returns both sides of it.
func openPair(t *testing.T, client, server *End) (near, far *Stream) {
	t.Helper()
	s, err := client.OpenStream()
	require.NoError(t, err)
	peer, err := server.AcceptStream()
	require.NoError(t, err)
	return s.(*Stream), peer.(*Stream)
}

// requestBody returns the body of a request.
func requestBody(method string) []byte {
	m := packet.Request{ID: 1, Method: []byte(method)}
	return m.Append(nil)
}

// A request that arrives after the end of its stream or End starts no handler, since
// nothing would end the context of the handler.
func TestNoHandlerStartsAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(server *End, far *Stream){
		"stream closed": func(_ *End, far *Stream) { far.Close() },
		"stream reset":  func(_ *End, far *Stream) { far.Reset(geminio.FirstApplicationCode, "test") },
		"End closed":    func(server *End, _ *Stream) { server.Close() },
		"End cut":       func(server *End, _ *Stream) { server.c.Close(io.ErrUnexpectedEOF, packet.Reason{}) },
	} {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				_, far := openPair(t, client, server)
				var started atomic.Int64
				require.NoError(t, far.Hijack(func(ctx context.Context, _ string, _ geminio.Request, _ geminio.Response) {
					started.Add(1)
					<-ctx.Done()
				}))
				end(server, far)
				// The reading goroutine has taken the request off the connection before the
				// end and hands it over now.
				h := (*handler)(server)
				received(far, packet.TypeRequest, len(requestBody("m")))
				require.NoError(t, h.Packet(far.d, packet.TypeRequest, 1, requestBody("m"), false))
				synctest.Wait()
				assert.Zero(t, started.Load(), "handlers that started")
				assert.Zero(t, server.serving.n.Load(), "requests that are being served")
			})
		})
	}
}

// The credit of a request that arrives after the end of its stream goes back to the
// peer.
func TestRequestAfterTheEndGivesItsCreditBack(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		near, far := openPair(t, client, server)
		register(t, server, "m", func(context.Context, geminio.Request, geminio.Response) {})
		for range 10 * int(connConfig().Settings.Handlers) {
			go near.Call(t.Context(), "m", near.NewRequest(nil))
			go far.Close()
			synctest.Wait()
			near.Close()
			synctest.Wait()
			require.NoError(t, call(t.Context(), client, "m"))
			near, far = openPair(t, client, server)
		}
	})
}

// The contexts of all handlers end with their End, whenever their requests arrive.
func TestHandlersEndWithTheirEnd(t *testing.T) {
	const (
		ends  = 10_000 / kit.Slowdown
		calls = 20
	)
	var running atomic.Int64
	for range ends / 8 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				near, far := net.Pipe()
				c, s := shake(t, near, far)
				client, server := Start(c, endConfig()), Start(s, endConfig())
				server.Hijack(func(ctx context.Context, _ string, _ geminio.Request, _ geminio.Response) {
					running.Add(1)
					<-ctx.Done()
					running.Add(-1)
				})
				for range calls {
					client.startCall(t.Context(), "m", client.NewRequest(nil), 0, func(geminio.Response, error) {})
				}
				(*Control)(server).CloseWith(io.EOF, packet.Reason{})
				<-server.Done()
				(*Control)(client).CloseWith(io.EOF, packet.Reason{})
				<-server.c.Done()
				<-client.c.Done()
			})
		}
		all.Wait()
	}
	for limit := time.Now().Add(10 * time.Second); running.Load() > 0 && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
	assert.Zero(t, running.Load(), "handlers whose context did not end")
}

// The time to end a stream does not depend on the operations of other streams.
func TestEndOfAStreamDoesNotWalkTheOthers(t *testing.T) {
	const (
		others = 100_000 / kit.Slowdown
		slower = 50 // times; some 1000 if the others were walked
	)
	for name, ends := range map[string]func(others int) time.Duration{
		"handlers": func(others int) time.Duration {
			var table servingTable
			call := uint64(0)
			return timeEnds(others, table.endStream, func(s *Stream) {
				call++
				table.add(s, &serving{s: s, seq: call})
			})
		},
		"operations": func(others int) time.Duration {
			var table pendingTable
			return timeEnds(others, func(s *Stream) { table.endStream(s, io.EOF) }, func(s *Stream) {
				table.begin(s, &operation{typ: packet.TypeRequest}, time.Time{}, func(*pending) {})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			idle, busy := ends(1), ends(others)
			for range 4 { // the machine may be busy with something else
				idle, busy = min(idle, ends(1)), min(busy, ends(others))
			}
			t.Logf("%v beside nothing, %v beside %d", idle, busy, others)
			require.Less(t, busy, slower*idle)
		})
	}
}

// timeEnds begins an operation on each of 1000 streams, and others on another stream, and
// returns how long it takes to end the 1000 streams.
func timeEnds(others int, end, begin func(*Stream)) time.Duration {
	other, streams := &Stream{}, make([]*Stream, 1000)
	for range others {
		begin(other)
	}
	for i := range streams {
		streams[i] = &Stream{}
		begin(streams[i])
	}
	start := time.Now()
	for _, s := range streams {
		end(s)
	}
	return time.Since(start)
}

// A handler that ignores the end of its context keeps only its own request in memory after
// the end of its End.
func TestHungHandlerKeepsOnlyItsRequest(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	var kept [2]weak.Pointer[serving] // by the handlers of the End and of the stream
	var gone struct {
		end    weak.Pointer[End]
		conn   weak.Pointer[conn.Conn]
		mux    weak.Pointer[multiplexer.Mux]
		stream weak.Pointer[Stream]
	}
	func() { // whose variables are gone then
		near, far := net.Pipe()
		c, s := shake(t, near, far)
		client, server := Start(c, endConfig()), Start(s, endConfig())
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		started := make(chan struct{}, 2)
		hung := func(ctx context.Context, _ string, req geminio.Request, _ geminio.Response) {
			derived, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			started <- struct{}{}
			<-hang
			runtime.KeepAlive(derived)
			runtime.KeepAlive(req)
		}
		server.Hijack(hung)
		_, stream := openPair(t, client, server)
		stream.Hijack(hung)
		for _, s := range client.ListStreams() {
			_, err := s.CallAsync(ctx, "m", s.NewRequest(make([]byte, 100)), nil)
			require.NoError(t, err)
			<-started
		}
		for v := range server.serving.all.all {
			kept[min(v.req.streamID-1, 1)] = weak.Make(v)
		}
		gone.end, gone.conn, gone.mux = weak.Make(server), weak.Make(s), weak.Make(server.mux)
		gone.stream = weak.Make(stream)
		client.Close()
		<-server.Done()
		<-s.Done()
	}()
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		runtime.GC()
		if gone.end.Value() == nil && gone.conn.Value() == nil && gone.mux.Value() == nil && gone.stream.Value() == nil {
			break
		}
	}
	assert.True(t, gone.end.Value() == nil, "the handlers keep the End")
	assert.True(t, gone.conn.Value() == nil, "the handlers keep the connection")
	assert.True(t, gone.mux.Value() == nil, "the handlers keep the Mux")
	assert.True(t, gone.stream.Value() == nil, "the handler keeps the stream")
	for _, v := range kept {
		v := v.Value()
		require.True(t, v != nil, "the handler has its request")
		assert.Len(t, v.req.data, 100)
		assert.Equal(t, context.Canceled, v.ctx.Err())
	}
}

// A handler that runs on after the end of its stream does not keep the stream in memory.
// It counts among the handlers until it returns.
func TestHungHandlerDoesNotKeepItsStream(t *testing.T) {
	hang, done := make(chan struct{}), make(chan struct{})
	near, far := net.Pipe()
	c, s := shake(t, near, far)
	client, server := Start(c, endConfig()), Start(s, endConfig())
	defer server.Close()
	defer client.Close()
	var gone weak.Pointer[multiplexer.Dialogue]
	func() {
		started := make(chan struct{})
		near, far := openPair(t, client, server)
		far.Hijack(func(context.Context, string, geminio.Request, geminio.Response) {
			close(started)
			<-hang
			close(done)
		})
		_, err := near.CallAsync(t.Context(), "m", near.NewRequest(nil), nil)
		require.NoError(t, err)
		<-started
		gone = weak.Make(far.d)
		near.Close()
	}()
	for limit := time.Now().Add(10 * time.Second); gone.Value() != nil && time.Now().Before(limit); time.Sleep(time.Millisecond) {
		runtime.GC()
	}
	assert.True(t, gone.Value() == nil, "the handler keeps the stream")
	assert.EqualValues(t, 1, server.serving.n.Load())
	close(hang)
	<-done
	for limit := time.Now().Add(10 * time.Second); server.serving.n.Load() > 0 && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
	assert.Zero(t, server.serving.n.Load())
}
