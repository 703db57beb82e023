package endpair

import (
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/server"
)

func TestJoin(t *testing.T) {
	cc, sc := net.Pipe()
	co := client.NewEndOptions()
	co.SetMeta([]byte("meta"))
	c, s, err := Join(cc, sc, co, nil)
	require.NoError(t, err)
	require.Equal(t, geminio.InitiatorSide, c.Side())
	require.Equal(t, "meta", string(s.Meta()))
	Close(c, s)
	_, err = c.AcceptStream()
	require.Error(t, err)
	_, err = s.AcceptStream()
	require.Error(t, err)
}

// refusing is a delegate that refuses all clients.
type refusing struct {
	*delegate.UnimplementedDelegate
}

func (refusing) ConnOnline(delegate.ConnDescriber) error { return errors.New("not today") }

func TestJoinFails(t *testing.T) {
	cc, sc := net.Pipe()
	so := server.NewEndOptions()
	so.SetDelegate(refusing{})
	c, s, err := Join(cc, sc, nil, so)
	require.Nil(t, c)
	require.Nil(t, s)
	var refused *geminio.RefusedError
	require.ErrorAs(t, err, &refused, "the error of the client comes first")
}
