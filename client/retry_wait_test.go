package client

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
)

// What repeats of streams and registrations is bounded by their contexts.
func TestWaitingIsBoundedByTimeouts(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		opt := options.OpenStream()
		opt.SetTimeout(time.Minute)
		open := kit.Run(func() error {
			_, err := l.end.OpenStream(opt)
			return err
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		register := kit.Run(func() error { return l.end.Register(ctx, "m", hang) })
		l.waiting(2)
		time.Sleep(time.Minute - 1)
		kit.Blocked(t, open)
		kit.Blocked(t, register)
		time.Sleep(time.Nanosecond)
		assert.ErrorIs(t, kit.Returned(t, open), context.DeadlineExceeded)
		assert.ErrorIs(t, kit.Returned(t, register), context.DeadlineExceeded)
		l.waiting(0)
	})
}
