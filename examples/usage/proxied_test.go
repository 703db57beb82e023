package usage_test

import (
	"net"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
)

// behindProxies returns a listener whose clients come through proxies that send the PROXY protocol.
// Connections from any other address are refused.
func behindProxies(nl net.Listener, proxies []string, opt *server.EndOptions) (server.Listener, error) {
	policy, err := proxyproto.TrustProxyHeaderFromRanges(proxies) // such as 10.0.0.0/24
	if err != nil {
		return nil, err
	}
	return server.NewListener(&proxyproto.Listener{Listener: nl, ConnPolicy: policy, ReadHeaderTimeout: 5 * time.Second}, opt)
}

// The address of the client is the one that the proxy tells, and other addresses cannot tell any.
func TestPROXYProtocol(t *testing.T) {
	told := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7).To4(), Port: 4711}
	for _, c := range []struct {
		trusted string
		header  bool
		refused bool
	}{
		{"127.0.0.0/8", true, false},
		{"127.0.0.0/8", false, true},
		{"10.0.0.0/24", true, true},
	} {
		nl, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		l, err := behindProxies(nl, []string{c.trusted}, nil)
		require.NoError(t, err)
		end, err := client.NewEndWithDialer(func() (net.Conn, error) {
			nc, err := net.Dial("tcp", nl.Addr().String())
			if err == nil && c.header {
				_, err = proxyproto.HeaderProxyFromAddrs(2, told, nl.Addr()).WriteTo(nc)
			}
			return nc, err
		})
		if c.refused {
			assert.Error(t, err, c)
		} else {
			require.NoError(t, err)
			accepted, err := l.AcceptEnd()
			require.NoError(t, err)
			assert.Equal(t, told.String(), accepted.RemoteAddr().String())
			require.NoError(t, end.Close())
		}
		require.NoError(t, l.Close())
	}
}
