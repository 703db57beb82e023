package application

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// endings are the ways in which a stream ends. near is the stream of the side under test.
var endings = map[string]func(near, far *Stream){
	"closed by this side": func(near, _ *Stream) { near.Close() },
	"closed by the peer":  func(_, far *Stream) { far.Close() },
	"reset by this side":  func(near, _ *Stream) { near.Reset(geminio.FirstApplicationCode, "test") },
	"reset by the peer":   func(_, far *Stream) { far.Reset(geminio.FirstApplicationCode, "test") },
}

func TestOperationsEndWithTheirStream(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				near, far := openPair(t, client, server)
				require.NoError(t, far.Register(t.Context(), "hang", func(ctx context.Context, _ geminio.Request, _ geminio.Response) { <-ctx.Done() }))
				operations := map[string]func() error{
					"Call": func() error {
						_, err := near.Call(context.Background(), "hang", near.NewRequest(nil))
						return err
					},
					"Publish": func() error { return near.Publish(context.Background(), near.NewMessage(nil)) },
				}
				results := make(map[string]chan error)
				for name, operation := range operations {
					result := make(chan error, 1)
					results[name] = result
					go func() { result <- operation() }()
				}
				received := make(chan error, 1)
				go func() {
					_, err := near.Receive(context.Background())
					received <- err
				}()
				synctest.Wait()
				end(near, far)
				for name, result := range results {
					assert.ErrorIs(t, <-result, geminio.ErrMaybeExecuted, "%s that is under way", name)
				}
				assert.Equal(t, io.EOF, <-received, "Receive that is under way")
				for name, operation := range operations {
					assert.Equal(t, io.EOF, operation(), "%s after the end", name)
				}
				synctest.Wait()
				assert.True(t, client.pending.empty())
				assert.Zero(t, server.serving.n.Load(), "requests that are served")
				require.NoError(t, client.Publish(t.Context(), onceMessage(client.Stream)), "the connection continues")
			})
		})
	}
}

func TestCloseDropsMessages(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(near *Stream)
		want error
	}{
		"Close": {func(near *Stream) { near.Close() }, io.EOF},
		"Reset": {func(near *Stream) { near.Reset(geminio.FirstApplicationCode, "test") }, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				near, far := openPair(t, client, server)
				for range 3 {
					require.NoError(t, far.Publish(t.Context(), onceMessage(far)))
				}
				synctest.Wait()
				_, err := near.Receive(t.Context())
				require.NoError(t, err)
				test.end(near)
				_, err = near.Receive(t.Context())
				assert.Equal(t, test.want, err, "Receive: two messages have arrived")
			})
		})
	}
}

func TestPeersCloseKeepsMessages(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		near, far := openPair(t, client, server)
		for range 3 {
			require.NoError(t, far.Publish(t.Context(), onceMessage(far)))
		}
		far.Close()
		synctest.Wait()
		for range 3 {
			_, err := near.Receive(t.Context())
			require.NoError(t, err)
		}
		_, err := near.Receive(t.Context())
		assert.Equal(t, io.EOF, err)
	})
}

func TestStreamChecksIDs(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		near, _ := openPair(t, client, server)
		assert.NoError(t, near.check(near.ClientID(), near.StreamID()))
		assert.Equal(t, geminio.ErrMismatchClientID, near.check(near.ClientID()+1, near.StreamID()))
		assert.Equal(t, geminio.ErrMismatchStreamID, near.check(near.ClientID(), near.StreamID()+1))
	})
}
