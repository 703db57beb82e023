package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/test/kit"
)

// nosyContext is a context whose methods use the listener.
type nosyContext struct {
	context.Context
	l *Server
}

func (c nosyContext) use() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
}

func (c nosyContext) Deadline() (time.Time, bool) { c.use(); return c.Context.Deadline() }
func (c nosyContext) Done() <-chan struct{}       { c.use(); return c.Context.Done() }
func (c nosyContext) Err() error                  { c.use(); return c.Context.Err() }
func (c nosyContext) Value(key any) any           { c.use(); return c.Context.Value(key) }

// Methods of a context are called without a lock.
func TestContextThatUsesTheListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nl := kit.NewPipeListener()
		made, err := NewListener(nl)
		require.NoError(t, err)
		l := made.(*Server)
		end, err := client.NewEndWithDialer(nl.Dial)
		require.NoError(t, err)
		defer end.Close()
		_, err = end.OpenStream() // Shutdown waits for the stream
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := kit.Run(func() error { return l.Shutdown(nosyContext{ctx, l}) })
		time.Sleep(time.Second)
		kit.Blocked(t, stopped)
		cancel()
		time.Sleep(time.Second)
		assert.Equal(t, context.Canceled, kit.Returned(t, stopped))
	})
}
