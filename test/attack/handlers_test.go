package attack

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

const (
	maxHandlers  = 64
	rapidCalls   = 100_000
	perHandler   = 4 << 10 // bytes of a running handler and its goroutine, without the body of the request
	handlerNoise = 1 << 20 // bytes of the buffers of the connection and of the test
)

func fewHandlers(o *server.EndOptions) { o.SetMaxHandlers(maxHandlers) }

func cancel(b []byte, stream, call uint64) []byte {
	a := packet.Answer{Code: uint32(geminio.CodeCanceled)}
	return frame(b, packet.TypeCancel, 0, stream, call, a.Append(nil))
}

// Calls are canceled at once, and their handler ignores it. Cancel gives no credit back,
// the return of the handler does. So the handlers stay within their limit, and the first
// call beyond it ends the connection.
func TestRapidCallAndCancelNeverExceedsTheHandlers(t *testing.T) {
	onPipeAndTCP(t, serverSetup{options: fewHandlers}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		calls := 0
		next := func(b []byte, _ int) []byte {
			calls++
			return cancel(request(b, 1, uint64(calls), "ignore"), 1, uint64(calls))
		}
		a.flood(maxHandlers, next)
		waitFor(t, "handlers of all calls with credit", func() bool { return s.started.Load() >= maxHandlers })
		a.flood(rapidCalls, next)
		a.wantViolation("a call without credit", "handlers: 1 sent with credit for 0")
		t.Logf("the connection ended after at most %d calls", calls)
		s.wantService("while the handlers run")
		require.EqualValues(t, maxHandlers, s.started.Load(), "handlers that were started")
		require.EqualValues(t, maxHandlers, s.peak.Load(), "handlers at one time")
		before.wantAtMost(t, maxHandlers*perHandler+handlerNoise, maxHandlers+8, "handlers that do not return")
	})
}

// A peer calls and cancels rapidly within its credit. It occupies handlers up to the
// limit, and the connection survives.
func TestRapidCallAndCancelWithinTheCredit(t *testing.T) {
	onPipeAndTCP(t, serverSetup{options: fewHandlers}, func(t *testing.T, s *targetServer) {
		const calls = 10_000 / kit.Slowdown
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		for i := range calls {
			call := uint64(i + 1)
			require.True(t, a.until(func() bool { return a.handlerCredit > 0 }), "no credit for requests comes back; the reason of the Close frame: %+v", a.closeReason)
			a.mu.Lock()
			a.handlerCredit--
			a.mu.Unlock()
			a.mustSend(cancel(request(nil, 1, call, "hang"), 1, call), "a call and its cancel")
		}
		a.wait(packet.TypeResponse, calls, "a response to each call")
		require.LessOrEqual(t, s.peak.Load(), int64(maxHandlers), "handlers at one time")
		require.False(t, a.over(), "the connection ended, though the peer followed the protocol")
		s.wantService("after all calls")
		before.wantAtMost(t, handlerNoise, 64+8, "after the calls; some goroutines wait for further requests")
	})
}

// As TestRapidCallAndCancelWithinTheCredit, with the largest requests that count as small.
func TestHandlersHoldWhatTheirLimitsSay(t *testing.T) {
	onPipeAndTCP(t, serverSetup{options: fewHandlers}, func(t *testing.T, s *targetServer) {
		const small = 8<<10 - 64
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		body := make([]byte, small)
		for i := range maxHandlers {
			a.mustSend(request(nil, 1, uint64(i+1), "ignore", body...), "a request with credit")
		}
		waitFor(t, "handlers of all requests", func() bool { return s.running.Load() == maxHandlers })
		s.wantService("while all handlers of the attacker run")
		before.wantAtMost(t, maxHandlers*(8<<10+perHandler)+handlerNoise, maxHandlers+8, "running handlers")
		require.False(t, a.over())
	})
}

// A handler that ignores its context continues after the end of its connection. It keeps its
// own request in memory, and nothing else of the connection.
func TestHungHandlersKeepOnlyTheirRequests(t *testing.T) {
	const (
		peers   = 6
		streams = 100
		names   = 2000
		meta    = 40 << 10
		body    = 4 << 10                   // bytes of the request
		held    = streams*meta + names*1000 // bytes that the server holds for each peer, at least
		left    = peers * (body + perHandler)
	)
	overTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		for i := range peers {
			a := s.attackWith(bytes.Repeat([]byte{'m'}, meta)).startReading()
			a.mustSend(frame(nil, packet.TypeMessage, 8<<20, 1, 1, make([]byte, 60<<10)), "the first fragment of a message")
			a.mustSend(data(nil, 0, 1, make([]byte, 16<<10)), "raw bytes that the application does not read")
			for j := range streams {
				a.mustSend(open(nil, number(j), make([]byte, meta)), "a stream with a large meta")
			}
			a.wait(packet.TypeAccept, streams, "the acceptance of all streams")
			name := make([]byte, 1000)
			for j := range names {
				name = fmt.Appendf(name[:0], "%01000d", j)
				a.mustSend(frame(nil, packet.TypeRegister, 0, 1, uint64(j+1), name), "a registration")
			}
			a.wait(packet.TypeRegistered, names, "the answers to all registrations")
			a.mustSend(request(nil, 1, names+1, "ignore", make([]byte, body)...), "a call")
			waitFor(t, "the handler of the call", func() bool { return s.running.Load() == int64(i+1) })
			if i == 0 {
				// The heap of the beginning may have had garbage of the previous test.
				require.Greater(t, measure().Since(before.Usage).Heap, int64(held/2), "the memory of one attack; the test attacks with too little")
			}
			a.leave()
			a.wantEnd("the attacker closed the connection")
			s.dropEnd(a)
		}
		s.wantService("after the attackers have left")
		before.wantLeft(t, left+handlerNoise, peers+8, "handlers of ended connections")
		require.EqualValues(t, peers, s.running.Load(), "running handlers")
	})
}
