package client

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/kit"
)

// Who publishes faster than the server takes it is slowed down, with a connection
// that is not the first as well.
func TestAsyncAfterReconnectWaitsForCredit(t *testing.T) {
	opt := NewEndOptions()
	opt.SetMaxWaiting(100, 1<<20)
	withRetryEnd(t, nil, opt, func(t *testing.T, l *retryTest) {
		ctx := context.Background()
		l.cut()
		data := make([]byte, 1000)
		for range 100 {
			_, err := l.end.PublishAsync(ctx, l.end.NewMessage(data), nil)
			require.NoError(t, err)
		}
		l.waiting(100)
		_, err := l.end.PublishAsync(ctx, l.end.NewMessage(data), nil)
		require.ErrorIs(t, err, geminio.ErrTooMany)
		l.mend() // nobody receives
		published := kit.Run(func() error {
			for i := range 500 {
				if _, err := l.end.PublishAsync(ctx, l.end.NewMessage(data), nil); err != nil {
					return fmt.Errorf("message %d: %w", i, err)
				}
			}
			return nil
		})
		kit.Blocked(t, published)
		for range 600 {
			m, err := l.server().Receive(ctx)
			require.NoError(t, err)
			require.NoError(t, m.Done())
		}
		require.NoError(t, kit.Returned(t, published))
		l.waiting(0)
	})
}
