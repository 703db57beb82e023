package memnet

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen(Addr("server"), 1)
		require.Equal(t, "server", l.Addr().String())
		first, second := newLink(), newLink()
		require.NoError(t, l.Give(t.Context(), first.Far))
		ctx, cancel := context.WithCancel(t.Context())
		given := make(chan error, 1)
		go func() { given <- l.Give(ctx, second.Far) }()
		synctest.Wait()
		require.Empty(t, given, "the backlog is full")
		cancel()
		require.Equal(t, context.Canceled, <-given)
		go func() { given <- l.Give(t.Context(), second.Far) }()
		nc, err := l.Accept()
		require.NoError(t, err)
		require.True(t, nc == net.Conn(first.Far), "Accept returns the connections in order")
		require.NoError(t, <-given)

		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
		_, err = second.Near.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err, "Close closes the connections in the backlog")
		_, err = l.Accept()
		require.Equal(t, net.ErrClosed, err)
		require.Equal(t, net.ErrClosed, l.Give(t.Context(), second.Far))
	})
}

func TestListenerClosedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen(Addr("server"), 0)
		accepted, given := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		synctest.Wait()
		l.Close()
		require.Equal(t, net.ErrClosed, <-accepted)
		l = Listen(Addr("server"), 0)
		go func() { given <- l.Give(t.Context(), newLink().Far) }()
		synctest.Wait()
		l.Close()
		require.Equal(t, net.ErrClosed, <-given)
	})
}
