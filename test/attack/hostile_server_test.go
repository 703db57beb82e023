package attack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// hostileServer is a server of one connection. It sends arbitrary frames.
type hostileServer struct {
	t  *testing.T
	nc net.Conn
}

// welcome completes the handshake with a client, sends begin, and sends the result of react
// for each frame of the client. It returns after the client has closed the connection.
func (s *hostileServer) welcome(begin []byte, react func(h packet.Header, payload []byte) []byte) {
	defer s.nc.Close()
	hello, err := kit.ReadConn(s.nc)
	if s.ended(err) {
		return
	}
	own := offer()
	ack, err := packet.AppendConnAck(nil, packet.ConnAck{PacketID: hello.PacketID, ClientID: 7, Settings: &own})
	require.NoError(s.t, err)
	if _, err := s.nc.Write(ack); err != nil {
		return
	}
	out := make(chan []byte, 100_000)
	defer close(out)
	go func() { // a pipe has no buffer, so reading must not wait for Write
		for b := range out {
			s.nc.Write(b)
		}
	}()
	go func() { // pings keep the connection alive
		for time.Sleep(time.Second); ; time.Sleep(time.Second) {
			if _, err := s.nc.Write(packet.AppendPing(nil, packet.TypePing, 1)); err != nil {
				return
			}
		}
	}()
	out <- begin
	for {
		h, payload, err := kit.ReadFrame(s.nc, own.MaxFrame)
		if s.ended(err) {
			return
		}
		if h.Type == packet.TypePing {
			v, err := packet.ParsePing(h.Type, payload)
			require.NoError(s.t, err)
			out <- packet.AppendPing(nil, packet.TypePong, v)
		}
		if answer := react(h, payload); answer != nil {
			out <- answer
		}
	}
}

// ended reports whether reading has failed. A malformed packet of the client fails the test.
func (s *hostileServer) ended(err error) bool {
	var malformed *packet.Error
	require.False(s.t, errors.As(err, &malformed), "the client sent a malformed packet: %v", err)
	return err != nil
}

// besideAHostile runs a test with a RetryEnd that connects to a hostile server first, and to a
// well-behaved server, which serves echo, after that. It counts the dials.
func besideAHostile(t *testing.T, opt *client.EndOptions, hostile func(s *hostileServer), test func(t *testing.T, end *client.RetryEnd, dials *atomic.Int64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		honest := server.NewEndOptions()
		honest.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(req.Data())
		}})
		patient := client.NewEndOptions()
		patient.SetRetryBackoff(time.Second, time.Second)
		patient.SetRetryFirst(t.Context())
		end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
			near, far := net.Pipe()
			if dials.Add(1) == 1 {
				go hostile(&hostileServer{t, far})
			} else {
				go server.NewEndWithConn(far, honest)
			}
			return near, nil
		}, patient, opt)
		require.NoError(t, err)
		defer func() {
			end.Close()
			time.Sleep(lingerTime + 2*time.Second) // until the connection to the hostile server has ended
		}()
		synctest.Wait()
		test(t, end.(*client.RetryEnd), &dials)
	})
}

func goAway(retry time.Duration) []byte {
	return packet.AppendReason(nil, packet.TypeGoAway, 0, packet.Reason{Code: uint32(geminio.CodeGoingAway), Retry: retry})
}

// A server sends GoAway and keeps the connection open. The client leaves it after the drain
// timeout if an operation is in flight, and at once otherwise.
func TestServerThatGoesAwayAndStays(t *testing.T) {
	const drain = time.Minute
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprintf("busy %v", busy), func(t *testing.T) {
			opt := client.NewEndOptions()
			opt.SetDrainTimeout(drain)
			hostile := func(s *hostileServer) {
				s.welcome(nil, func(h packet.Header, _ []byte) []byte {
					switch h.Type {
					case packet.TypeOpen:
						b := packet.AppendAccept(nil, h.Stream, packet.Windows{Raw: 1 << 30, Messages: 1 << 30})
						return append(b, goAway(0)...)
					case packet.TypeData:
						return goAway(0)
					}
					return nil
				})
			}
			besideAHostile(t, opt, hostile, func(t *testing.T, end *client.RetryEnd, _ *atomic.Int64) {
				if busy {
					_, err := end.OpenStream()
					require.NoError(t, err)
				} else {
					_, err := end.Write([]byte("x"))
					require.NoError(t, err)
				}
				synctest.Wait()
				start := time.Now()
				_, err := end.Call(context.Background(), "echo", end.NewRequest(nil))
				require.NoError(t, err)
				if busy {
					assert.LessOrEqual(t, time.Since(start), drain+2*time.Second)
					assert.GreaterOrEqual(t, time.Since(start), drain)
				} else {
					assert.LessOrEqual(t, time.Since(start), lingerTime+2*time.Second)
				}
			})
		})
	}
}

// A server refuses streams with CodeGoingAway and sends no GoAway. The client opens the stream
// on the next connection.
func TestServerThatRefusesStreamsAndStays(t *testing.T) {
	hostile := func(s *hostileServer) {
		s.welcome(nil, func(h packet.Header, _ []byte) []byte {
			if h.Type == packet.TypeOpen {
				return packet.AppendReason(nil, packet.TypeRefuse, h.Stream, packet.Reason{Code: uint32(geminio.CodeGoingAway)})
			}
			return nil
		})
	}
	besideAHostile(t, nil, hostile, func(t *testing.T, end *client.RetryEnd, _ *atomic.Int64) {
		start := time.Now()
		_, err := end.OpenStream()
		require.NoError(t, err, "OpenStream on the next connection")
		assert.LessOrEqual(t, time.Since(start), lingerTime+2*time.Second)
	})
}

// A server asks the client to reconnect after 49 days. The client waits at most twenty times the
// longest back-off.
func TestServerThatAsksForSilence(t *testing.T) {
	const forDays = math.MaxUint32 * time.Millisecond
	for name, hostile := range map[string]func(s *hostileServer){
		"going away": func(s *hostileServer) {
			s.welcome(goAway(forDays), func(packet.Header, []byte) []byte { return nil })
		},
		"refusing": func(s *hostileServer) {
			hello, err := kit.ReadConn(s.nc)
			require.NoError(s.t, err)
			no, _ := packet.AppendConnAck(nil, packet.ConnAck{PacketID: hello.PacketID, Refused: true, Code: 1, Error: "no", Retry: forDays})
			s.nc.Write(no)
			s.nc.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Time{}
			noted := func(s *hostileServer) {
				start = time.Now()
				hostile(s)
			}
			besideAHostile(t, nil, noted, func(t *testing.T, end *client.RetryEnd, dials *atomic.Int64) {
				for dials.Load() < 2 {
					time.Sleep(10 * time.Millisecond)
					require.Less(t, time.Since(start), time.Hour)
				}
				assert.LessOrEqual(t, time.Since(start), 20*time.Second+lingerTime+time.Second)
				assert.GreaterOrEqual(t, time.Since(start), 10*time.Second, "the time before the next dial")
			})
		})
	}
}

// A server registers as many methods as its credit allows. The methods of the next server are
// registered all the same.
func TestServerThatRegistersAllItMay(t *testing.T) {
	opt := client.NewEndOptions()
	opt.SetRemoteRPCCheck()
	hostile := func(s *hostileServer) {
		var all []byte
		for i := range 1 << 14 {
			all = frame(all, packet.TypeRegister, 0, 1, uint64(i+1), fmt.Appendf(nil, "method %d", i))
		}
		answered := 0
		// No more than the credit allows: the answers give it back.
		const burst = 1 << 11
		next := all
		send := func(n int) []byte {
			var b []byte
			for range n {
				if len(next) == 0 {
					break
				}
				h, err := packet.ParseHeader(next, math.MaxUint32)
				require.NoError(s.t, err)
				one := packet.HeaderLen + int(h.Length)
				b, next = append(b, next[:one]...), next[one:]
			}
			return b
		}
		s.welcome(send(burst), func(h packet.Header, _ []byte) []byte {
			if h.Type != packet.TypeRegistered {
				return nil
			}
			if answered++; answered == 1<<14 {
				s.nc.Close()
				return nil
			}
			return send(1)
		})
	}
	besideAHostile(t, opt, hostile, func(t *testing.T, end *client.RetryEnd, dials *atomic.Int64) {
		for end.Stats().Connections < 2 {
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		_, err := end.Call(context.Background(), "echo", end.NewRequest([]byte("x")))
		assert.NoError(t, err)
	})
}

// A server acknowledges no registration. The attempt to connect ends at the handshake timeout.
func TestServerThatTakesNoNote(t *testing.T) {
	opt := client.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: func(context.Context, geminio.Request, geminio.Response) {}})
	var failures []error
	opt.SetRetryFailedFunc(func(err error) { failures = append(failures, err) })
	var start time.Time
	hostile := func(s *hostileServer) {
		start = time.Now()
		s.welcome(nil, func(packet.Header, []byte) []byte { return nil })
	}
	besideAHostile(t, opt, hostile, func(t *testing.T, end *client.RetryEnd, dials *atomic.Int64) {
		assert.LessOrEqual(t, time.Since(start), 10*time.Second+lingerTime+time.Second)
		assert.EqualValues(t, 2, dials.Load())
		require.Len(t, failures, 1)
		assert.ErrorIs(t, failures[0], geminio.ErrHandshakeTimeout)
	})
}
