package client

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/kit"
)

// CloseWrite applies to the current connection and to all that follow. Reads, calls and messages
// continue.
func TestCloseWriteOverACut(t *testing.T) {
	withRetryEnd(t, serving("echo", echo), nil, func(t *testing.T, l *retryTest) {
		_, err := l.end.Write([]byte("the last words"))
		require.NoError(t, err)
		require.NoError(t, l.end.CloseWrite())
		require.NoError(t, l.end.CloseWrite(), "the second CloseWrite")
		for range 2 {
			_, err = l.end.Write([]byte("x"))
			assert.Equal(t, net.ErrClosed, err)
			got, err := io.ReadAll(l.server())
			require.NoError(t, err)
			if l.dials.Load() == 1 {
				assert.Equal(t, "the last words", string(got))
			} else {
				assert.Empty(t, got)
			}
			_, err = l.server().Write([]byte("back"))
			require.NoError(t, err)
			b := make([]byte, 4)
			_, err = io.ReadFull(l.end, b)
			require.NoError(t, err)
			assert.Equal(t, "back", string(b))
			_, err = l.end.Call(context.Background(), "echo", l.end.NewRequest(nil))
			require.NoError(t, err)
			l.cut()
			_, err = l.end.Read(b)
			require.ErrorIs(t, err, geminio.ErrConnectionLost, "Read after the loss of the connection")
			_, err = l.end.Write([]byte("x"))
			assert.Equal(t, net.ErrClosed, err)
			l.mend()
		}
	})
}

// CloseRead applies to the current connection and to all that follow. Writes, calls and messages
// continue.
func TestCloseReadOverACut(t *testing.T) {
	withRetryEnd(t, serving("echo", echo), nil, func(t *testing.T, l *retryTest) {
		_, err := l.server().Write([]byte("unread"))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, l.end.CloseRead())
		for range 2 {
			synctest.Wait()
			n, err := l.end.Read(make([]byte, 10))
			assert.Zero(t, n)
			assert.Equal(t, io.EOF, err)
			_, err = l.server().Write([]byte("x"))
			var stopped *geminio.StreamError
			assert.ErrorAs(t, err, &stopped)
			_, err = l.end.Write([]byte("forth"))
			require.NoError(t, err)
			b := make([]byte, 5)
			_, err = io.ReadFull(l.server(), b)
			require.NoError(t, err)
			assert.Equal(t, "forth", string(b))
			l.cut()
			_, err = l.end.Write([]byte("x"))
			require.ErrorIs(t, err, geminio.ErrConnectionLost, "Write after the loss of the connection")
			_, err = l.end.Read(b)
			assert.Equal(t, io.EOF, err)
			l.mend()
		}
	})
}

// Half closes end a blocked Read or Write, with and without a connection.
func TestHalfClosesWake(t *testing.T) {
	for _, name := range []string{"connected", "cut"} {
		t.Run(name, func(t *testing.T) {
			withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
				if name == "cut" {
					l.cut()
				}
				read := kit.Run(func() error {
					_, err := l.end.Read(make([]byte, 1))
					return err
				})
				write := kit.Run(func() error {
					_, err := l.end.Write(make([]byte, 1<<20)) // more than the window
					return err
				})
				kit.Blocked(t, read)
				kit.Blocked(t, write)
				require.NoError(t, l.end.CloseRead())
				require.NoError(t, l.end.CloseWrite())
				assert.Equal(t, io.EOF, kit.Returned(t, read))
				assert.Equal(t, net.ErrClosed, kit.Returned(t, write))
				l.end.Close()
				assert.Equal(t, net.ErrClosed, l.end.CloseRead())
				assert.Equal(t, net.ErrClosed, l.end.CloseWrite())
			})
		})
	}
}
