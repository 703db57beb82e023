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
