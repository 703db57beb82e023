package attack

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// A peer must not end the default stream by itself: it is an error, which ends the
// connection, so that who reads io.EOF can take it for the end of all.
func TestTheDefaultStreamEndsWithTheConnection(t *testing.T) {
	for name, b := range map[string][]byte{
		"close": data(nil, packet.FlagFin|packet.FlagClose, 1, nil),
		"reset": packet.AppendReason(nil, packet.TypeReset, 1, packet.Reason{}),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(b, "the end of stream 1")
				synctest.Wait()
				require.True(t, a.over(), "the End ends, since its default stream has")
				s.wantService("after it")
			})
		})
	}
}
