package e2e

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// promptly is the time within which operations must return that wait for no timeout. It is
// shorter than the shortest default timeout, the 5 seconds for which Close lingers.
const promptly = 4 * time.Second

// listen returns a listener for dial, over TCP or the network that stands in for it.
func listen(t testing.TB, opts ...*server.EndOptions) server.Listener {
	t.Helper()
	if kit.StandIn() == "" {
		l, err := server.Listen("tcp", "127.0.0.1:0", opts...)
		require.NoError(t, err)
		return l
	}
	nl, err := kit.Listen()
	require.NoError(t, err)
	l, err := server.NewListener(nl, opts...)
	require.NoError(t, err)
	return l
}

// dial returns an End that is connected to the address of a listener.
func dial(address string, opts ...*client.EndOptions) (geminio.End, error) {
	if kit.StandIn() == "" {
		return client.NewEnd("tcp", address, opts...)
	}
	return client.NewEndWithDialer(func() (net.Conn, error) { return kit.Dial(address) }, opts...)
}
