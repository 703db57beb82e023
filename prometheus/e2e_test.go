package prometheus

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
)

// system is a server with clients in a bubble.
type system struct {
	network *geminiotest.Network
	c       *Collector
	so      *server.EndOptions
	co      *client.EndOptions
}

// newSystem returns a system whose server and clients have the Stats of one Collector.
func newSystem(t *testing.T) *system {
	s := &system{network: geminiotest.NewNetwork(t), c: NewCollector(nil), so: server.NewEndOptions(), co: client.NewEndOptions()}
	s.so.SetStats(s.c.Stats())
	s.co.SetStats(s.c.Stats())
	s.so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
	return s
}

// echo answers a request with its data.
func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }

// listen starts the server. Its Ends answer messages, and read all streams.
func (s *system) listen(t *testing.T) {
	l, err := server.NewListener(s.network.Listen(), s.so)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return
			}
			go func() {
				for m, err := end.Receive(t.Context()); err == nil; m, err = end.Receive(t.Context()) {
					m.Done()
				}
			}()
			go func() {
				for stream, err := end.AcceptStream(); err == nil; stream, err = end.AcceptStream() {
					go func() {
						io.Copy(io.Discard, stream)
						stream.Close()
					}()
				}
			}()
		}
	}()
}

// dial starts a client that reconnects.
func (s *system) dial(t *testing.T) geminio.End {
	end, err := client.NewRetryEndWithDialer(s.network.Dial, s.co)
	require.NoError(t, err)
	t.Cleanup(func() { end.Close() })
	return end
}

// The metrics follow real Ends: work, a resumed session, a new session, and the end.
func TestLifeOfEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.so.SetResumeKeep(time.Minute)
		s.listen(t)
		r := registered(t, s.c)
		expect := func(want float64, name, labels string) {
			t.Helper()
			synctest.Wait()
			assert.Equal(t, want, value(t, r, name, labels), "%s{%s}", name, labels)
		}
		end := s.dial(t)
		_, err := end.Call(t.Context(), "echo", end.NewRequest(make([]byte, 1000)))
		require.NoError(t, err)
		require.NoError(t, end.Publish(t.Context(), end.NewMessage([]byte("news"))))
		stream, err := end.OpenStream()
		require.NoError(t, err)
		for _, side := range []string{"client", "server"} {
			expect(1, "geminio_connections", "side="+side+",state=connected")
			expect(1, "geminio_connections_begun_total", "side="+side)
		}
		for _, direction := range []string{"outgoing", "incoming"} {
			expect(1, "geminio_open_streams", "direction="+direction)
			expect(1, "geminio_calls_total", "code=ok,direction="+direction+",method=echo")
			expect(0, "geminio_calls_in_flight", "direction="+direction)
			expect(1, "geminio_messages_total", "code=ok,direction="+direction+",topic=other")
			expect(0, "geminio_messages_in_flight", "direction="+direction)
		}
		require.NoError(t, stream.Close())
		expect(0, "geminio_open_streams", "direction=incoming")
		sent := value(t, r, "geminio_sent_bytes_total", "side=client")
		assert.Greater(t, sent, 1000.0)
		expect(sent, "geminio_received_bytes_total", "side=server")
		expect(value(t, r, "geminio_sent_frames_total", "side=server"), "geminio_received_frames_total", "side=client")

		s.network.Cut()
		time.Sleep(30 * time.Second)
		for _, side := range []string{"client", "server"} {
			expect(1, "geminio_resumes_total", "side="+side)
			expect(1, "geminio_connections", "side="+side+",state=connected")
		}

		s.network.SetRefuse(true)
		s.network.Cut()
		time.Sleep(time.Second)
		expect(1, "geminio_connections", "side=server,state=interrupted")
		time.Sleep(5 * time.Minute) // the session is not kept so long
		expect(1, "geminio_connections_ended_total", "code=closed,side=server")
		expect(1, "geminio_connections", "side=client,state=reconnecting")
		before := value(t, r, "geminio_sent_bytes_total", "side=client")
		s.network.SetRefuse(false)
		time.Sleep(5 * time.Minute)
		expect(1, "geminio_connections", "side=client,state=connected")
		expect(2, "geminio_connections_begun_total", "side=client")
		assert.GreaterOrEqual(t, value(t, r, "geminio_sent_bytes_total", "side=client"), before)
		require.NoError(t, end.Close())
		time.Sleep(time.Minute)
		for state := range states {
			expect(0, "geminio_connections", fmt.Sprint("side=client,state=", geminio.EndState(state)))
			expect(0, "geminio_connections", fmt.Sprint("side=server,state=", geminio.EndState(state)))
		}
		assert.Empty(t, s.c.ends.known)
		assert.GreaterOrEqual(t, value(t, r, "geminio_sent_bytes_total", "side=client"), before)
	})
}

// A client that calls and publishes under ever new names adds no metrics, also if the server serves
// any method.
func TestHostileClient(t *testing.T) {
	for _, hijacks := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSystem(t)
			s.co = client.NewEndOptions() // without Stats
			if hijacks {
				s.so.SetHijack(func(_ context.Context, _ string, req geminio.Request, resp geminio.Response) {
					resp.SetData(req.Data())
				})
			}
			s.listen(t)
			end := s.dial(t)
			r := registered(t, s.c)
			attack := func(from, n int) {
				for i := from; i < from+n; i++ {
					end.Call(t.Context(), fmt.Sprintf("\xff%d", i), end.NewRequest(nil))
					m := end.NewMessage(nil)
					m.SetTopic(fmt.Sprintf("\xff%d", i))
					require.NoError(t, end.Publish(t.Context(), m))
				}
				_, err := end.Call(t.Context(), "echo", end.NewRequest(nil))
				require.NoError(t, err)
				synctest.Wait()
			}
			count := func() (n int) {
				for _, f := range gathered(t, r) {
					n += len(f.GetMetric())
				}
				return n
			}
			attack(0, 1)
			before := count()
			attack(1, 3*maxNames)
			assert.Equal(t, before, count(), "hijack: %v", hijacks)
			assert.EqualValues(t, 2, value(t, r, "geminio_call_duration_seconds", "direction=incoming,method=echo"))
			scrape(t, r, "text/plain")
		})
	}
}

// A failed handshake is counted with its reason.
func TestHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.so.SetHandshakeTimeout(time.Second)
		s.so.SetPrepareFunc(func(geminio.End) error { return codedError{} })
		s.listen(t)
		r := registered(t, s.c)
		nc, err := s.network.Dial()
		require.NoError(t, err)
		defer nc.Close()
		time.Sleep(time.Minute)
		assert.EqualValues(t, 1, value(t, r, "geminio_handshake_failures_total", "code=deadline,side=server"), "a silent client")
		_, err = client.NewEndWithDialer(s.network.Dial, s.co)
		require.Error(t, err)
		synctest.Wait()
		for _, side := range []string{"client", "server"} {
			assert.EqualValues(t, 1, value(t, r, "geminio_handshake_failures_total", "code=application,side="+side), "a refused client")
		}
		s.network.SetRefuse(true)
		_, err = client.NewEndWithDialer(s.network.Dial, s.co)
		require.Error(t, err)
	})
}

// codedError is an error with a code of an application.
type codedError struct{}

func (codedError) Error() string      { return "not today" }
func (codedError) Code() geminio.Code { return 4711 }
