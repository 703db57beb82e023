package attack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
)

// Ending a stream takes no longer for all that goes on on others of the connection: a
// peer that has thousands of handlers hang, or packets begun, cannot make each of its
// resets dear.
func TestResetsDoNotWalkTheConnection(t *testing.T) {
	const (
		streams = 20_000 / slowness
		slower  = 20 // times, for the sake of slow machines; 40 to 90 if all were walked
	)
	w := terms{options: func(o *server.EndOptions) { o.SetAcceptStreamFunc(func(s geminio.Stream) { s.Close() }) }}
	took := make(map[string]time.Duration)
	for _, busy := range []string{"nothing", "handlers", "fragments"} {
		overTCP(t, w, func(t *testing.T, s *site) {
			a := s.attack().listen()
			defer a.leave()
			switch busy {
			case "handlers":
				a.flood(4000, func(b []byte, i int) []byte { return request(b, 1, uint64(i+1), "hang") })
			case "fragments":
				for _, typ := range []packet.Type{packet.TypeMessage, packet.TypeResponse} {
					a.flood(8000, func(b []byte, i int) []byte { return frame(b, typ, 8180, 1, uint64(i+1), []byte("x")) })
				}
			}
			start := time.Now()
			for i := range streams / 100 {
				var b []byte
				for j := range 100 {
					id := number(i*100 + j)
					b = packet.AppendNotice(open(b, id, nil), packet.TypeReset, id, packet.Notice{})
				}
				a.mustSend(packet.AppendPing(b, packet.TypePing, 1), "streams that are reset")
				a.wait(packet.TypePong, i+1, "behind them")
			}
			took[busy] = time.Since(start)
			s.stillServes("meanwhile")
		})
	}
	t.Log(took)
	require.Less(t, took["handlers"], slower*took["nothing"])
	require.Less(t, took["fragments"], slower*took["nothing"])
}
