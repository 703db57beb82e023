package attack

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

const (
	// maxRefusals is the number of refusals that may wait for a peer that does not read.
	maxRefusals = 8192
	// perRefusal bounds the bytes of a refusal with its text.
	perRefusal = 256
	// maxPings is the number of pings that a peer may send in a second.
	maxPings = 1000
)

// A peer opens streams and does not read the refusals, as in CVE-2024-32984. The
// connection ends when too many refusals are queued. It is gone after the linger time,
// since the peer does not even read the close frame.
func TestRefusalsThatNobodyReads(t *testing.T) {
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack()
		defer a.leave()
		start := time.Now()
		sent := a.flood(1_000_000, func(b []byte, i int) []byte { return open(b, number(i), nil) })
		a.wantEnd("refusals that the peer does not read")
		t.Logf("the connection ended after at most %d opens", sent)
		require.ErrorIs(t, a.end.Cause(), geminio.ErrProtocol)
		require.ErrorContains(t, a.end.Cause(), "8192 refusals wait to be read")
		require.Zero(t, time.Since(start), "the time until the End ended")
		s.wantService("during the attack")
		before.wantAtMost(t, backlog*perStream+maxRefusals*perRefusal+connHeap, connGoroutines, "refusals that the peer does not read")
		awaitGone(t, a)
		require.InDelta(t, lingerTime, time.Since(start), float64(time.Second/10), "the time until the transport was closed")
		s.wantService("after the attack")
	})
}

// awaitGone waits until the server closes the transport. The attacker reads nothing, and sends
// a byte every 100 ms.
func awaitGone(t *testing.T, a *attacker) {
	t.Helper()
	for end := time.Now().Add(forever); a.send([]byte{0}) == nil; time.Sleep(time.Second / 10) {
		require.True(t, time.Now().Before(end), "the server did not close the transport within %v", forever)
	}
}

// A peer makes the server answer, in every possible way, and reads no answer, as in
// CVE-2024-22189. The credit of the peer bounds the queued answers, and control frames are
// not queued at all. The peer keeps its connection as long as it follows the protocol.
func TestAnswersThatNobodyReads(t *testing.T) {
	const (
		rounds   = 40   // of a second each
		answers  = 4096 // the most requests, which is the credit
		perReply = 512  // bytes of a response that waits
		heap     = answers*perReply + backlog*perStream + connHeap
	)
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack()
		defer a.leave()
		var call uint64
		for i := range rounds {
			var b []byte
			for range maxPings - 1 { // a pong that waits is one bit
				b = packet.AppendPing(b, packet.TypePing, uint64(i))
			}
			for range answers / rounds { // each answer has credit
				call++
				b = request(b, 1, call, "echo", make([]byte, 64)...)
			}
			for range backlog / rounds { // an accept that waits is a bit of the stream
				b = open(b, number(int(call)), nil)
				call++
			}
			b = append(b, credit(1, packet.ClassRaw, 64)...)
			require.NoError(t, a.send(b), "frames that follow the protocol")
			time.Sleep(time.Second)
		}
		s.wantService("during the attack")
		before.wantAtMost(t, heap, 64+connGoroutines, "answers that the peer does not read")
		require.False(t, a.over(), "the connection ended, though the peer sent frames: %v", a.end.Cause())
		a.leave()
		a.wantEnd("the attacker closed the connection")
	})
}

// The application receives messages and answers them with an error, and the peer does not
// read. The credit of the messages bounds the queued acks.
func TestAcksThatNobodyReads(t *testing.T) {
	const (
		messages = 100_000
		perAck   = 256            // bytes of an ack that waits, or of its message
		fit      = 16 << 10 / 100 // messages that fit in a window
		heap     = fit*perAck*4 + connHeap
	)
	w := serverSetup{serve: func(end geminio.End) {
		go func() {
			for {
				m, err := end.Receive(context.Background())
				if err != nil {
					return
				}
				m.Error(errors.New("no"))
			}
		}()
	}}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack()
		defer a.leave()
		sent := 0
		for ; sent < messages && !a.over(); sent++ {
			if a.send(message(nil, 1, uint64(sent+1))) != nil {
				break
			}
		}
		a.wantEnd("messages without credit")
		require.ErrorContains(t, a.end.Cause(), "messages: ")
		require.Less(t, sent, messages)
		t.Logf("the connection ended after %d messages", sent)
		s.wantService("during the attack")
		before.wantAtMost(t, heap, connGoroutines+2, "acks that the peer does not read")
		awaitGone(t, a)
	})
}

// Up to 1000 pings a second are answered, with at most one pong each. One more ping ends
// the connection with CodeProtocol.
func TestPingFloodEndsWithACode(t *testing.T) {
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		const seconds = 10
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		for range seconds {
			for range maxPings {
				a.mustSend(packet.AppendPing(nil, packet.TypePing, 7), "pings within the limit")
			}
			time.Sleep(time.Second)
		}
		pongs := a.count(packet.TypePong)
		require.Positive(t, pongs)
		require.LessOrEqual(t, pongs, seconds*maxPings, "pongs, at most one for each ping")
		s.wantService("during the attack")
		before.wantAtMost(t, connHeap, connGoroutines, "pings within the limit")

		start := time.Now()
		sent := a.flood(4000, func(b []byte, _ int) []byte { return packet.AppendPing(b, packet.TypePing, 7) })
		a.wantViolation("pings above the limit", "ping: more than 1000 in a second")
		require.Zero(t, time.Since(start), "the time until the connection ended")
		t.Logf("the connection ended after at most %d further pings", sent)
		require.LessOrEqual(t, a.count(packet.TypePong)-pongs, maxPings)
		a.leave()
		s.wantService("after the attack")
	})
}

// Different heartbeat settings never end a connection whose peer answers, or sends any
// other bytes.
func TestHeartbeatsThatDoNotMatch(t *testing.T) {
	for name, alive := range map[string]func(t *testing.T, a *attacker){
		"answers and never asks": func(t *testing.T, a *attacker) {
			a.pongs = true
			a.startReading()
			time.Sleep(time.Hour)
		},
		"asks and never answers": func(t *testing.T, a *attacker) {
			a.startReading()
			for range int(time.Hour / (silence - time.Second)) {
				time.Sleep(silence - time.Second)
				a.mustSend(packet.AppendPing(nil, packet.TypePing, 1), "a ping before the heartbeat timeout")
			}
		},
		"answers what was never asked": func(t *testing.T, a *attacker) {
			a.startReading()
			for range 1000 {
				a.mustSend(packet.AppendPing(nil, packet.TypePong, 1<<63+1), "a pong with a value above those of the pings")
				a.mustSend(packet.AppendPing(nil, packet.TypePong, 1), "a pong with an old value")
				time.Sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack()
				defer a.leave()
				alive(t, a)
				require.False(t, a.over(), "%v", a.end.Cause())
				s.wantService("during the attack")
				before.wantAtMost(t, connHeap, connGoroutines, "heartbeats of different intervals")
				a.leave()
				synctest.Wait()
				require.True(t, a.over())
			})
		})
	}
}
