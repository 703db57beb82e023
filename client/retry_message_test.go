package client

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
)

// A publisher that is faster than the server blocks for credit, also on a connection after the
// first.
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
		l.mend() // the server does not receive
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

// publishAll publishes messages with numbers from n on, and returns the channels of their
// outcomes.
func publishAll(t *testing.T, end *RetryEnd, from, to int) []<-chan error {
	t.Helper()
	var all []<-chan error
	for i := from; i < to; i++ {
		p, err := end.PublishAsync(context.Background(), end.NewMessage(fmt.Append(nil, i)), nil)
		require.NoError(t, err)
		all = append(all, kit.Run(func() error { return (<-p.Done).Error }))
	}
	return all
}

func TestMessagesKeepTheirOrderOverACut(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		all := publishAll(t, l.end, 0, 5) // sent, and not acknowledged
		l.cut()
		all = append(all, publishAll(t, l.end, 5, 10)...) // wait
		l.waiting(10)
		l.mend()
		for i := range 10 {
			m, err := l.server().Receive(t.Context())
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprint(i), string(m.Data()))
			require.NoError(t, m.Done())
		}
		for _, outcome := range all {
			assert.NoError(t, kit.Returned(t, outcome))
		}
	})
}

// TestDeliveriesHaveNumbers publishes with both guarantees.
func TestDeliveriesHaveNumbers(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		opt := options.NewMessage()
		opt.SetCnss(options.CnssAtMostOnce)
		once, least := l.end.NewMessage(nil, opt), l.end.NewMessage(nil)
		first := l.end.delivery(t.Context(), least, nil)
		second := l.end.delivery(t.Context(), once, nil)
		third := l.end.delivery(t.Context(), least, nil)
		assert.True(t, first.repeatable)
		assert.Equal(t, uint64(application.DeliveryBit|1), first.number)
		assert.False(t, second.repeatable)
		assert.Zero(t, second.number, "the number of a message that is not repeated")
		assert.Equal(t, uint64(application.DeliveryBit|3), third.number)
		assert.Less(t, second.order, third.order)
	})
}

func TestMessageAtMostOnceIsNotSentAgain(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		opt := options.NewMessage()
		opt.SetCnss(options.CnssAtMostOnce)
		require.NoError(t, l.end.Publish(t.Context(), l.end.NewMessage([]byte("lost"), opt)))
		l.cut()
		waits := kit.Run(func() error { return l.end.Publish(t.Context(), l.end.NewMessage([]byte("waits"), opt)) })
		kit.Blocked(t, waits)
		l.mend()
		require.NoError(t, kit.Returned(t, waits))
		m, err := l.server().Receive(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "waits", string(m.Data()))
	})
}

func TestReceiveContinuesWithTheNextConnection(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		opt := options.NewMessage()
		opt.SetCnss(options.CnssAtMostOnce)
		send := func(text string) {
			require.NoError(t, l.server().Publish(t.Context(), l.server().NewMessage([]byte(text), opt)))
			synctest.Wait()
		}
		receive := func() (string, error) {
			m, err := l.end.Receive(t.Context())
			if err != nil {
				return "", err
			}
			return string(m.Data()), nil
		}
		send("first")
		l.cut()
		l.mend()
		send("second")
		for _, want := range []string{"first", "second"} {
			got, err := receive()
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
		l.cut()
		blocked := kit.Run(func() error { _, err := receive(); return err })
		kit.Blocked(t, blocked)
		l.end.Close()
		assert.Equal(t, io.EOF, kit.Returned(t, blocked))
	})
}

func TestPublishRefusesItsArguments(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		var none context.Context
		msg := l.end.NewMessage(nil)
		assert.ErrorContains(t, l.end.Publish(none, msg), "nil")
		assert.ErrorContains(t, l.end.Publish(t.Context(), nil), "nil")
		_, err := l.end.PublishAsync(none, msg, nil)
		assert.ErrorContains(t, err, "nil")
		_, err = l.end.PublishAsync(t.Context(), nil, nil)
		assert.ErrorContains(t, err, "nil")
		_, err = l.end.Receive(none)
		assert.ErrorContains(t, err, "nil")
		msg.SetStreamID(2)
		assert.Equal(t, geminio.ErrMismatchStreamID, l.end.Publish(t.Context(), msg))
		msg.SetStreamID(1)
		msg.SetClientID(l.end.ClientID() + 1)
		assert.Equal(t, geminio.ErrMismatchClientID, l.end.Publish(t.Context(), msg))
	})
}
