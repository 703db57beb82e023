package attack

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
)

// A client completes the handshake and acknowledges no registration. The listener gives it up
// at the handshake timeout.
func TestClientThatNeverTakesNote(t *testing.T) {
	w := serverSetup{options: func(o *server.EndOptions) {
		o.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: func(context.Context, geminio.Request, geminio.Response) {}})
	}}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		nc, err := s.dial()
		require.NoError(t, err)
		defer nc.Close()
		own := offer()
		go nc.Write(hello(t, packet.Conn{PacketID: 1, Settings: &own}))
		_, err = readAck(nc)
		require.NoError(t, err)
		start := time.Now()
		go func() {
			b := make([]byte, 1000)
			for {
				if _, err := nc.Read(b); err != nil {
					return
				}
			}
		}()
		for time.Since(start) < time.Hour {
			if _, err := nc.Write(packet.AppendPing(nil, packet.TypePing, 1)); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, time.Since(start), handshakeTime+lingerTime+time.Second, "the time for which the listener keeps the client")
		s.wantService("after the attack")
	})
}
