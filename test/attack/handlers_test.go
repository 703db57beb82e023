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
	perHandler   = 4 << 10 // bytes: a running handler with its goroutine, beside the request's body
	handlerNoise = 1 << 20 // bytes: buffers of the connection, the test's own
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
		waitFor(t, "all calls within the credit are served", func() bool { return s.started.Load() >= maxHandlers })
		a.flood(rapidCalls, next)
		a.wantViolation("a call beyond the handlers", "handlers: 1 sent with credit for 0")
		t.Logf("the connection ended after %d calls or a few less", calls)
		s.wantService("while the handlers go on")
		require.EqualValues(t, maxHandlers, s.started.Load(), "handlers that began")
		require.EqualValues(t, maxHandlers, s.peak.Load(), "handlers at a time")
		before.wantAtMost(t, maxHandlers*perHandler+handlerNoise, maxHandlers+8, "the handlers that do not end")
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
			require.True(t, a.until(func() bool { return a.handlerCredit > 0 }), "credit comes back: %+v", a.closeReason)
			a.mu.Lock()
			a.handlerCredit--
			a.mu.Unlock()
			a.mustSend(cancel(request(nil, 1, call, "hang"), 1, call), "a call and its cancel")
		}
		a.wait(packet.TypeResponse, calls, "each call is answered")
		require.LessOrEqual(t, s.peak.Load(), int64(maxHandlers), "handlers at a time")
		require.False(t, a.over(), "a peer that heeds the rules stays")
		s.wantService("after all calls")
		before.wantAtMost(t, handlerNoise, 64+8, "what is left of the calls, and the goroutines kept for the next")
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
			a.mustSend(request(nil, 1, uint64(i+1), "ignore", body...), "a request within the credit")
		}
		waitFor(t, "all requests are served", func() bool { return s.running.Load() == maxHandlers })
		s.wantService("while all handlers of the attacker run")
		before.wantAtMost(t, maxHandlers*(8<<10+perHandler)+handlerNoise, maxHandlers+8, "requests that are being served")
		require.False(t, a.over())
	})
}

// A handler that ignores its context goes on when its connection has gone, and keeps its
// own request then: not what else its peer had the server hold.
func TestHungHandlersKeepOnlyTheirRequests(t *testing.T) {
	const (
		peers   = 6
		streams = 100
		names   = 2000
		meta    = 40 << 10
		body    = 4 << 10                   // of the request
		held    = streams*meta + names*1000 // for each, at least
		left    = peers * (body + perHandler)
	)
	overTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		for i := range peers {
			a := s.attackWith(bytes.Repeat([]byte{'m'}, meta)).startReading()
			a.mustSend(frame(nil, packet.TypeMessage, 8<<20, 1, 1, make([]byte, 60<<10)), "a message that begins")
			a.mustSend(data(nil, 0, 1, make([]byte, 16<<10)), "bytes that nobody reads")
			for j := range streams {
				a.mustSend(open(nil, number(j), make([]byte, meta)), "a stream with a large meta")
			}
			a.wait(packet.TypeAccept, streams, "streams are accepted")
			name := make([]byte, 1000)
			for j := range names {
				name = fmt.Appendf(name[:0], "%01000d", j)
				a.mustSend(frame(nil, packet.TypeRegister, 0, 1, uint64(j+1), name), "a registration")
			}
			a.wait(packet.TypeRegistered, names, "methods are registered")
			a.mustSend(request(nil, 1, names+1, "ignore", make([]byte, body)...), "a call")
			waitFor(t, "the handler runs", func() bool { return s.running.Load() == int64(i+1) })
			if i == 0 {
				require.Greater(t, measure().Since(before.Usage).Heap, int64(held), "what is held for a peer")
			}
			a.leave()
			a.wantEnd("the attacker leaves")
			s.dropEnd(a)
		}
		s.wantService("after they have gone")
		before.wantAtMost(t, left+handlerNoise, peers+8, "what handlers of dead connections keep")
		require.EqualValues(t, peers, s.running.Load(), "handlers go on")
	})
}
