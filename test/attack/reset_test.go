package attack

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// A peer that never reads opens streams, which the application accepts, and resets them. A
// stream counts against the limit until its last frame is written. Streams above the limit are
// refused, and the connection ends when too many refusals wait.
func TestRapidResetOfAPeerThatDoesNotRead(t *testing.T) {
	const heap = 4096*(perStream+1024) + connHeap
	w := serverSetup{options: func(o *server.EndOptions) { o.SetAcceptStreamFunc(func(s geminio.Stream) { s.Close() }) }}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack()
		defer a.leave()
		meta := make([]byte, 1000)
		for id := 0; id < 20_000/kit.Slowdown; id += 100 {
			for i := range 100 {
				if a.send(open(nil, number(id+i), meta)) != nil {
					break
				}
			}
			synctest.Wait()
			for i := range 100 {
				if a.send(packet.AppendReason(nil, packet.TypeReset, number(id+i), packet.Reason{})) != nil {
					break
				}
			}
			synctest.Wait()
		}
		s.wantService("during the attack")
		before.wantAtMost(t, heap, connGoroutines, "streams that were reset")
		if cause := a.end.Cause(); cause != nil {
			require.ErrorContains(t, cause, "refusals wait to be read")
		}
	})
}
