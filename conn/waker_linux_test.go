package conn

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// startOverTLS returns a Conn over TLS, and its peer.
func startOverTLS(t *testing.T) (*Conn, *fakeHandler, *peer) {
	near, far, err := kit.RawPair("tls")
	require.NoError(t, err)
	t.Cleanup(func() { far.Close() })
	p := &peer{t, far}
	c, u := startOn(t, geminio.InitiatorSide, near, p, testConfig())
	return c, u, p
}

// The reading goroutine of a TLS connection may be woken at any time. It loses nothing.
func TestWakeOverTLS(t *testing.T) {
	c, u, p := startOverTLS(t)
	w := &c.io.(*plain).waker
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				c.io.wakeReader()
				w.nc.SetReadDeadline(past) // as if there was something to read
			}
		}
	}()
	const frames = 300
	for i := range frames {
		p.write(dataFrame(make([]byte, 1+100*i)...), "a frame")
	}
	p.writeClose(packet.Reason{}, "the end")
	<-u.over
	close(stop)
	<-stopped
	<-c.Done()
	got := u.seen().got
	require.Len(t, got, frames)
	for i, f := range got {
		assert.Len(t, f.payload, 1+100*i)
	}
}

// The reading goroutine of a socket is woken if it waits although bytes have arrived, and only
// then.
func TestWake(t *testing.T) {
	near, far := kit.TCPPair(t)
	raw, err := near.SyscallConn()
	require.NoError(t, err)
	var w waker
	w.wake() // the zero value does nothing
	assert.False(t, w.woken())
	w.init(near, raw)
	read := func() error {
		_, err := near.Read(make([]byte, 1))
		return err
	}
	_, err = far.Write([]byte{1, 2})
	require.NoError(t, err)
	require.NoError(t, read())
	w.wake()
	require.NoError(t, read(), "the goroutine does not wait")
	w.waits.Store(true)
	w.wake()
	_, err = far.Write([]byte{3, 4})
	require.NoError(t, err)
	require.NoError(t, read(), "there was nothing to read")
	w.wake()
	require.ErrorContains(t, read(), "timeout")
	require.True(t, w.woken())
	require.NoError(t, read())
}

// wrapped is a net.Conn around another one.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// The send queue of a TCP socket is short, also beneath other net.Conns.
func TestShortQueue(t *testing.T) {
	for name, wrap := range map[string]func(*net.TCPConn) net.Conn{
		"bare":    func(nc *net.TCPConn) net.Conn { return nc },
		"TLS":     func(nc *net.TCPConn) net.Conn { return tls.Client(nc, kit.ClientTLS()) },
		"wrapper": func(nc *net.TCPConn) net.Conn { return wrapped{wrapped{nc}} },
	} {
		t.Run(name, func(t *testing.T) {
			near, _ := kit.TCPPair(t)
			newTransport(&Conn{}, &link{nc: wrap(near)})
			raw, err := near.SyscallConn()
			require.NoError(t, err)
			raw.Control(func(fd uintptr) {
				got, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat)
				require.NoError(t, err)
				assert.Equal(t, notSentLowat, got)
			})
		})
	}
}
