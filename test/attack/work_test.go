package attack

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// A peer resets streams while thousands of its handlers run or of its packets are unfinished.
// The time for a reset must not depend on their number.
func TestResetsDoNotWalkTheConnection(t *testing.T) {
	const (
		streams = 20_000 / kit.Slowdown
		slower  = 8 // times; it was 15 to 40 times when a reset walked all handlers or packets
	)
	w := serverSetup{options: func(o *server.EndOptions) { o.SetAcceptStreamFunc(func(geminio.Stream) {}) }}
	kinds := []string{"nothing", "handlers", "fragments"}
	best := make(map[string]time.Duration)
	for i := range 3 * len(kinds) {
		busy := kinds[i%len(kinds)]
		var took time.Duration
		overTCP(t, w, func(t *testing.T, s *targetServer) {
			a := s.attack().startReading()
			defer a.leave()
			switch busy {
			case "handlers":
				a.flood(4000, func(b []byte, i int) []byte { return request(b, 1, uint64(i+1), "hang") })
			case "fragments":
				for _, typ := range []packet.Type{packet.TypeMessage, packet.TypeResponse} {
					a.flood(7700, func(b []byte, i int) []byte { return frame(b, typ, 8200, 1, uint64(i+1), []byte("x")) })
				}
			}
			for i := range streams / 100 {
				a.flood(100, func(b []byte, j int) []byte { return open(b, number(i*100+j), nil) })
				a.wait(packet.TypeAccept, (i+1)*100, "the acceptance of all streams")
				var b []byte
				for j := range 100 {
					id := number(i*100 + j)
					b = frame(b, packet.TypeResponse, 8200, id, 1, []byte("x"))
					b = packet.AppendReason(b, packet.TypeReset, id, packet.Reason{})
				}
				start := time.Now()
				a.mustSend(packet.AppendPing(b, packet.TypePing, 1), "streams that are reset")
				a.wait(packet.TypePong, i+1, "the answer to the ping after the frames")
				took += time.Since(start)
			}
			s.wantService("during the attack")
		})
		if old, measured := best[busy]; !measured || took < old {
			best[busy] = took
		}
	}
	t.Log(best) // the best of three measurements, since other load only adds time
	require.Less(t, best["handlers"], slower*best["nothing"])
	require.Less(t, best["fragments"], slower*best["nothing"])
}

// A peer answers no call, so that a thousand streams of the application wait for credit, and
// sends Credit frames of another class. The time for a frame must not depend on the waiters.
func TestCreditDoesNotWalkTheWaiters(t *testing.T) {
	const (
		frames = 100_000 / kit.Slowdown
		slower = 8 // times; it was 20 to 30 times when a frame walked all waiters
	)
	var best [2]time.Duration
	for round := range 6 {
		i := round % 2
		streams := []int{10, 1000}[i]
		var waiting atomic.Int64
		w := serverSetup{options: func(o *server.EndOptions) {
			o.SetAcceptStreamFunc(func(s geminio.Stream) {
				go func() {
					waiting.Add(1)
					s.Call(context.Background(), "never", s.NewRequest(nil))
				}()
			})
		}}
		overTCP(t, w, func(t *testing.T, s *targetServer) {
			own := offer()
			own.Handlers = 1
			a := s.attackOffering(own, nil).startReading()
			defer a.leave()
			a.flood(streams, func(b []byte, i int) []byte { return open(b, number(i), nil) })
			a.wait(packet.TypeRequest, 1, "the request of the call with credit")
			waitFor(t, "the calls that wait for credit", func() bool { return waiting.Load() == int64(streams) })
			start := time.Now()
			for round := range 10 {
				a.flood(frames/10, func(b []byte, _ int) []byte { return append(b, credit(0, packet.ClassLargeResponses, 1)...) })
				a.mustSend(packet.AppendPing(nil, packet.TypePing, 1), "a ping after the frames")
				a.wait(packet.TypePong, round+1, "the answer to the ping after the frames")
			}
			if took := time.Since(start); best[i] == 0 || took < best[i] {
				best[i] = took
			}
			require.Equal(t, 1, a.count(packet.TypeRequest), "requests that were sent")
			s.wantService("during the attack")
		})
	}
	t.Log(best) // the best of three measurements each
	require.Less(t, best[1], slower*best[0])
}
