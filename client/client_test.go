package client

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// recordedConn records whether it was closed.
type recordedConn struct {
	net.Conn
	closed chan struct{}
}

func (c *recordedConn) Close() error {
	close(c.closed)
	return c.Conn.Close()
}

func TestNewEndWithConnOwnsTheConnection(t *testing.T) {
	for name, test := range map[string]struct {
		peer func(far net.Conn)
		set  func(*EndOptions)
		want error // nil: the text is wantText
		text string
	}{
		"options that contradict": {func(net.Conn) {}, func(opt *EndOptions) { opt.SetMaxStreams(-1) }, nil, "MaxStreams of -1"},
		"a peer that is silent":   {func(net.Conn) {}, func(opt *EndOptions) { opt.SetHandshakeTimeout(time.Minute) }, geminio.ErrHandshakeTimeout, ""},
		"a peer that leaves":      {func(far net.Conn) { far.Close() }, func(*EndOptions) {}, nil, ""},
		"a peer that refuses": {func(far net.Conn) {
			d := new(refusingDelegate)
			d.err.Store(&geminio.RefusedError{Code: geminio.FirstApplicationCode, Text: "no"})
			opt := server.NewEndOptions()
			opt.SetDelegate(d)
			server.NewEndWithConn(far, opt)
		}, func(*EndOptions) {}, nil, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				go test.peer(far)
				nc := &recordedConn{Conn: near, closed: make(chan struct{})}
				opt := NewEndOptions()
				test.set(opt)
				end, err := NewEndWithConn(nc, opt)
				assert.Nil(t, end)
				require.Error(t, err)
				if test.want != nil {
					assert.ErrorIs(t, err, test.want)
				}
				assert.ErrorContains(t, err, test.text)
				<-nc.closed
			})
		})
	}
}

func TestNewEndWithConnWaitsForMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		opt := NewEndOptions()
		opt.SetWaitRemoteRPCs("late")
		ends := kit.Run(func() geminio.End {
			end, err := NewEndWithConn(near, opt)
			assert.NoError(t, err)
			return end
		})
		peer, err := server.NewEndWithConn(far)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		kit.Blocked(t, ends)
		require.NoError(t, peer.Register(t.Context(), "late", echo))
		end := kit.Returned(t, ends)
		_, err = end.Call(context.Background(), "late", end.NewRequest(nil))
		assert.NoError(t, err)
		require.NoError(t, end.Close())
		<-geminio.Done(peer)
	})
}

func TestNewEndOverTheNetwork(t *testing.T) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	end, err := NewEnd("tcp", address)
	require.NoError(t, err)
	peer, err := l.AcceptEnd()
	require.NoError(t, err)
	assert.Equal(t, end.ClientID(), peer.ClientID())
	assert.Equal(t, address, end.RemoteAddr().String())
	assert.Equal(t, geminio.InitiatorSide, end.Side())
	require.NoError(t, end.Close())
	<-geminio.Done(peer)
	require.NoError(t, l.Close())

	_, err = NewEnd("tcp", address)
	var network *net.OpError
	assert.ErrorAs(t, err, &network, "the error of a dial after the listener was closed")
	opt := NewEndOptions()
	opt.SetMeta(make([]byte, packet.MaxHandshakeLen))
	_, err = NewEnd("tcp", address, opt)
	assert.ErrorIs(t, err, geminio.ErrTooLarge, "before it dials")
}

func TestNewEndWithDialerDialsOnce(t *testing.T) {
	dials := 0
	_, err := NewEndWithDialer(func() (net.Conn, error) {
		dials++
		return nil, errShut
	})
	assert.Equal(t, errShut, err)
	assert.Equal(t, 1, dials)
	_, err = NewEndWithDialer(nil)
	assert.Error(t, err)
}
