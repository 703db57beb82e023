package conn

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

func TestAccessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server, client := testConfig(), testConfig()
		server.Settings.Raw = 1000
		client.Settings.Session, client.Meta = []byte("session"), []byte("meta")
		servers, clients := shake(geminio.RecipientSide, near, server), shake(geminio.InitiatorSide, far, client)
		for i, r := range []result{<-servers, <-clients} {
			require.NoError(t, r.err)
			side, own, peer := geminio.RecipientSide, server, client
			if i == 1 {
				side, own, peer = geminio.InitiatorSide, client, server
			}
			assert.Equal(t, side, r.c.Side())
			assert.EqualValues(t, 42, r.c.ClientID())
			assert.Equal(t, "meta", string(r.c.Meta()))
			assert.Equal(t, "session", string(r.c.Session()))
			assert.Equal(t, own.Settings, *r.c.Local())
			assert.Equal(t, peer.Settings, *r.c.Peer())
			assert.Equal(t, own.HandshakeTimeout, r.c.HandshakeTimeout())
			assert.Equal(t, own.Clock, r.c.Clock())
			assert.Same(t, own.Log, r.c.Log())
			assert.Equal(t, near.LocalAddr(), r.c.LocalAddr())
			assert.Equal(t, near.RemoteAddr(), r.c.RemoteAddr())
			assert.Equal(t, Handshaking, r.c.State())
			assert.False(t, r.c.Worked())
			assert.Zero(t, r.c.RTT())
			assert.NoError(t, r.c.Cause())
			before := r.c.Now()
			time.Sleep(time.Second)
			assert.Equal(t, before+time.Second, r.c.Now())
			r.c.Start(&fakeHandler{c: r.c})
			assert.Equal(t, Open, r.c.State())
			r.c.abort(errMine)
			<-r.c.Done()
			assert.Equal(t, Closed, r.c.State())
			assert.Same(t, errMine, r.c.Cause())
		}
	})
}
