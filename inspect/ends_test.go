package inspect

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
)

// The pages show what happens to the Ends of a server and to an End that reconnects.
func TestRealEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := geminiotest.NewNetwork(t)
		l, err := server.NewListener(network.Listen())
		require.NoError(t, err)
		defer l.Close()
		retry, err := client.NewRetryEndWithDialer(network.Dial)
		require.NoError(t, err)
		defer retry.Close()
		accepted, err := l.AcceptEnd()
		require.NoError(t, err)
		release := make(chan struct{})
		require.NoError(t, accepted.Register(t.Context(), "hang", func(context.Context, geminio.Request, geminio.Response) { <-release }))
		h := &Handler{Sources: []Source{l.(*server.Server), Of(retry)}}

		called := make(chan error, 1)
		go func() {
			_, err := retry.Call(context.Background(), "hang", retry.NewRequest(nil))
			called <- err
		}()
		stream, err := retry.OpenStream()
		require.NoError(t, err)
		time.Sleep(90 * time.Second)
		calls := getJSON[Page[Call]](t, h, "calls?calls.only=1m").Rows
		require.Len(t, calls, 2, "both sides of the call")
		for _, call := range calls {
			assert.Equal(t, "hang", call.Method)
			assert.InDelta(t, 90, call.Age, 1)
			assert.Equal(t, calls[0].Number, call.Number)
		}
		streams := getJSON[Page[Stream]](t, h, "streams")
		assert.Equal(t, 4, streams.All)

		network.Cut()
		time.Sleep(10 * time.Second)
		for _, end := range getJSON[Page[End]](t, h, "").Rows {
			assert.EqualValues(t, 1, end.Interruptions, end.Side)
			assert.EqualValues(t, 1, end.Resumes, end.Side)
			assert.NotEmpty(t, end.LastError, end.Side)
			assert.Equal(t, "connected", end.State, end.Side)
		}
		close(release)
		require.NoError(t, <-called)
		require.NoError(t, stream.Close())
		synctest.Wait()
		assert.Zero(t, getJSON[Page[Call]](t, h, "calls").All)
		assert.Equal(t, 2, getJSON[Page[Stream]](t, h, "streams").All, "the default streams")
	})
}
