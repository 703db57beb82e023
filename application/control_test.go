package application

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// The methods of a Control act on its End.
func TestControl(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		c := (*Control)(client)
		assert.Same(t, client.c, c.Conn())
		told := make(chan struct{})
		c.PostHook("a test", func() { close(told) })
		<-told

		register(t, server, "m", func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetData([]byte("answer")) })
		resp, err := c.DoCall(t.Context(), "m", client.NewRequest(nil), 0)
		require.NoError(t, err)
		assert.Equal(t, "answer", string(resp.Data()))
		done := make(chan error, 1)
		require.NoError(t, c.StartCall(t.Context(), "m", client.NewRequest(nil), 0, func(_ geminio.Response, err error) { done <- err }))
		require.NoError(t, <-done)

		go func() {
			for {
				m, err := server.Receive(t.Context())
				if err != nil {
					return
				}
				m.Done()
			}
		}()
		require.NoError(t, c.DoPublish(t.Context(), 0, client.NewMessage(nil), 0))
		require.NoError(t, c.StartPublish(t.Context(), 0, client.NewMessage(nil), 0, func(err error) { done <- err }))
		require.NoError(t, <-done)

		cause := errors.New("the cause")
		c.CloseWith(cause, packet.Reason{})
		<-client.Done()
		assert.Equal(t, cause, client.Cause())
	})
}
