package application

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// watched is a context that counts who waits for its end by a function.
type watched struct {
	context.Context
	watchers atomic.Int64
}

// Value hides that the context within could be watched past AfterFunc.
func (w *watched) Value(any) any { return nil }

// AfterFunc is what context.AfterFunc uses.
func (w *watched) AfterFunc(f func()) func() bool {
	w.watchers.Add(1)
	stop := context.AfterFunc(w.Context, f)
	return func() bool {
		w.watchers.Add(-1)
		return stop()
	}
}

// However an asynchronous operation ends, it leaves nothing behind with its context,
// which may live as long as the program.
func TestNothingIsLeftWithTheContext(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		parent, cancel := context.WithCancel(context.Background())
		defer cancel()
		ctx := &watched{Context: parent}
		publish := func(size int, timeout time.Duration) (<-chan error, error) {
			ended := make(chan error, 1)
			err := client.startPublish(ctx, 0, client.NewMessage(make([]byte, size)), timeout, func(err error) { ended <- err })
			return ended, err
		}

		_, err := publish(2<<20, 0)
		require.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.Zero(t, ctx.watchers.Load(), "watchers, of what was refused")

		ended, err := publish(1, 0)
		require.NoError(t, err)
		assert.EqualValues(t, 1, ctx.watchers.Load(), "watchers, of what is under way")
		m, err := server.Receive(ctx)
		require.NoError(t, err)
		m.Done()
		require.NoError(t, <-ended)
		assert.Zero(t, ctx.watchers.Load(), "watchers, of what was answered")

		ended, err = publish(1, time.Second)
		require.NoError(t, err)
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
		assert.Zero(t, ctx.watchers.Load(), "watchers, of what took too long")

		ended, err = publish(1, 0)
		require.NoError(t, err)
		client.Close()
		require.ErrorIs(t, <-ended, geminio.ErrMaybeExecuted)
		synctest.Wait()
		assert.Zero(t, ctx.watchers.Load(), "watchers, after the end")
	})
}
