package attack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

const (
	// oldHeap bounds what a connection of wire 1 may hold beside what is stated: that of
	// any connection, and answers that wait, of which there are 1 MiB at most and half as
	// much in memory that has grown for them.
	oldHeap = connHeap + 2<<20
	// oldGoroutines is the number of goroutines of a connection of wire 1 and of its attacker.
	oldGoroutines = connGoroutines + 2
	// perOldStream bounds the bytes of a stream with neither meta nor data.
	perOldStream = perStream + 2<<10
)

// oldAttacker is a client of wire 1 that has completed the handshake and sends arbitrary
// packets.
type oldAttacker struct {
	t   testing.TB
	nc  net.Conn
	end served
	ear chan struct{}

	// patience is how long flood waits for the server to take something: in a bubble a
	// second is enough.
	patience time.Duration

	mu    sync.Mutex
	heard map[wire1.Type]int
	last  map[wire1.Type]wire1.Packet
}

// attackOld returns an attacker that has completed the handshake and does not read yet.
func (s *targetServer) attackOld() *oldAttacker {
	s.t.Helper()
	nc, err := s.dial()
	require.NoError(s.t, err)
	a := &oldAttacker{
		t: s.t, nc: nc, ear: make(chan struct{}), patience: time.Second,
		heard: make(map[wire1.Type]int), last: make(map[wire1.Type]wire1.Packet),
	}
	if s.pipes == nil {
		a.patience = forever
	}
	require.NoError(s.t, a.send(oldHello()))
	ack, err := oldpeer.Read(nc)
	require.NoError(s.t, err)
	require.Empty(s.t, ack.Error)
	a.end = s.end(ack.Client)
	return a
}

func oldHello() []byte {
	return wire1.Append(nil, wire1.Packet{Type: wire1.TypeConn, ID: uint64(time.Now().Unix())<<32 | 1, Flags: 0x18})
}

// startReading reads the packets of the server in a goroutine until the connection ends.
func (a *oldAttacker) listen() *oldAttacker {
	go func() {
		defer close(a.ear)
		for {
			p, err := oldpeer.Read(a.nc)
			if err != nil {
				return
			}
			p.Raw, p.Content = nil, wire1.Content{}
			a.mu.Lock()
			a.heard[p.Type]++
			a.last[p.Type] = p
			a.mu.Unlock()
		}
	}()
	return a
}

func (a *oldAttacker) send(b []byte) error {
	a.nc.SetWriteDeadline(time.Now().Add(forever))
	_, err := a.nc.Write(b)
	return err
}

// count returns the number of packets of a type that were read.
func (a *oldAttacker) count(typ wire1.Type) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heard[typ]
}

// flood sends the bytes that next appends, n times. It stops when the connection ends or the
// server does not read, and returns the number of calls of next whose bytes were sent.
func (a *oldAttacker) flood(n int, next func(b []byte, i int) []byte) int {
	const piece = 16 << 10
	var b []byte
	for i := range n {
		b = next(b, i)
		if len(b) < piece && i < n-1 {
			continue
		}
		a.nc.SetWriteDeadline(time.Now().Add(a.patience))
		if _, err := a.nc.Write(b); err != nil {
			return i
		}
		b = b[:0]
	}
	return n
}

// wantEnd requires that the End of the server ends with the cause.
func (a *oldAttacker) wantEnd(cause error, reason string) {
	a.t.Helper()
	timer := time.NewTimer(forever)
	defer timer.Stop()
	select {
	case <-a.end.Done():
	case <-timer.C:
		a.t.Fatalf("%s: the End of the server did not end within %v", reason, forever)
	}
	if cause != nil {
		require.ErrorIs(a.t, a.end.Cause(), cause, reason)
	}
}

// goes requires that the connection has not ended.
func (a *oldAttacker) goes(reason string) {
	a.t.Helper()
	require.NoError(a.t, a.end.Cause(), reason)
}

// leave closes the connection.
func (a *oldAttacker) leave() { a.nc.Close() }

// dropOldEnd removes the End of an attacker that has disconnected, so that it is garbage.
func (s *targetServer) dropOldEnd(a *oldAttacker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ends, a.end.ClientID())
	a.end = nil
}

// old appends a packet to b.
func old(b []byte, typ wire1.Type, id, session uint64, data ...byte) []byte {
	p := wire1.Packet{Type: typ, ID: id, Session: session, Raw: data, Content: wire1.Content{Key: []byte("echo"), Value: data}}
	switch typ {
	case wire1.TypeSession:
		p.Negotiate, p.Flags = id, wire1.FlagAcquireSession
	case wire1.TypeRequestCancel:
		p.Kind = wire1.KindCanceled
	}
	return wire1.Append(b, p)
}

// oldBody appends a packet with an arbitrary body to b.
func oldBody(typ byte, length uint32, body string) []byte {
	b := append([]byte{1, typ}, 0, 0, 0, 0, 0, 0, 0, 7)
	return append(binary.BigEndian.AppendUint32(b, length), body...)
}

// A violation of wire 1 ends the connection. So does a body that is too short, for which peers
// of the earlier releases end their process.
func TestOldPacketsThatBreakARule(t *testing.T) {
	const one = "\x00\x00\x00\x00\x00\x00\x00\x01"
	for name, b := range map[string][]byte{
		"another protocol":           []byte("GET / HTTP/1.1\r\n\r\n"),
		"an unknown type":            oldBody(0x99, 0, ""),
		"a second conn":              oldHello(),
		"a connack":                  oldBody(0x02, 11, "\x00"+one+"{}"),
		"a short connack":            oldBody(0x02, 8, one),
		"a short disconnack":         oldBody(0x12, 0, ""),
		"a short session":            oldBody(0x31, 9, "\x00"+one),
		"a short sessionack":         oldBody(0x32, 17, "\x00"+one+one),
		"a short dismiss":            oldBody(0x41, 7, one[1:]),
		"a short dismissack":         oldBody(0x42, 7, one[1:]),
		"a short cancel":             oldBody(0x73, 8, one),
		"half a cancel":              oldBody(0x73, 9, one+"\x00"),
		"a short conn":               oldBody(0x01, 5, "\x18\x00\x00\x00\x00"),
		"a message without JSON":     oldBody(0x51, 8, one),
		"a dismiss without JSON":     oldBody(0x41, 8, one),
		"a heartbeat with a body":    oldBody(0x21, 1<<32-1, ""),
		"a disconn with a body":      oldBody(0x11, 1, "x"),
		"an answer to a heartbeat":   oldBody(0x22, 0, ""),
		"a huge call":                oldBody(0x71, 1<<32-1, one),
		"a huge answer":              oldBody(0x82, 1<<30, one),
		"no JSON":                    oldBody(0x71, 8+5, one+"hello"),
		"no object":                  oldBody(0x71, 8+2, one+"[]"),
		"JSON that is cut off":       oldBody(0x71, 8+11, one+`{"value":"a`),
		"no base64":                  oldBody(0x71, 8+13, one+`{"value":"?"}`),
		"no time":                    oldBody(0x71, 8+15, one+`{"deadline":""}`),
		"deep JSON":                  oldBody(0x71, 8+3<<20, one+strings.Repeat(`{"a":`, 3<<20/5)+"    "),
		"deep arrays":                oldBody(0x71, 8+1<<20, one+`{"a":`+strings.Repeat("[", 1<<20-5)),
		"deep arrays that are ended": oldBody(0x71, 8+5+1<<20+1, one+`{"a":`+strings.Repeat("[", 1<<19)+strings.Repeat("]", 1<<19)+"}"),
	} {
		t.Run(name, func(t *testing.T) {
			onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attackOld().listen()
				a.send(b)
				a.wantEnd(geminio.ErrProtocol, name)
				a.leave()
				<-a.ear
				s.dropOldEnd(a)
				s.wantService("after the attack")
				before.wantLeft(t, oldHeap, 4, name)
			})
		})
	}
}

// A header announces a body that arrives byte by byte, or not at all.
func TestOldDeclaredLengthReservesNothing(t *testing.T) {
	for _, typ := range []wire1.Type{wire1.TypeMessage, wire1.TypeRequest, wire1.TypeResponse, wire1.TypeStream} {
		t.Run(typ.String(), func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				const connections = 20
				before := measure()
				var all []*oldAttacker
				for range connections {
					a := s.attackOld().listen()
					defer a.leave()
					require.NoError(t, a.send(oldBody(byte(typ), 64<<20, "\x00\x00\x00\x00\x00\x00\x00\x01{")))
					all = append(all, a)
				}
				for range 60 {
					time.Sleep(30 * time.Second)
					for _, a := range all {
						require.NoError(t, a.send([]byte(" ")), "a byte that keeps the connection alive")
					}
				}
				s.wantService("during the attack")
				before.wantAtMost(t, connections*connHeap, connections*oldGoroutines+4, "bodies that do not arrive")
				start := time.Now()
				for _, a := range all {
					a.wantEnd(geminio.ErrSilent, "the attacker sends nothing more")
				}
				require.InDelta(t, silence, time.Since(start), float64(time.Second))
			})
		})
	}
}

// smallBudget sets a small memory budget.
func smallBudget(o *server.EndOptions) {
	o.SetMaxMessageSize(256 << 10)
	o.SetMaxStreams(64)
	o.SetMemoryBudget(oldBudget)
}

const oldBudget = 2 << 20

// Packets that need credit in wire 2 have none in wire 1. The server holds them up to its
// memory budget, and then reads nothing more from the peer. It serves other clients.
func TestOldPeerThatNobodyTakesFrom(t *testing.T) {
	for _, typ := range []wire1.Type{wire1.TypeStream, wire1.TypeMessage, wire1.TypeRequest, wire1.TypeRegister} {
		for _, size := range []int{0, 100, 60 << 10, 200 << 10} {
			t.Run(fmt.Sprintf("%v of %d bytes", typ, size), func(t *testing.T) {
				if typ == wire1.TypeRegister && size > 0 {
					return
				}
				inBubble(t, serverSetup{options: func(o *server.EndOptions) { smallBudget(o); o.SetMaxHandlers(4) }}, func(t *testing.T, s *targetServer) {
					before := measure()
					a := s.attackOld().listen()
					defer a.leave()
					data := make([]byte, size)
					p := wire1.Packet{Type: typ, Session: 1, Raw: data}
					if typ != wire1.TypeStream && typ != wire1.TypeRegister {
						p.Raw = nil
						p.Content = wire1.Content{Key: []byte("ignore"), Value: data}
					}
					packets := (64<<20 + size) / (size + 100)
					if typ == wire1.TypeRegister {
						packets = 20_000 // more than the names that a peer may register
					}
					sent := a.flood(packets, func(b []byte, i int) []byte {
						p.ID = uint64(i)
						if typ == wire1.TypeRegister {
							p.Raw = fmt.Appendf(nil, "method%d", i)
						}
						return wire1.Append(b, p)
					})
					t.Logf("the server read %d packets of %d bytes", sent, size)
					if typ != wire1.TypeRegister && (typ != wire1.TypeStream || size > 0) {
						require.Less(t, sent, packets, "packets that the server read")
					}
					a.goes("it has broken no rule")
					s.wantService("during the attack")
					heap := int64(2*oldBudget) + oldHeap
					if typ == wire1.TypeRegister {
						heap += 16384 * 200 // the names that a peer may register
					}
					before.wantAtMost(t, heap, oldGoroutines+8, "packets that the application does not take")
				})
			})
		}
	}
}

// A peer opens sessions without end. Those above the limit are refused, and leave no memory
// behind.
func TestOldSessionsWithoutNumber(t *testing.T) {
	const opens = 200_000 / kit.Slowdown
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attackOld().listen()
		defer a.leave()
		sent := a.flood(opens, func(b []byte, i int) []byte { return old(b, wire1.TypeSession, uint64(i+2), 0) })
		require.Equal(t, opens, sent)
		waitFor(t, "the answers to all packets", func() bool { return a.count(wire1.TypeSessionAck) == opens })
		a.mu.Lock()
		require.Equal(t, "too many streams: 1024 wait to be accepted", a.last[wire1.TypeSessionAck].Error)
		a.mu.Unlock()
		a.goes("it has broken no rule")
		s.wantService("during the attack")
		before.wantAtMost(t, backlog*perOldStream+oldHeap, oldGoroutines+4, "sessions that are not accepted")
	})
}

// A peer opens sessions, dismisses them at once, and acknowledges nothing.
func TestOldSessionsThatComeAndGo(t *testing.T) {
	const rounds = 50_000 / kit.Slowdown
	accept := func(o *server.EndOptions) { o.SetAcceptStreamFunc(func(geminio.Stream) {}) }
	inBubble(t, serverSetup{options: accept}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attackOld().listen()
		defer a.leave()
		for i := range rounds {
			require.NoError(t, a.send(old(nil, wire1.TypeSession, uint64(i+2), 0)))
			if i%64 == 63 {
				waitFor(t, "the acceptance of the sessions", func() bool { return a.count(wire1.TypeSessionAck) == i+1 })
				var b []byte
				for j := i - 63; j <= i; j++ { // the ids are odd, from 3
					b = old(b, wire1.TypeDismiss, uint64(j), uint64(2*j+3))
				}
				require.NoError(t, a.send(b))
				time.Sleep(100 * time.Millisecond)
			}
		}
		a.goes("it has broken no rule")
		s.wantService("during the attack")
		time.Sleep(2 * time.Second)
		before.wantAtMost(t, oldHeap, oldGoroutines+4, "sessions that were dismissed")
	})
}

// A peer makes the server answer and reads no answer. The server stops reading from it.
func TestOldAnswersThatNobodyReads(t *testing.T) {
	for typ, session := range map[wire1.Type]uint64{
		wire1.TypeRequest: 1, wire1.TypeSession: 0, wire1.TypeRegister: 1,
		wire1.TypeDismiss: 1 << 40, // a session that may have been open
	} {
		t.Run(typ.String(), func(t *testing.T) {
			inBubble(t, serverSetup{options: smallBudget}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attackOld()
				defer a.leave()
				const packets = 10 << 20 / 16
				sent := a.flood(packets, func(b []byte, i int) []byte {
					return old(b, typ, uint64(i+2), session, fmt.Append(nil, i)...)
				})
				t.Logf("the server read %d packets", sent)
				require.Less(t, sent, packets, "packets that the server read while the peer read no answer")
				s.wantService("during the attack")
				before.wantAtMost(t, 2*oldBudget+64*perOldStream+2*oldHeap+16384*200, oldGoroutines+64, "answers that the peer does not read")
			})
		})
	}
}

// A peer cancels its calls at once. The number of handlers stays within the limit.
func TestOldRapidCallAndCancel(t *testing.T) {
	onPipeAndTCP(t, serverSetup{options: fewHandlers}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attackOld().listen()
		defer a.leave()
		const calls = rapidCalls / kit.Slowdown
		call := wire1.Packet{Type: wire1.TypeRequest, Session: 1, Content: wire1.Content{Key: []byte("ignore")}}
		a.flood(calls, func(b []byte, i int) []byte {
			call.ID = uint64(i + 2)
			return old(wire1.Append(b, call), wire1.TypeRequestCancel, call.ID, 1)
		})
		waitFor(t, "handlers up to the limit", func() bool { return s.started.Load() >= maxHandlers })
		a.goes("it has broken no rule")
		s.wantService("while the handlers run")
		require.EqualValues(t, maxHandlers, s.peak.Load(), "handlers at one time")
		before.wantAtMost(t, maxHandlers*perHandler+handlerNoise+calls*1024+oldHeap, maxHandlers+8, "handlers that do not return")
	})
}

// A peer sends more heartbeats than it may. The connection ends.
func TestOldHeartbeatFlood(t *testing.T) {
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		a := s.attackOld().listen()
		defer a.leave()
		a.flood(maxPings+1, func(b []byte, i int) []byte { return old(b, wire1.TypeHeartbeat, uint64(i), 0) })
		a.wantEnd(geminio.ErrProtocol, "too many heartbeats")
	})
}

// A peer uses ids twice. Only its own connection may suffer.
func TestOldIDsThatAreUsedTwice(t *testing.T) {
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		a := s.attackOld().listen()
		defer a.leave()
		const times = 500
		for _, typ := range []wire1.Type{wire1.TypeRequest, wire1.TypeMessage, wire1.TypeSession, wire1.TypeRegister, wire1.TypeRequestCancel} {
			require.Equal(t, times, a.flood(times, func(b []byte, _ int) []byte { return old(b, typ, 7, 1) }))
		}
		waitFor(t, "the answers to all packets", func() bool {
			return a.count(wire1.TypeResponse) == times && a.count(wire1.TypeSessionAck) == times && a.count(wire1.TypeRegisterAck) == times
		})
		a.goes("it has broken no rule")
		s.wantService("during the attack")
	})
}

// oldSession returns packets of all types that a peer of wire 1 may send, in a valid order.
func oldSession() (packets [][]byte) {
	types := []wire1.Type{
		wire1.TypeRegister, wire1.TypeRequest, wire1.TypeMessage, wire1.TypeStream, wire1.TypeSession, wire1.TypeHeartbeat,
		wire1.TypeRequestCancel, wire1.TypeResponse, wire1.TypeMessageAck, wire1.TypeRegisterAck, wire1.TypeSessionAck,
		wire1.TypeDismissAck, wire1.TypeRequest, wire1.TypeStream, wire1.TypeDismiss, wire1.TypeDisConn, wire1.TypeDisConnAck,
	}
	for i, typ := range types {
		session := uint64(1)
		if i > 11 {
			session = 3 // the id of the session that the packets open
		}
		packets = append(packets, old(nil, typ, uint64(i+2), session, bytes.Repeat([]byte("x"), 40*i)...))
	}
	return packets
}

// oldMutants are the ways to make hostile bytes of wire 1, by name.
var oldMutants = map[string]func(r *rand.Rand) []byte{
	"random": func(r *rand.Rand) []byte { return random(r, 1+r.IntN(4<<10)) },
	"random bodies": func(r *rand.Rand) (b []byte) {
		for range 1 + r.IntN(20) {
			body := random(r, r.IntN(200))
			b = append(b, oldBody(byte(r.Uint32()), uint32(len(body)), string(body))...)
		}
		return b
	},
	"random bodies of known types": func(r *rand.Rand) (b []byte) {
		for range 1 + r.IntN(20) {
			body := random(r, r.IntN(200))
			typ := []byte{0x11, 0x12, 0x21, 0x31, 0x32, 0x41, 0x42, 0x51, 0x52, 0x61, 0x71, 0x72, 0x73, 0x81, 0x82}[r.IntN(15)]
			b = append(b, oldBody(typ, uint32(len(body)), string(body))...)
		}
		return b
	},
	"flipped": func(r *rand.Rand) []byte {
		b := join(oldSession())
		for range 1 + r.IntN(20) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	},
	"truncated": func(r *rand.Rand) []byte {
		b := join(oldSession())
		return b[:r.IntN(len(b))]
	},
	"reordered": func(r *rand.Rand) []byte {
		packets := oldSession()
		r.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
		return join(packets)
	},
}

func TestHostileOldPacketsAgainstALiveServer(t *testing.T) {
	sendMutants(t, oldMutants, (*targetServer).sendHostileOld)
}

// sendHostileOld is sendHostile by a peer of wire 1.
func (s *targetServer) sendHostileOld(b []byte) {
	s.t.Helper()
	a := s.attackOld().listen()
	a.send(b)
	if tcp, ok := a.nc.(*net.TCPConn); ok {
		tcp.CloseWrite()
	} else {
		a.leave()
	}
	a.wantEnd(nil, "the attacker closed the connection")
	a.leave()
	<-a.ear
	s.dropOldEnd(a)
}

// FuzzOldPackets sends the bytes of the fuzzer by a peer of wire 1.
func FuzzOldPackets(f *testing.F) {
	for _, p := range oldSession() {
		f.Add(p)
	}
	f.Add(join(oldSession()))
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		ended := make(chan error, 1)
		go func() {
			end, err := server.NewEndWithConn(far)
			if err == nil {
				_, err = io.Copy(io.Discard, end)
				end.Close()
			}
			ended <- err
		}()
		near.SetDeadline(time.Now().Add(forever))
		_, err := near.Write(oldHello())
		require.NoError(t, err)
		_, err = oldpeer.Read(near)
		require.NoError(t, err)
		go io.Copy(io.Discard, near)
		near.Write(b)
		near.Close()
		<-ended
	})
}

// A server of wire 1 violates the protocol. The client loses its connection, and nothing else.
func TestHostileOldServer(t *testing.T) {
	session := func(id, negotiate uint64) []byte {
		return wire1.Append(nil, wire1.Packet{Type: wire1.TypeSession, ID: id, Negotiate: negotiate})
	}
	for name, b := range map[string][]byte{
		"a heartbeat":             old(nil, wire1.TypeHeartbeat, 5, 0),
		"a second connack":        wire1.Append(nil, wire1.Packet{Type: wire1.TypeConnAck, ID: 5, Client: 7}),
		"a session 0":             session(5, 0),
		"the default session":     session(5, 1),
		"a session that is open":  append(session(5, 99), session(6, 99)...),
		"an unknown type":         oldBody(0x77, 0, ""),
		"a short response":        oldBody(0x72, 7, "1234567"),
		"a response of no object": oldBody(0x72, 10, "12345678[]"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := measure()
				near, far := net.Pipe()
				defer far.Close()
				go func() {
					p, err := oldpeer.Read(far)
					if err == nil {
						far.Write(wire1.Append(nil, wire1.Packet{Type: wire1.TypeConnAck, ID: p.ID, Client: 7}))
						go io.Copy(io.Discard, far)
						far.Write(b)
					}
				}()
				end, err := client.NewEndWithConn(near)
				require.NoError(t, err)
				_, err = end.Call(t.Context(), "echo", end.NewRequest(nil))
				require.Error(t, err)
				require.ErrorIs(t, end.(served).Cause(), geminio.ErrProtocol)
				end.Close()
				before.wantLeft(t, oldHeap, 4, name)
			})
		})
	}
	t.Run("answers to nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			var calls atomic.Int64
			done := make(chan struct{})
			go func() {
				defer close(done)
				p, err := oldpeer.Accept(far, oldpeer.Config{Sees: func(p wire1.Packet) {
					if p.Type == wire1.TypeRequest {
						calls.Add(1)
					}
				}})
				if err != nil {
					return
				}
				for id := range uint64(1000) {
					for _, typ := range []wire1.Type{
						wire1.TypeResponse, wire1.TypeMessageAck, wire1.TypeRegisterAck, wire1.TypeSessionAck, wire1.TypeDismissAck, wire1.TypeHeartbeatAck,
						wire1.TypeRequestCancel, wire1.TypeDismiss, wire1.TypeMessage, wire1.TypeRequest, wire1.TypeStream,
					} {
						p.Send(wire1.Packet{Type: typ, ID: id + 1, Session: id * 7919 % 1000})
					}
				}
				<-p.Over()
				p.Cut()
			}()
			end, err := client.NewEndWithConn(near)
			require.NoError(t, err)
			time.Sleep(time.Minute)
			require.ErrorIs(t, end.(served).Cause(), io.EOF, "the cause of the end after the default session was dismissed")
			end.Close()
			<-done
			require.Zero(t, calls.Load())
		})
	})
}
