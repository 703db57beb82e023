package wire1

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

// Shutdown waits until a slow link has carried the last response to a peer of wire 1.
func TestShutdownOnASlowLink(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 40 * time.Second, 70 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			near, far := kit.SlowPipe(20 << 10)
			olds := kit.Start(func() *oldpeer.Peer {
				p, err := oldpeer.Dial(far, oldpeer.Config{})
				assert.NoError(t, err)
				return p
			})
			end, err := server.NewEndWithConn(near)
			require.NoError(t, err)
			old := <-olds
			defer time.Sleep(time.Minute)
			defer old.Cut()
			begun := make(chan struct{})
			require.NoError(t, end.Register(t.Context(), "produce", func(_ context.Context, req geminio.Request, resp geminio.Response) {
				close(begun)
				resp.SetData(make([]byte, 1<<20))
			}))
			called := kit.Start(func() error {
				data, err := old.Call(t.Context(), "produce", nil)
				assert.Len(t, data, 1<<20)
				return err
			})
			<-begun
			time.Sleep(after)
			assert.NoError(t, geminio.Shutdown(t.Context(), end))
			assert.NoError(t, <-called)
			if t.Failed() {
				t.Logf("after %v", after)
			}
		})
	}
}
