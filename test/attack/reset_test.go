package attack

import (
	"fmt"
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
	for meta, opens := range map[int]int{1000: 20_000, 60_000: 3_000} {
		t.Run(fmt.Sprint("metas of ", meta), func(t *testing.T) { rapidReset(t, meta, opens/kit.Slowdown) })
	}
}

// rapidReset opens and resets a number of streams with metas of meta bytes.
func rapidReset(t *testing.T, meta, opens int) {
	const rounding = 4 // memory is rounded up by less than a quarter
	heap := opens*perStream + min(opens*meta, windowsPart)*(rounding+1)/rounding + connHeap
	w := serverSetup{options: func(o *server.EndOptions) { o.SetAcceptStreamFunc(func(s geminio.Stream) { s.Close() }) }}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack()
		defer a.leave()
		intro := make([]byte, meta)
		for id := 0; id < opens; id += 100 {
			for i := range 100 {
				if a.send(open(nil, number(id+i), intro)) != nil {
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
		before.wantAtMost(t, int64(heap), connGoroutines, "streams that were reset")
		if cause := a.end.Cause(); cause != nil {
			require.ErrorContains(t, cause, "refusals wait to be read")
		}
	})
}
