package e2e

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/rig"
)

// Both sides of a stream write 200 KiB, and publish many messages, before they read anything.
func TestBothSidesWriteFirst(t *testing.T) {
	const size, messages = 200 << 10, 500
	synctest.Test(t, func(t *testing.T) {
		p := rig.NewPair(t, "pipe", nil, nil)
		opener, acceptor := rig.OpenStream(t, p.Client, p.Server)
		for _, s := range []geminio.Stream{opener, acceptor, p.Client, p.Server} {
			s.SetWriteDeadline(time.Now().Add(time.Second))
			n, err := s.Write(make([]byte, size))
			require.NoError(t, err, n)
			for range messages {
				require.NoError(t, s.Publish(context.Background(), onceMessage(s, 100)))
			}
		}
		for _, s := range []geminio.Stream{opener, acceptor, p.Client, p.Server} {
			_, err := io.ReadFull(s, make([]byte, size))
			require.NoError(t, err)
			for range messages {
				receive(t, s)
			}
		}
	})
}

// One connection has as many streams as a gateway needs, without a setting.
func TestThousandsOfStreamsByDefault(t *testing.T) {
	const streams = 2000
	synctest.Test(t, func(t *testing.T) {
		p := rig.NewPair(t, "pipe", nil, nil)
		for i := range streams {
			s, err := p.Client.OpenStream()
			require.NoError(t, err, "stream %d", i)
			_, err = p.Server.AcceptStream()
			require.NoError(t, err)
			n, err := s.Write(make([]byte, 1<<10))
			require.NoError(t, err)
			assert.Equal(t, 1<<10, n)
		}
	})
}
