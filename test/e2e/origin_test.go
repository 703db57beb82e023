package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// Handlers, messages and hooks know the End that the program has: at the server that of
// AcceptEnd, at a client the *client.RetryEnd.
func TestTheEndOfAHandlerIsThatOfTheProgram(t *testing.T) {
	opened, closed := make(chan geminio.Stream, 1), make(chan geminio.Stream, 1)
	so := server.NewEndOptions()
	so.SetAcceptStreamFunc(func(s geminio.Stream) { opened <- s })
	so.SetClosedStreamFunc(func(s geminio.Stream) { closed <- s })
	l := listen(t, so)
	defer l.Close()
	d := &breakableDialer{address: l.Addr().String()}
	near, err := client.NewRetryEndWithDialer(d.dial)
	require.NoError(t, err)
	defer near.Close()
	far, err := l.AcceptEnd()
	require.NoError(t, err)
	defer far.Close()

	stream, err := near.OpenStream()
	require.NoError(t, err)
	farStream := <-opened
	for _, c := range []struct {
		name     string
		from, to geminio.Stream
		end      geminio.End
	}{
		{"server", near, far, far},
		{"client", far, near, near},
		{"stream of the server", stream, farStream, far},
		{"stream of the client", farStream, stream, near},
	} {
		end, ok := geminio.EndOf(c.to)
		require.True(t, ok, c.name)
		require.True(t, end == c.end, c.name)
		mustRegister(t, c.to, "m", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			end, ok := geminio.EndFrom(ctx)
			assert.True(t, ok && end == c.end, c.name)
			s, ok := geminio.StreamFrom(ctx)
			assert.True(t, ok && s == c.to, c.name)
		})
		_, err := call(t, c.from, "m", "")
		require.NoError(t, err, c.name)

		published := kit.Start(func() error { return c.from.Publish(kit.Deadline(t), c.from.NewMessage(nil)) })
		m, err := c.to.Receive(kit.Deadline(t))
		require.NoError(t, err, c.name)
		s, ok := geminio.StreamOf(m)
		require.True(t, ok && s == c.to, c.name)
		require.NoError(t, m.Done(), c.name)
		require.NoError(t, <-published, c.name)
	}
	require.Contains(t, near.ListStreams(), geminio.Stream(near))
	require.Contains(t, far.ListStreams(), geminio.Stream(far))

	stream.Close()
	end, ok := geminio.EndOf(<-closed)
	require.True(t, ok)
	require.True(t, end == far)
}
