package attack

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// A peer closes the default stream alone, which the protocol forbids. The connection ends
// with an error, so that io.EOF of an End means that the peer has closed the End.
func TestTheDefaultStreamEndsWithTheConnection(t *testing.T) {
	for name, b := range map[string][]byte{
		"close": data(nil, packet.FlagFin|packet.FlagClose, 1, nil),
		"reset": packet.AppendReason(nil, packet.TypeReset, 1, packet.Reason{}),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(b, "a close of stream 1")
				synctest.Wait()
				require.True(t, a.over(), "the End continues after its default stream was closed")
				s.wantService("after the attack")
			})
		})
	}
}
