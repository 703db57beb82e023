package kit

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exchange sends data from a to b, and requires that it arrives unchanged.
func exchange(t *testing.T, a, b net.Conn) {
	t.Helper()
	data := BytesOf(1000, 1)
	sent := Start(func() error {
		_, err := a.Write(data)
		return err
	})
	got := make([]byte, len(data))
	_, err := io.ReadFull(b, got)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, data, got)
}

func TestRawPair(t *testing.T) {
	for _, network := range Networks() {
		t.Run(network, func(t *testing.T) {
			c, s, err := RawPair(network)
			require.NoError(t, err)
			defer c.Close()
			defer s.Close()
			exchange(t, c, s)
			exchange(t, s, c)
		})
	}
}

func TestByteConn(t *testing.T) {
	near, far := TCPPair(t)
	_, err := near.Write([]byte("abc"))
	require.NoError(t, err)
	b := NewByteConn(far)
	for _, want := range "abc" {
		p := make([]byte, 10)
		n, err := b.Read(p)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(p[:n]))
	}
}

func TestPipeListener(t *testing.T) {
	l := NewPipeListener()
	type dialed struct {
		nc  net.Conn
		err error
	}
	dial := Start(func() dialed {
		nc, err := l.Dial()
		return dialed{nc, err}
	})
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()
	d := Await(t, Forever, "Dial", dial)
	require.NoError(t, d.err)
	defer d.nc.Close()
	exchange(t, d.nc, far)

	accept := Start(func() error {
		_, err := l.Accept()
		return err
	})
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	assert.Equal(t, net.ErrClosed, Await(t, Forever, "Accept after Close", accept))
	_, err = l.Dial()
	assert.Equal(t, net.ErrClosed, err)
}
