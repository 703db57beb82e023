package application

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// Shutdown does not wait for answers that no stream can carry any more.
func TestShutdownDoesNotWaitForMessagesOfAStreamThatHasEnded(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(client, server *Stream)
	}{
		{"closed here", func(_, server *Stream) { server.Close() }},
		{"closed by the publisher", func(client, _ *Stream) { client.Close() }},
		{"reset here", func(_, server *Stream) { server.Reset(geminio.FirstApplicationCode, "test") }},
		{"reset by the publisher", func(client, _ *Stream) { client.Reset(geminio.FirstApplicationCode, "test") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				opened, err := client.OpenStream()
				require.NoError(t, err)
				accepted, err := server.AcceptStream()
				require.NoError(t, err)
				published := make(chan error, 5)
				for range cap(published) {
					go func() { published <- opened.Publish(context.Background(), opened.NewMessage(nil)) }()
				}
				synctest.Wait()
				var taken []geminio.Message // two of the five
				for range 2 {
					m, err := accepted.Receive(t.Context())
					require.NoError(t, err)
					taken = append(taken, m)
				}
				require.NoError(t, taken[0].Done())
				require.NoError(t, <-published)

				test.end(opened.(*Stream), accepted.(*Stream))
				synctest.Wait()
				for range 4 {
					assert.ErrorIs(t, <-published, geminio.ErrMaybeExecuted)
				}
				assert.Zero(t, server.unanswered.Load())
				assert.Equal(t, io.EOF, taken[1].Done(), "the answer comes too late")
				assert.Equal(t, geminio.ErrAnswered, taken[0].Done())
				assert.Zero(t, server.unanswered.Load())
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				require.NoError(t, server.Shutdown(ctx))
				assert.Zero(t, time.Since(start))
			})
		})
	}
}
