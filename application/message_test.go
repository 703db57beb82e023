package application

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// A message that arrives while its stream is being closed is not kept for anybody.
func TestMessageThatArrivesDuringClose(t *testing.T) {
	for _, used := range []bool{true, false} {
		withPair(t, nil, nil, func(t *testing.T, client, server *End) {
			opened, err := client.OpenStream()
			require.NoError(t, err)
			s, err := server.AcceptStream()
			require.NoError(t, err)
			accepted := s.(*Stream)
			if used {
				accepted.inbox()
			}
			require.NoError(t, accepted.Close())
			m := packet.Message{Cnss: 2}
			body := append(m.Append(nil), "late"...)
			received(accepted, packet.TypeMessage, len(body))
			require.NoError(t, server.takeMessage(accepted, 77, body, false), "as if it had come before")
			assert.Zero(t, server.unanswered.Load())
			_, err = accepted.Receive(t.Context())
			assert.Equal(t, io.EOF, err)
			opened.Close()
		})
	}
}
